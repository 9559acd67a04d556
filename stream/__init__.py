"""Feeds become segments on Kafka, and segments become clips."""

from .decoding import Picture, decode, sample_file
from .errors import BrokerError, RecordTooLargeError, SegmentError, ServiceError, SourceError, StreamError
from .segment import Segment
from .segmenter import Segmenter, SegmentLimits
from .source import Feed, find_files

__all__ = [
    "BrokerError",
    "Feed",
    "Picture",
    "RecordTooLargeError",
    "Segment",
    "SegmentError",
    "SegmentLimits",
    "Segmenter",
    "ServiceError",
    "SourceError",
    "StreamError",
    "decode",
    "find_files",
    "sample_file",
]
