"""The public surface of `stream`: a change here is one that other packages and users of the Python API notice."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import stream
from stream import services

ROOT = Path(__file__).resolve().parents[1]
EXPORTS = {
    stream: """
        AGENT_STOPPED CAMERA_ID FOOTAGE_IS_OVER ITS_TURN MAX_RECORD_BYTES SET_ASIDE VIDEO_SUFFIXES
        Attached Beginning BrokerError Clip ClipSpec Clipper ClipperState Consumer DecodeLimits Decoded Decoder
        Described
        EVERYTHING Effort EntryError Existing Feed FeedState FeedStatus FeedWatch FencedError Fit FleetCamera Footage
        GroupInstance
        Gpu GpuError Headers Image KafkaAddress
        KafkaSecurity KafkaTransport Lookup Mechanism MemoryTransport Pace Packet Partition Picture Polled Producer
        Protocol Publisher Reader Reading Record RecordTooLargeError Recorded Sample SampleReader Secret Segment
        SegmentError SegmentLimits Segmenter ServiceError SourceError StreamError Thinning Topic Transport
        UnansweredError
        announced_frames attach attach_all camera_behind camera_id camera_of cameras_of check_address check_camera_id
        check_gpu check_sent_id child_trace decode display_name drill_id drilled escape_address find_files is_film
        is_live joined_times_us
        may_be_film open_gpu quiet_after recorded_order sample_file sample_pieces split_address token_of_command
        trace_headers trace_of what_is_there write_joined
    """,
    services: (
        "HOST ApacheBroker Condition EmbeddedBroker EmbeddedRedis Kept Plan Service holder is_taken "
        "remove_abandoned signal_at_parents_end"
    ),
}


@pytest.mark.parametrize(("package", "names"), EXPORTS.items(), ids=lambda p: getattr(p, "__name__", ""))
def test_a_package_exports_what_it_promises(package, names):
    assert set(package.__all__) == set(names.split())
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("folder", ["consumers", "benchmarks", "examples"])
def test_others_import_from_stream_what_it_exports_and_from_no_file_within(folder):
    public = {"stream", "stream.services"}
    inner = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {module}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in _imported(node)
        if module.split(".")[0] == "stream" and module not in public
    ]
    assert not inner


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
