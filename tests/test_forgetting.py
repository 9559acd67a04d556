"""A stretch of a camera's time is forgotten: nobody is shown it, what can be deleted is, and the rest is named."""

from __future__ import annotations

import json
import re
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

pytest.importorskip("fastapi")

from consumers.cli.main import app
from consumers.footage_index import FootageIndex
from consumers.forgetting import ForgottenBook, ForgottenReader, embedded, read_forgotten, work
from consumers.forgetting.embedded import take_out, taking_out
from consumers.forgetting.redis_traces import RedisTraces
from consumers.forgetting.report import TAKEN_OUT, kept_until
from consumers.outputs.evidence import find_evidence
from consumers.outputs.redis.check import redis_differences
from consumers.outputs.redis.projection import RedisProjection
from consumers.records.audit import AuditEntry
from consumers.records.delivery import Delivery
from consumers.records.fields import RecordError
from consumers.records.forgotten import Forgotten
from consumers.records.prediction import Prediction
from consumers.records.verdict import Verdict
from consumers.replaying.footage.topic_pieces import topic_pieces
from consumers.settings import Settings
from consumers.subscribing.reader import stored_events
from consumers.subscribing.subscription import subscribe
from consumers.topics import ensure_topic_of_forgotten
from stream import Described, MemoryTransport, SourceError
from stream.services import EmbeddedBroker, Service
from tests.dashboards import Site, ended, event, ids, problem, ready, served, settings_of
from tests.footage_sites import BEGIN_US, attach, entries, site
from tests.videos import write_video
from tests.waiting import eventually

SECOND_US = 1_000_000
#: Of the film of ten seconds, what is forgotten.
FROM_US, TO_US = BEGIN_US + 3 * SECOND_US, BEGIN_US + 6 * SECOND_US


def stretch(camera: str = "gate", from_us: int = FROM_US, to_us: int = TO_US) -> Forgotten:
    return Forgotten(camera, from_us, to_us, time.time_ns() // 1000, "ana", "a bystander asked")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "gate.mp4", 100, rate=10, gop=10, size=(64, 48))


def prediction(second: float, camera: str = "gate") -> Prediction:
    start_us = BEGIN_US + round(second * SECOND_US)
    return Prediction(
        camera, BEGIN_US, round(second * 10), start_us, start_us + SECOND_US, "m", {"fight": 0.9, "normal": 0.1}
    )


def seen_event(second: int, camera: str = "gate", segments: str | None = None):
    start_us = BEGIN_US + second * SECOND_US
    return event(second, camera, start_us=start_us, end_us=start_us + SECOND_US, peak_us=start_us, segments=segments,
                 id=f"{second:016x}{camera.encode().hex()}")  # fmt: skip


def iso(time_us: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_us / 1e6))


def run(settings: Settings, *arguments: str):
    environment = {
        "CLIPLINE_KAFKA": settings.kafka,
        "CLIPLINE_REDIS": settings.redis,
        "CLIPLINE_TOPICS__PREFIX": settings.topics.prefix,
    }
    return CliRunner().invoke(app, ["forget", *arguments], env=environment, standalone_mode=False)


# --- pure -------------------------------------------------------------------------------------------------------------


def test_a_stretch_comes_back_as_it_was_and_says_what_is_wrong_with_it() -> None:
    one = stretch()
    key, _, value = one.encode()
    assert Forgotten.decode(key, value, "here") == one
    with pytest.raises(RecordError, match=r"here: expected the key 'gate/\d+/\d+', found b'other'"):
        Forgotten.decode(b"other", value, "here")


@pytest.mark.parametrize(
    ("start_us", "end_us", "is_of"),
    [
        (FROM_US - 2, FROM_US, False),
        (FROM_US - 2, FROM_US + 1, True),
        (TO_US - 1, TO_US + 9, True),
        (TO_US, TO_US + 9, False),
        (FROM_US, FROM_US, True),  # lasts for no time
        (FROM_US - 9, TO_US + 9, True),
    ],
)
def test_what_has_a_part_of_a_stretch_is_of_it(start_us: int, end_us: int, is_of: bool) -> None:  # noqa: FBT001
    book = ForgottenBook([stretch()])
    assert (book.of("gate", start_us, end_us) is not None) == is_of
    assert book.of("dock", start_us, end_us) is None


def test_a_reader_hears_of_what_is_forgotten_meanwhile_and_passes_over_what_is_none() -> None:
    transport, topic, now = MemoryTransport(), "p.forgotten", [0.0]
    reader, lookup = ForgottenReader(topic, lambda: now[0]), transport.lookup([topic])
    assert not reader.book(lookup).of("gate", FROM_US, TO_US)
    topics = Settings.model_validate({"topics": {"prefix": "p"}}).topics
    ensure_topic_of_forgotten(transport, topics)
    producer = transport.producer()
    producer.send(topic, b"gate/1/2", [], b"{}")
    producer.send(topic, *stretch().encode())
    producer.flush()
    assert not reader.book(lookup).of("gate", FROM_US, TO_US)  # asked a moment ago
    now[0] += 2
    assert reader.book(lookup).of("gate", FROM_US, TO_US)
    assert reader.book(lookup).left_out == 1


@pytest.mark.parametrize(
    ("topic", "is_embedded", "says"),
    [
        (
            Described(1, None, 3_600_000, 600_000, "delete"),
            False,
            "1970-01-01 01:00 UTC, or later, when its file is full; 1970-01-01 01:16 UTC at the latest",
        ),
        (Described(1, None, -1, 600_000, "delete"), False, "for ever: the topic has no retention"),
        (Described(1, None, 1, 1, "compact"), False, "for ever: the topic is compacted, without a retention"),
        (None, False, "the broker does not say"),
        (None, True, TAKEN_OUT),
    ],
    ids=["retention", "none", "compacted", "unknown", "embedded"],
)
def test_until_when_a_record_is_kept_is_said(topic: Described | None, is_embedded: bool, says: str) -> None:  # noqa: FBT001
    assert kept_until(topic, 0, is_embedded=is_embedded) == says


def test_what_the_embedded_broker_leaves_where_it_is_is_there_until_it_ends() -> None:
    assert kept_until(None, 0, is_embedded=True, is_taken_out=False).startswith("the embedded broker ends")


# --- readers ----------------------------------------------------------------------------------------------------------


def forgotten_site(broker: Service, prefix: str, folder: Path, film: Path, redis_url: str | None = None) -> Site:
    """A camera's ten seconds, events and scores."""
    here = site(broker.address, prefix, folder)
    if redis_url is not None:
        here.settings = here.settings.model_copy(update={"redis": redis_url})
    attach(here.settings, film)
    here.cameras("gate", "dock")
    with FootageIndex(here.transport, here.topics) as index:
        found = index.find("gate", BEGIN_US, BEGIN_US + 10 * SECOND_US).segments
    place = f"{here.topics.segments}[{found[0].partition}]@{found[0].offset}-{found[-1].offset}"
    here.events(seen_event(4, "dock"), seen_event(1, segments=place), seen_event(4, segments=place))
    here.send(here.topics.predictions, *(prediction(second) for second in range(10)))
    return here


def forget(here: Site) -> Forgotten:
    ensure_topic_of_forgotten(here.transport, here.topics)
    one = stretch()
    here.send(here.topics.forgotten, one)
    return one


def test_the_api_shows_nobody_what_is_forgotten(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, film: Path
) -> None:
    here = forgotten_site(embedded_broker, topics_prefix, tmp_path, film)
    gone, kept = seen_event(4), seen_event(1)
    verdict = Verdict("ab" * 12, "right", gone.id, "gate", "fight", gone.start_us, gone.end_us, 5, None)
    here.send(here.topics.verdicts, verdict)
    span = f"from={iso(BEGIN_US)}&to={iso(BEGIN_US + 10 * SECOND_US)}"
    with served(here.settings) as (client, desk):
        ready(desk)
        assert len(ids(client.get("/events?camera=gate"))) == 2
        playlist = client.get(f"/cameras/gate/recorded.m3u8?{span}").text
        everything = entries(playlist)
        addresses = [f"/cameras/gate/{each.address}" for each in everything]
        assert client.get(addresses[4]).status_code == 200
        forget(here)
        assert eventually(lambda: len(desk.view.forgotten) == 1)
        page = client.get("/events?camera=gate").json()
        assert ([each["event"] for each in page["items"]], page["forgotten"]) == ([kept.id], 1)
        assert len(ids(client.get("/events?camera=dock"))) == 1
        for path in ("", "/pictures", "/pictures/strip", "/evidence.m3u8"):
            said = problem(client.get(f"/events/{gone.id}{path}"), 410, "forgotten")
            assert re.search(r"as ana asked at \S+Z: a bystander asked$", said["detail"])
            assert (said["forgotten"]["by"], said["forgotten"]["why"]) == ("ana", "a bystander asked")
            assert said["forgotten"]["time"].startswith("20")
        assert "forgotten" not in problem(client.get("/events/ab"), 404, "not-found")
        problem(client.post("/verdicts", json={"event": gone.id, "answer": "false"}), 410, "forgotten")
        for answer in ("false", "withdrawn"):
            batch = client.post("/verdicts/batch", json={"events": [gone.id], "answer": answer})
            assert "as ana asked" in problem(batch, 410, "forgotten")["detail"]
        scores = client.get(f"/cameras/gate/predictions?{span}").json()
        # Windows that reach into it, and those in it.
        assert [each["window"] for each in scores["items"]] == [0, 10, 20, 60, 70, 80, 90]
        assert scores["forgotten"] == 3
        verdicts = client.get("/verdicts").json()
        assert (verdicts["items"], verdicts["next"], verdicts["waiting"], verdicts["forgotten"]) == ([], None, None, 1)
        problem(client.get(f"/verdicts/{verdict.id}"), 410, "forgotten")
        left = entries(client.get(f"/cameras/gate/recorded.m3u8?{span}").text)
        with client.stream("GET", "/events/stream?since=earliest&camera=gate") as streamed:
            here.events(seen_event(8))
            lines = (line for line in streamed.iter_lines() if line.startswith("data: "))
            told = [json.loads(next(lines).removeprefix("data: "))["event"] for _ in range(2)]
        assert told == [kept.id, seen_event(8).id]
        assert left
        assert not any(iso(FROM_US)[:19] <= each.time[:19] < iso(TO_US)[:19] for each in left)
        problem(client.get(addresses[4]), 410, "forgotten")
        problem(client.get(f"/cameras/gate/recorded.m3u8?from={iso(FROM_US)}&to={iso(TO_US)}"), 410, "forgotten")
    with served(here.settings) as (client, desk):  # it is on a topic
        ready(desk)
        problem(client.get(f"/events/{gone.id}"), 410, "forgotten")
        problem(client.get(addresses[4]), 410, "forgotten")


def test_nobody_else_reads_what_is_forgotten(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, film: Path
) -> None:
    here = forgotten_site(embedded_broker, topics_prefix, tmp_path, film)
    kept, gone = seen_event(1), seen_event(4)
    forget(here)
    with FootageIndex(here.transport, here.topics) as index:
        found = index.find("gate", BEGIN_US, BEGIN_US + 10 * SECOND_US)
    (gap,) = found.gaps
    assert (gap[0] <= FROM_US, gap[1] >= TO_US, found.forgotten) == (True, True, 4)
    assert "as ana asked" in found.notes[-1]
    with pytest.raises(SourceError, match=r"forgotten, as ana asked at \S+Z: a bystander asked$"):
        find_evidence(here.transport, here.topics, gone.id, 1, 1)
    near = find_evidence(here.transport, here.topics, kept.id, 9, 9)
    assert not any(each.start_us < TO_US and each.end_us > FROM_US for each in near.segments)
    assert [each.rpartition(": ")[2] for each in near.missing] == ["forgotten"]
    with subscribe(since="earliest", settings=here.settings) as events:
        assert next(events).id == seen_event(4, "dock").id
        assert next(events).id == kept.id
        later = seen_event(8)
        here.events(later)
        assert next(events).id == later.id
    source = f"kafka://{here.topics.segments}?camera=gate"
    ((_, piece),) = topic_pieces(source, None, here.transport)
    replayed = [item for item in piece.segments("gate") if hasattr(item, "start_us")]
    assert replayed
    assert not any(s.start_us < TO_US and s.end_us > FROM_US for s in replayed)


# --- the command ------------------------------------------------------------------------------------------------------


def rows_of(result) -> dict[str, dict]:
    body = json.loads([line for line in result.output.splitlines() if line.startswith("{")][-1])
    return {row["where"]: row for row in body["rows"]}


def ask(*more: str) -> list[str]:
    return ["--camera", "gate", "--from", iso(FROM_US), "--to", iso(TO_US), "--json", *more]


@pytest.mark.slow
def test_redis_is_rid_of_it_at_once_and_for_good_and_the_rest_is_named(
    embedded_broker: Service,
    topics_prefix: str,
    tmp_path: Path,
    film: Path,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nobody takes anything out of this broker.
    monkeypatch.setattr(work, "_EMBEDDED_SECONDS", 0.0)
    here = forgotten_site(embedded_broker, topics_prefix, tmp_path, film, redis_url)
    gone, names = seen_event(4), here.topics.prefix
    with redis.Redis.from_url(redis_url) as client:
        with RedisProjection(lambda: here.transport, here.settings) as projection:
            assert projection.catch_up(20)
        client.set(f"{names}:strip:{gone.id}-0", b"picture")
        client.set(f"{names}:strip:{seen_event(1).id}-0", b"picture")

        dry = run(here.settings, *ask("--dry-run"))
        assert dry.return_value is None
        found = rows_of(dry)
        assert found[here.topics.segments]["found"] == 4
        assert found[here.topics.segments]["then"].startswith("would not be shown, and there until")
        assert (found[f"Redis {names}:events"]["found"], found[f"Redis {names}:events"]["then"]) == (
            1,
            "would be deleted",
        )
        assert not read_forgotten(here.transport, here.topics)

        done = run(here.settings, *ask("--why", "asked"))
        assert done.return_value == 1, done.output
        found = rows_of(done)
        for where in ("events", "predictions:…", "peak:…, " + f"{names}:strip:…"):
            row = found[f"Redis {names}:{where}"]
            assert (row["found"] > 0, row["left"]) == (True, 0), where
        footage = found[here.topics.segments]
        assert (footage["found"], footage["gone"], footage["left"]) == (4, 0, 4)
        assert footage["until"] == TAKEN_OUT
        assert client.exists(f"{names}:strip:{gone.id}-0") == 0
        assert client.exists(f"{names}:strip:{seen_event(1).id}-0") == 1
        assert client.xlen(f"{names}:events") == 2

        # Built anew, Redis does not show it again.
        with RedisProjection(lambda: here.transport, here.settings, keep=False) as projection:
            assert projection.catch_up(20)
        assert client.xlen(f"{names}:events") == 2
        assert redis_differences(here.transport, here.settings) == []
    again = run(here.settings, "--check", "--json")
    assert again.return_value == 1
    assert rows_of(again)[f"Redis {names}:events"]["left"] == 0
    (entry,) = [
        AuditEntry.decode(r.key, r.value, r.where)
        for r in here.transport.read(here.transport.offsets(here.topics.audit))
    ]
    assert (entry.action, entry.camera, entry.way) == ("camera.forget", "gate", "local")
    (known,) = read_forgotten(here.transport, here.topics).stretches("gate")
    assert (known.why, known.by) == ("asked", entry.actor)


@pytest.mark.slow
def test_apache_kafka_deletes_it_with_all_before_it_after_saying_what_that_is(
    apache_broker: Service, topics_prefix: str, tmp_path: Path, film: Path, redis_url: str
) -> None:
    here = forgotten_site(apache_broker, topics_prefix, tmp_path, film, redis_url)
    first = run(here.settings, *ask())
    assert first.return_value == 1
    until = rows_of(first)[here.topics.segments]["until"]
    assert until.endswith("at the latest"), until
    with FootageIndex(here.transport, here.topics) as index:
        before = index.find("gate", BEGIN_US, BEGIN_US + 10 * SECOND_US)
    refused = run(here.settings, *ask("--and-all-before"))
    assert "1 record of dock" in refused.output
    assert "Delete it? [y/N]" in refused.output
    assert rows_of(run(here.settings, "--check", "--json"))[here.topics.segments]["left"] == 4

    done = run(here.settings, *ask("--and-all-before", "--yes"))
    found = rows_of(done)
    for topic in (here.topics.segments, here.topics.predictions, here.topics.events):
        assert (found[topic]["found"] > 0, found[topic]["left"]) == (True, 0), topic
    with FootageIndex(here.transport, here.topics) as index:
        after = index.find("gate", BEGIN_US, BEGIN_US + 10 * SECOND_US)
    assert [s.offset for s in after.segments] == [s.offset for s in before.segments if s.start_us >= TO_US]
    # Where segments were: that is all that is left.
    assert done.return_value == 1
    assert [where for where, row in found.items() if row["left"]] == [here.topics.segments_index]


def test_whoever_runs_the_embedded_broker_takes_it_out_and_nothing_else(
    topics_prefix: str, tmp_path: Path, film: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As long as this site takes to be counted.
    monkeypatch.setattr(embedded, "_COUNTED_SECONDS", 3.0)
    with EmbeddedBroker(max_bytes=100_000_000) as broker:
        here = forgotten_site(broker, topics_prefix, tmp_path, film, redis_url)
        here.send(here.topics.events, seen_event(9))
        here.send(here.topics.predictions, prediction(11))
        with FootageIndex(here.transport, here.topics) as index:
            whole = index.find("gate", BEGIN_US, BEGIN_US + 10 * SECOND_US).segments
        with taking_out(broker, here.topics):
            done = run(here.settings, *ask())
        # It is noted before anything is read, and each topic is said once for each pass.
        lines = done.stderr.splitlines()
        assert lines[1] == "noted: nobody is shown it from now on"
        assert f"counting what there is: {here.topics.segments}" in lines[2:]
        assert f"looking for what is left: {here.topics.segments}" in lines[2:]
        assert len(lines) == len(set(lines))
        found = rows_of(done)
        for topic in (here.topics.segments, here.topics.predictions, here.topics.events):
            assert (found[topic]["found"] > 0, found[topic]["left"]) == (True, 0), topic
        assert [where for where, row in found.items() if row["left"]] == [here.topics.segments_index]
        assert "broker ends" in found[here.topics.segments_index]["until"]
        kept = [s for s in whole if not stretch().touches(s.start_us, s.end_us)]
        with FootageIndex(here.transport, here.topics) as index:
            after = index.find("gate", BEGIN_US, BEGIN_US + 10 * SECOND_US)
            assert [s.offset for s in after.segments] == [s.offset for s in kept]
            assert len(list(index.footage("gate", after.segments))) == len(kept)
            # Also for whoever asks the broker itself.
            assert list(index.footage("gate", [s for s in whole if s not in kept])) == []
        left = [e.camera for e in stored_events(here.transport, here.topics)]
        assert sorted(left) == ["dock", "gate", "gate"]


def test_the_embedded_broker_deletes_nothing_with_all_before_it(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, film: Path
) -> None:
    here = forgotten_site(embedded_broker, topics_prefix, tmp_path, film)
    done = run(here.settings, *ask("--and-all-before", "--yes"))
    assert "the embedded broker deletes no records with all before them" in str(done.exception)
    assert not read_forgotten(here.transport, here.topics)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--camera", "gate"], "expected --camera, --from and --to; or --check"),
        (["--check", "--dry-run"], "--check takes no other option"),
        (["--camera", "gate", "--from", iso(TO_US), "--to", iso(FROM_US)], "expected --from before --to"),
        (["--camera", "gate", "--from", iso(FROM_US), "--to", "2100-01-01T00:00:00Z"], "at least 15 s back"),
        (["--camera", "gate", "--from", iso(FROM_US), "--to", iso(TO_US), "--why", "x" * 501], "at most 500 char"),
        (["--camera", "gat", "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-02T00:00:00Z"], "did you mean 'gate'"),
    ],
    ids=["too little", "too much", "backwards", "just now", "too much to say", "unknown"],
)  # fmt: skip
def test_what_cannot_be_forgotten_is_refused(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, arguments: list[str], says: str
) -> None:
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    here.cameras("gate")
    done = run(here.settings, *arguments)
    assert says in str(done.exception)
    assert not here.transport.existing([here.topics.forgotten])


def test_the_embedded_broker_keeps_nothing_of_an_event_of_which_one_report_is_forgotten(topics_prefix: str) -> None:
    begun = event(0, "gate", start_us=FROM_US - 2 * SECOND_US, end_us=FROM_US - SECOND_US, peak_us=FROM_US - SECOND_US)
    over, kept = replace(ended(begun), end_us=TO_US + SECOND_US), seen_event(9)
    judged = Verdict("ab" * 12, "right", begun.id, "gate", "fight", begun.start_us, begun.end_us, 5, None)
    told = Delivery.about(begun, "ops", now_us=BEGIN_US, expires_us=BEGIN_US + SECOND_US)
    with EmbeddedBroker(max_bytes=100_000_000) as broker:
        here = Site(settings_of(broker.address, topics_prefix))
        here.events(begun, over, kept)
        here.send(here.topics.deliveries, told, Delivery.about(kept, "ops", now_us=BEGIN_US, expires_us=BEGIN_US))
        here.send(here.topics.verdicts, judged)
        book, known = ForgottenBook([stretch()]), {}

        def reports() -> list[tuple[str, str]]:
            return [(each.id, each.state) for each in stored_events(here.transport, here.topics)]

        def stored(topic: str) -> int:
            return len(list(here.transport.read(here.transport.offsets(topic))))

        # The verdict is the newest record of its partition: it stays for now, and with it what proves whose it is.
        take_out(broker, here.topics, book, known)
        assert reports() == [(over.id, "ended"), (kept.id, "started")]
        assert (stored(here.topics.deliveries), stored(here.topics.verdicts)) == (1, 1)
        here.send(
            here.topics.verdicts,
            replace(judged, id="cd" * 12, event=kept.id, start_us=kept.start_us, end_us=kept.end_us),
        )
        here.events(begun)  # sent again by a worker that took over
        take_out(broker, here.topics, book, known)
        assert reports() == [(over.id, "ended"), (kept.id, "started"), (begun.id, "started")]
        assert stored(here.topics.verdicts) == 1
        here.events(seen_event(8))
        take_out(broker, here.topics, book, known)
        assert reports() == [(kept.id, "started"), (seen_event(8).id, "started")]
        here.events(begun, seen_event(7))  # late, and nothing on the broker tells that it is forgotten
        take_out(broker, here.topics, book, known)
        assert begun.id not in dict(reports())


def test_redis_is_rid_of_all_reports_of_an_event_of_which_one_is_forgotten(redis_url: str, topics_prefix: str) -> None:
    begun = event(0, "gate", start_us=FROM_US - 2 * SECOND_US, end_us=FROM_US - SECOND_US, peak_us=FROM_US - SECOND_US)
    reports = (begun, replace(ended(begun), end_us=TO_US), seen_event(1))
    with redis.Redis.from_url(redis_url) as client:
        for report in reports:
            client.xadd(f"{topics_prefix}:events", {"event": report.encode()[2]})
        with closing(RedisTraces(redis_url, topics_prefix, ForgottenBook([stretch()]), ())) as traces:
            assert traces.find()[0].count == 2
            traces.delete()
        ((_, left),) = client.xrange(f"{topics_prefix}:events")
    assert json.loads(left[b"event"])["event"] == seen_event(1).id
