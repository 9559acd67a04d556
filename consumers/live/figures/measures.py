"""How long things take in a worker, and how often they happen: what the accounts of frames do not tell.

Kept by the client library of Prometheus; an observation costs about a microsecond, and there are a few for each batch.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

#: From the arrival of a segment to its predictions: a tenth of a second to ten minutes.
_LATENCY_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_STEP_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_WINDOWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Measures:
    """Of one worker. Any thread may observe or read."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.latency_seconds = Histogram(
            "clipline_clip_latency_seconds",
            "Wall time from a segment's arrival on the topic until its predictions were committed.",
            registry=registry,
            buckets=_LATENCY_SECONDS,
        )
        self.batch_windows = Histogram(
            "clipline_batch_windows", "Windows classified at once.", registry=registry, buckets=_BATCH_WINDOWS
        )
        self.inference_seconds = Histogram(
            "clipline_inference_seconds",
            "Seconds that the model took for a batch.",
            registry=registry,
            buckets=_STEP_SECONDS,
        )
        self.decode_seconds = Histogram(
            "clipline_decode_seconds",
            "Seconds that a thread took to decode a segment.",
            registry=registry,
            buckets=_STEP_SECONDS,
        )
        self.pictures_decoded = Counter(
            "clipline_decoded_pictures",
            "Where a GPU decodes: pictures by what made them. processor: the GPU does not decode such video, or is "
            "busy. again: a segment that failed on the GPU.",
            ["by"],
            registry=registry,
        )
        self.rebalances = Counter(
            "clipline_rebalances", "How often the group gave partitions to the worker or took some.", registry=registry
        )
        self.transactions = Counter(
            "clipline_transactions",
            "Transactions, by how they ended. What an aborted one held is read again.",
            ["outcome"],
            registry=registry,
        )
        self.transaction_seconds = Histogram(
            "clipline_transaction_seconds",
            "Seconds from the first record that a transaction is about until it was committed.",
            registry=registry,
            buckets=_STEP_SECONDS,
        )
        self.commit_seconds = Histogram(
            "clipline_commit_seconds",
            "Seconds that storing a transaction took.",
            registry=registry,
            buckets=_STEP_SECONDS,
        )
        self.dead_letters = Counter(
            "clipline_dead_letters", "Records that could not be used, by why.", ["reason"], registry=registry
        )
        self.lost_to_retention = Counter(
            "clipline_lost_to_retention_records",
            "Segments that the broker deleted for their age or size before this worker came to them.",
            registry=registry,
        )
        self.lost_by_broker = Counter(
            "clipline_lost_by_broker_records",
            "Segments that this worker's group had taken and that the broker lost since.",
            registry=registry,
        )
        # A series that is not there cannot be told from one that stayed at zero.
        for outcome in ("committed", "aborted"):
            self.transactions.labels(outcome)
