"""Feeds become segments on Kafka, and segments become clips.

What other packages use is exported here, embedded servers from `stream.services`.
"""

from .broker.kafka.address import KafkaAddress, KafkaSecurity, Mechanism, Protocol, Secret, token_of_command
from .broker.kafka.transport import Described, KafkaTransport
from .broker.memory.transport import MemoryTransport
from .broker.records import MAX_RECORD_BYTES, Existing, GroupInstance, Partition, Polled, Record, Topic
from .broker.transport import Consumer, Lookup, Producer, Publisher, Reader, Transport
from .camera_ids import CAMERA_ID, camera_behind, check_camera_id, check_sent_id, drill_id, drilled
from .clips.clipper import Clip, Clipper, ClipperState
from .clips.decoding import Decoded, Decoder, decode
from .clips.effort import EVERYTHING, Effort, Thinning
from .clips.gpu.decoders import Gpu, check_gpu, open_gpu
from .clips.grid import ClipSpec
from .clips.limits import DecodeLimits
from .clips.pictures import Fit, Image, Picture
from .clips.samples import Sample
from .clips.sampling import SampleReader, sample_file, sample_pieces
from .credentials import display_name, escape_address, split_address
from .errors import (
    BrokerError,
    EntryError,
    FencedError,
    GpuError,
    RecordTooLargeError,
    SegmentError,
    ServiceError,
    SourceError,
    StreamError,
    UnansweredError,
)
from .feeds.addresses import check_address, is_live, may_be_film, what_is_there
from .feeds.agent import Attached, Pace, attach, is_film
from .feeds.cutting.joining import joined_times_us, write_joined
from .feeds.cutting.segmenter import Segmenter, SegmentLimits
from .feeds.fleet import FleetCamera, attach_all
from .feeds.folders import VIDEO_SUFFIXES, find_files
from .feeds.footage import Beginning, Footage
from .feeds.naming import camera_id, camera_of, cameras_of
from .feeds.packets import Packet
from .feeds.reasons import AGENT_STOPPED, FOOTAGE_IS_OVER, ITS_TURN, SET_ASIDE
from .feeds.source import Feed, Reading
from .feeds.state import FeedState, FeedStatus, FeedWatch, quiet_after
from .feeds.times.recorded import Recorded, recorded_order
from .headers import Headers
from .segment import Segment, announced_frames
from .tracing import child_trace, trace_headers, trace_of

__all__ = [
    "AGENT_STOPPED",
    "CAMERA_ID",
    "EVERYTHING",
    "FOOTAGE_IS_OVER",
    "ITS_TURN",
    "MAX_RECORD_BYTES",
    "SET_ASIDE",
    "VIDEO_SUFFIXES",
    "Attached",
    "Beginning",
    "BrokerError",
    "Clip",
    "ClipSpec",
    "Clipper",
    "ClipperState",
    "Consumer",
    "DecodeLimits",
    "Decoded",
    "Decoder",
    "Described",
    "Effort",
    "EntryError",
    "Existing",
    "Feed",
    "FeedState",
    "FeedStatus",
    "FeedWatch",
    "FencedError",
    "Fit",
    "FleetCamera",
    "Footage",
    "Gpu",
    "GpuError",
    "GroupInstance",
    "Headers",
    "Image",
    "KafkaAddress",
    "KafkaSecurity",
    "KafkaTransport",
    "Lookup",
    "Mechanism",
    "MemoryTransport",
    "Pace",
    "Packet",
    "Partition",
    "Picture",
    "Polled",
    "Producer",
    "Protocol",
    "Publisher",
    "Reader",
    "Reading",
    "Record",
    "RecordTooLargeError",
    "Recorded",
    "Sample",
    "SampleReader",
    "Secret",
    "Segment",
    "SegmentError",
    "SegmentLimits",
    "Segmenter",
    "ServiceError",
    "SourceError",
    "StreamError",
    "Thinning",
    "Topic",
    "Transport",
    "UnansweredError",
    "announced_frames",
    "attach",
    "attach_all",
    "camera_behind",
    "camera_id",
    "camera_of",
    "cameras_of",
    "check_address",
    "check_camera_id",
    "check_gpu",
    "check_sent_id",
    "child_trace",
    "decode",
    "display_name",
    "drill_id",
    "drilled",
    "escape_address",
    "find_files",
    "is_film",
    "is_live",
    "joined_times_us",
    "may_be_film",
    "open_gpu",
    "quiet_after",
    "recorded_order",
    "sample_file",
    "sample_pieces",
    "split_address",
    "token_of_command",
    "trace_headers",
    "trace_of",
    "what_is_there",
    "write_joined",
]
