"""Feeds become segments on Kafka, and segments become clips."""

from .agent import Attached, attach
from .clipper import Clip, Clipper, ClipSpec
from .decoding import Decoded, Picture, decode, sample_file
from .errors import BrokerError, RecordTooLargeError, SegmentError, ServiceError, SourceError, StreamError
from .kafka_transport import KafkaTransport
from .segment import Headers, Segment
from .segmenter import Segmenter, SegmentLimits
from .source import Feed, display_name, find_files, is_live
from .transport import Consumer, MemoryTransport, Partition, Producer, Record, Topic, Transport

__all__ = [
    "Attached",
    "BrokerError",
    "Clip",
    "ClipSpec",
    "Clipper",
    "Consumer",
    "Decoded",
    "Feed",
    "Headers",
    "KafkaTransport",
    "MemoryTransport",
    "Partition",
    "Picture",
    "Producer",
    "Record",
    "RecordTooLargeError",
    "Segment",
    "SegmentError",
    "SegmentLimits",
    "Segmenter",
    "ServiceError",
    "SourceError",
    "StreamError",
    "Topic",
    "Transport",
    "attach",
    "decode",
    "display_name",
    "find_files",
    "is_live",
    "sample_file",
]
