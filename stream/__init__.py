"""Feeds become segments on Kafka, and segments become clips."""

from .broker.kafka import KafkaTransport
from .broker.transport import MAX_RECORD_BYTES, Consumer, MemoryTransport, Partition, Producer, Record, Topic, Transport
from .clips.clipper import Clip, Clipper, ClipSpec
from .clips.decoding import Decoded, Picture, decode, sample_file
from .errors import BrokerError, RecordTooLargeError, SegmentError, ServiceError, SourceError, StreamError
from .feeds.agent import Attached, attach
from .feeds.fleet import FleetCamera, attach_all
from .feeds.segmenter import Segmenter, SegmentLimits
from .feeds.source import Feed, display_name, find_files, is_live
from .feeds.state import FeedState, FeedWatch
from .segment import Headers, Segment

__all__ = [
    "MAX_RECORD_BYTES",
    "Attached",
    "BrokerError",
    "Clip",
    "ClipSpec",
    "Clipper",
    "Consumer",
    "Decoded",
    "Feed",
    "FeedState",
    "FeedWatch",
    "FleetCamera",
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
    "attach_all",
    "decode",
    "display_name",
    "find_files",
    "is_live",
    "sample_file",
]
