"""Feeds become segments on Kafka, and segments become clips."""

from .broker.kafka import KafkaTransport
from .broker.memory import MemoryTransport
from .broker.transport import Consumer, Partition, Polled, Producer, Record, Topic, Transport
from .clips.clipper import Clip, Clipper, ClipSpec
from .clips.decoding import Decoded, Picture, decode
from .clips.sampling import sample_file
from .errors import BrokerError, RecordTooLargeError, SegmentError, ServiceError, SourceError, StreamError
from .feeds.agent import Attached, attach
from .feeds.segmenter import Segmenter, SegmentLimits
from .feeds.source import Feed, display_name, find_files, is_live
from .headers import Headers
from .segment import Segment, announced_frames

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
    "Polled",
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
    "announced_frames",
    "attach",
    "decode",
    "display_name",
    "find_files",
    "is_live",
    "sample_file",
]
