"""How soon the index of segments tells where a minute lies: `python benchmarks/segment_index.py`.

A day of 200 cameras with segments of a second is written to Apache Kafka, index only: as agents leave it, with the
minutes of the last hour as they were written, each second anew. Then it is asked. `--cameras 20 --hours 4` for less.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from consumers.footage_index import CameraWriter, FootageIndex, SegmentFacts, Standing
from consumers.records.index.contents import IndexContents, PlacedPage
from consumers.records.index.page import FeedRun, IndexedSegment, IndexPage
from consumers.settings import TopicSettings
from consumers.topics import ensure_topics_of_index
from stream import KafkaTransport, Producer, Topic
from stream.services import ApacheBroker

_END_US: Final = 1_795_593_600_000_000
_SECOND_US: Final = 1_000_000
_HOUR: Final = 3600
#: For so long a broker compacts nothing: the newest file of a partition.
_UNCOMPACTED: Final = 600
_SIZE: Final = 125_000
_CLAIM: Final = 1_795_000_000_000_000
_TRIES: Final = 100


@dataclass
class Day:
    """What is written."""

    transport: KafkaTransport
    topics: TopicSettings
    cameras: list[str]
    hours: int
    written: int = 0

    @property
    def begin_us(self) -> int:
        return _END_US - self.hours * _HOUR * _SECOND_US

    def write(self) -> None:
        """Write all of it: hours that are over, then the last one second by second."""
        self.transport.ensure_topics([Topic(self.topics.segments, self.topics.partitions)])
        ensure_topics_of_index(self.transport, self.topics)
        producer = self.transport.producer()
        places = {c: self.transport.partition_of(self.topics.segments_index, c.encode()) for c in self.cameras}
        writers = [self._hours(producer, camera, places[camera]) for camera in self.cameras]
        for second in range((self.hours - 1) * _HOUR, self.hours * _HOUR):
            for writer in writers:
                writer.take(self._facts(second), 0, second * len(self.cameras))
            if second >= self.hours * _HOUR - _UNCOMPACTED or second % 60 == 59:
                self._store(producer, writers)
        producer.close()

    def _hours(self, producer: Producer, camera: str, partition: int) -> CameraWriter:
        run = FeedRun(0, self.begin_us, _CLAIM, "0123456789abcdef", "mpegts", "h264", 1920, 1080, 0)
        placed: list[PlacedPage] = []
        step = len(self.cameras)
        for hour in range(self.hours - 1):
            segments = tuple(
                IndexedSegment(
                    *(run, n, n, self.begin_us + n * _SECOND_US, _SECOND_US, n * step, _SIZE + n % 9973),
                    begins=True,
                    continued=False,
                )
                for n in range(hour * _HOUR, (hour + 1) * _HOUR)
            )
            page = IndexPage(camera, _CLAIM, segments)
            placed.append(PlacedPage.of(page, self._send(producer, page, partition)))
        seconds = (self.hours - 1) * _HOUR
        next_page = placed[-1].index_offset + 1 if placed else 0
        contents = IndexContents(
            *(camera, _CLAIM, 0, 0, 0, seconds * step, seconds, run, partition, next_page, 0, False, tuple(placed))
        )
        return CameraWriter(camera, _CLAIM, partition, Standing(contents))

    def _send(self, producer: Producer, page: IndexPage, partition: int) -> int:
        at: list[int] = []
        producer.send(self.topics.segments_index, *page.encode(), partition, stored=lambda _, offset: at.append(offset))
        producer.flush()
        self.written += 1
        return at[0]

    def _facts(self, second: int) -> SegmentFacts:
        start_us = self.begin_us + second * _SECOND_US
        return SegmentFacts(
            *(self.begin_us, second, start_us, start_us + _SECOND_US, "mpegts", "h264", 1920, 1080),
            *(_SIZE + second % 9973, False, True, False, _CLAIM, "0123456789abcdef"),
        )

    def _store(self, producer: Producer, writers: list[CameraWriter]) -> None:
        found: dict[int, int] = {}
        pages = [(writer, page) for writer in writers for page in writer.pages()]
        for number, (writer, page) in enumerate(pages):
            producer.send(
                self.topics.segments_index,
                *page.encode(),
                writer.index_partition,
                stored=lambda _, offset, number=number: found.update({number: offset}),  # type: ignore[misc]
            )
        producer.flush()
        for number, (writer, page) in enumerate(pages):
            writer.placed(page, found[number])
        for writer in writers:
            if writer.is_contents_due:
                producer.send(self.topics.segments_contents, *writer.contents(0).encode())
        producer.flush()
        self.written += len(pages)


def questions(day: Day, dice: random.Random) -> Iterator[tuple[str, Callable[[], tuple[int, int]]]]:
    """What is asked, and a function that gives an interval of it, in seconds from the begin."""
    end = day.hours * _HOUR
    before = end - _HOUR

    def within(first: int, last: int, seconds: int) -> Callable[[], tuple[int, int]]:
        def interval() -> tuple[int, int]:
            begin = dice.randrange(first, max(first + 1, last - seconds))
            return begin, begin + seconds

        return interval

    yield "a minute of an hour that is over", within(0, before, 60)
    yield "a minute of the last hour", within(before, end - 120, 60)
    yield "the newest ten seconds", lambda: (end - 10, end)
    yield "an hour", within(0, before, _HOUR)
    yield "the last hour", lambda: (before, end)
    yield f"all {day.hours} hours", lambda: (0, end)


def measure(day: Day) -> None:
    began = time.monotonic()
    index = FootageIndex(day.transport, day.topics)
    opened = time.monotonic() - began
    dice = random.Random(7)  # noqa: S311  no secret
    print("| asked of one camera | segments | ms | 95 % within ms |\n|---|---|---|---|")
    for name, interval in questions(day, dice):
        took, segments = [], 0
        for _ in range(_TRIES if "all" not in name else _TRIES // 5):
            camera, (begin, end) = dice.choice(day.cameras), interval()
            began = time.perf_counter()
            found = index.find(camera, day.begin_us + begin * _SECOND_US, day.begin_us + end * _SECOND_US)
            took.append((time.perf_counter() - began) * 1000)
            segments = len(found.segments)
            assert not found.gaps, (name, camera, begin, found.gaps[:3])
        print(f"| {name} | {segments:,} | {statistics.median(took):.0f} | {statistics.quantiles(took, n=20)[-1]:.0f} |")
    began = time.monotonic()
    known = len(index.all_contents())
    print(f"| which cameras there are | {known} cameras | {(time.monotonic() - began) * 1000:.0f} | |")
    print(f"\nConnecting takes {opened * 1000:.0f} ms more, once.")
    index.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--partitions", type=int, default=8)
    asked = parser.parse_args()
    with ApacheBroker() as broker:
        day = Day(
            KafkaTransport(broker.address),
            TopicSettings(partitions=asked.partitions),
            [f"camera-{n:03}" for n in range(asked.cameras)],
            asked.hours,
        )
        began = time.monotonic()
        day.write()
        print(
            f"{asked.cameras} cameras, {asked.hours} h, {asked.partitions} partitions: {day.written:,} pages, written "
            f"in {time.monotonic() - began:.0f} s\n",
            flush=True,
        )
        measure(day)


if __name__ == "__main__":
    main()
