"""One tap says whether an event was right: once, by whoever got the link, and by no program that only looks at it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest

pytest.importorskip("uvicorn")

from consumers.notifying.answers import LONGEST_US, Answers
from consumers.notifying.by_hand import acknowledge
from consumers.rate_limit import RateLimit
from consumers.records.delivery import OVER, Delivery
from consumers.records.event import Event
from consumers.records.verdict import ANSWERS, Verdict
from consumers.settings import Settings, SettingsError
from consumers.topics import ensure_topic_of_deliveries, ensure_topic_of_verdicts
from consumers.verdicts.book import VerdictBook, judged_events, stored_verdicts, write_verdict
from consumers.verdicts.by_hand import describe_verdict, give_verdict
from consumers.verdicts.links import Asked, ForgedLinkError, Links
from consumers.verdicts.serving import serving_verdicts
from stream import KafkaTransport, MemoryTransport, Secret, SourceError, Transport
from stream.services import EmbeddedBroker, Service
from tests.notifiers import notifying
from tests.receivers import Receiver
from tests.snapshots import event
from tests.waiting import eventually

SECRET = "no-one-will-guess-this-one"
HOUR_US = 3_600_000_000


def now_us() -> int:
    return time.time_ns() // 1000


def settings_of(address: str, prefix: str, **more: object) -> Settings:
    verdicts = {"base_url": "http://127.0.0.1:1/verdicts", "secret": SECRET, **more}
    return Settings.model_validate(
        {
            "kafka": address,
            "topics": {"prefix": prefix},
            "notify": {"group": f"{prefix}-notify"},
            "verdicts": verdicts,
            "channels": {"ops": {"url": "http://127.0.0.1:9/", "time_zone": "Europe/Berlin"}},
        }
    )


def asked(of: Event | None = None, channel: str = "ops", *, expires_us: int | None = None) -> Asked:
    data = (of or event("gate-1")).body()
    return Asked.about(data, channel, now_us() + HOUR_US if expires_us is None else expires_us)


def path(question: Asked, answer: str = "right", secret: str = SECRET) -> str:
    return f"/verdicts/{answer}/{Links('', Secret(secret)).token(question)}"


@contextmanager
def served(settings: Settings) -> Iterator[httpx.Client]:
    with (
        serving_verdicts(lambda: KafkaTransport(settings.broker, at_once=True), settings, "127.0.0.1:0") as url,
        httpx.Client(base_url=url, timeout=180) as client,
    ):
        yield client


def stored(settings: Settings) -> list[Verdict]:
    transport = KafkaTransport(settings.broker)
    ensure_topic_of_verdicts(transport, settings.topics, 24)
    return list(stored_verdicts(transport, settings.topics))


# --- links ------------------------------------------------------------------------------------------------------------


def test_a_link_tells_what_it_asks_and_any_change_of_it_is_seen():
    links = Links("https://example.org/v/", Secret(SECRET))
    question = replace(asked(), label='climbing <a rope>, naïvely & "fast"')
    urls = links.all(question)
    assert set(urls) == set(ANSWERS)
    token = urls["right"].rpartition("/")[2]
    assert urls["snooze"] == f"https://example.org/v/snooze/{token}"
    assert links.read(token) == question
    for place in range(len(token)):
        for character in ("A", "B", "-", "."):
            changed = token[:place] + character + token[place + 1 :]
            if changed != token:
                with pytest.raises(ForgedLinkError):
                    links.read(changed)
    for wrong in ("", ".", token[:-1], token + "A", token + "=", "x" * 5000, "é.é", token.partition(".")[0] + "."):
        with pytest.raises(ForgedLinkError):
            links.read(wrong)
    with pytest.raises(ForgedLinkError):
        Links("", Secret(SECRET + "x")).read(token)
    newer = Links("", Secret(SECRET + "x"), Secret(SECRET))
    assert newer.read(token) == question
    with pytest.raises(ForgedLinkError):
        links.read(newer.token(question))


def test_a_secret_is_needed_and_is_never_shown(tmp_path):
    base = {"base_url": "https://example.org/v"}
    for wrong, said in (
        (base, "needs secret"),
        ({**base, "secret": "short"}, "16 characters"),
        ({"base_url": "ftp://example.org", "secret": SECRET}, "https://"),
        ({"base_url": "https://user:pw@example.org/v", "secret": SECRET}, "without user"),
        ({**base, "secret": SECRET, "secret_file": "x"}, "one of secret and secret_file"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)) as error:
            Settings.model_validate({"verdicts": wrong})
        assert SECRET not in str(error.value)
    (tmp_path / "secret").write_text("short\n")
    with pytest.raises(SettingsError, match="16 characters"):
        Settings.model_validate({"verdicts": {**base, "secret_file": tmp_path / "secret"}}).verdicts.signing()
    assert SECRET not in repr(Settings.model_validate({"verdicts": {**base, "secret": SECRET}}))


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_looking_answers_nothing_and_the_button_answers_once_over_restarts_and_servers(
    broker: Service, topics_prefix: str
):
    settings = settings_of(broker.address, topics_prefix)
    question = replace(asked(), label="fight <b>")
    with served(settings) as client, served(settings) as other:
        for look in (client.get, client.head, other.get, client.head):  # previews, scanners, and the person
            seen = look(path(question))
            assert seen.status_code == 200
        page = client.get(path(question)).text
        assert "fight &lt;b&gt;" in page
        assert "gate-1" in page
        assert 'method="post"' in page
        assert stored(settings) == []
        given = client.post(path(question))
        assert given.status_code == 200
        assert "Noted: this was right" in given.text
        assert [(v.answer, v.event, v.channel) for v in stored(settings)] == [("right", question.event, "ops")]
        # The same question, the other answer, at another server, twice.
        for again in (other.post(path(question, "false")), client.post(path(question))):
            assert again.status_code == 409
            assert "Answered already" in again.text
            assert "this was right" in again.text
        assert "Answered already" in other.get(path(question)).text
    with served(settings) as restarted:
        assert restarted.post(path(question, "false")).status_code == 409
        # Who got it through another channel was not asked yet.
        assert restarted.post(path(replace(question, channel="guard"), "false")).status_code == 200
    assert [(v.answer, v.channel) for v in stored(settings)] == [("right", "ops"), ("false", "guard")]


def test_of_many_taps_at_once_at_two_servers_one_counts(embedded_broker: Service, topics_prefix: str):
    settings = settings_of(embedded_broker.address, topics_prefix)
    question = asked()
    with served(settings) as one, served(settings) as two:
        answers: list[tuple[int, str]] = []

        def tap(client: httpx.Client, answer: str) -> None:
            got = client.post(path(question, answer))
            answers.append((got.status_code, answer))

        taps = [(client, answer) for client in (one, two) for answer in ("right", "false") * 3]
        threads = [threading.Thread(target=tap, args=each) for each in taps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(180)
    assert len(answers) == len(taps)
    (counts,) = stored(settings)
    assert [answer for code, answer in answers if code == 200] == [counts.answer]
    assert {code for code, _ in answers} == {200, 409}


def test_links_that_are_forged_expired_or_none_get_a_page_that_says_so(embedded_broker: Service, topics_prefix: str):
    settings = settings_of(embedded_broker.address, topics_prefix)
    good = path(asked())
    with served(settings) as client:
        for method in ("GET", "POST"):
            assert client.request(method, path(asked(), secret="another-secret-of-ours")).status_code == 403
            assert client.request(method, good[:-2]).status_code == 403
            expired = client.request(method, path(asked(expires_us=now_us() - 1)))
            assert expired.status_code == 410
            assert "Expired" in expired.text
            for unknown in ("/", "/verdicts", good.replace("/right/", "/maybe/"), "/..%2f..%2fetc/passwd"):
                assert client.request(method, unknown).status_code == 404
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
            refused = client.request(method, good)
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, POST")
        assert client.post(good, content=b"x" * 5000).status_code == 413
    assert stored(settings) == []


def test_the_page_needs_nothing_from_elsewhere_and_tells_nobody_where_it_was(
    embedded_broker: Service, topics_prefix: str
):
    with served(settings_of(embedded_broker.address, topics_prefix)) as client:
        for answer in (client.get(path(asked())), client.get("/nothing"), client.put("/nothing")):
            headers = answer.headers
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'sha256-")
            assert "form-action 'self'" in policy
            assert "unsafe" not in policy
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers
            assert not re.search(r"src=|href=|<script|@import|url\(", answer.text)
        # In the time zone of who was told.
        assert re.search(r"<dd>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d CES?T</dd>", client.get(path(asked())).text)


def test_an_address_that_asks_too_often_is_told_to_wait():
    limit = RateLimit(60)
    assert [limit.take("a", 0.0) for _ in range(62)] == [True] * 60 + [False] * 2
    assert limit.take("b", 0.0)
    assert limit.take("a", 1.1)
    assert not limit.take("a", 1.1)
    for number in range(10_000):
        limit.take(str(number), 2.0)
    assert len(limit._left) <= 4096


def test_too_many_requests_are_refused_over_http(embedded_broker: Service, topics_prefix: str):
    settings = settings_of(embedded_broker.address, topics_prefix, requests_per_minute=3)
    with served(settings) as client:
        codes = [client.get("/nothing").status_code for _ in range(6)]
    assert codes[:3] == [404] * 3
    assert codes[-1] == 429


def test_a_broker_that_is_away_is_said_and_the_answer_counts_when_it_is_back(topics_prefix: str):
    with EmbeddedBroker(max_bytes=50_000_000) as gone:
        address = gone.address
    settings = settings_of(address, topics_prefix)
    with served(settings) as client:
        away = client.post(path(asked()))
        assert away.status_code == 503
        assert "try again" in away.text


# --- what the topic says ----------------------------------------------------------------------------------------------


def verdict(
    answer: str, of: Event, channel: str | None = "ops", id_: str = "1", until_us: int | None = None
) -> Verdict:
    return Verdict(
        id_,
        answer,
        of.id,
        of.camera,
        of.label,
        of.start_us,
        of.end_us,
        now_us(),
        channel,
        until_us,  # type: ignore[arg-type]
    )


def test_of_records_with_one_id_the_first_counts_and_by_hand_settles_what_channels_contest():
    gate, yard, dock = event("gate"), event("yard"), event("dock")
    settings = Settings()
    transport = MemoryTransport()
    ensure_topic_of_verdicts(transport, settings.topics, 24)
    for each in (
        verdict("right", gate, id_="1"),
        verdict("false", gate, id_="1"),  # a second server was slower
        verdict("right", yard, id_="2"),
        verdict("false", yard, "guard", id_="3"),
        verdict("snooze", yard, "guard", id_="4", until_us=now_us() + HOUR_US),
        verdict("right", dock, id_="5"),
        verdict("right", dock, None, id_="6"),
        verdict("false", dock, None, id_="7"),
    ):
        write_verdict(transport, settings.topics.verdicts, each)
    found = judged_events(stored_verdicts(transport, settings.topics))
    assert {name: each.judged for name, each in found.items()} == {
        gate.id: "right",
        yard.id: "contested",
        dock.id: "false",
    }
    book = VerdictBook(transport, settings.topics)
    first = book.answered("1")
    assert first is not None
    assert first.answer == "right"


def test_a_verdict_by_hand_names_an_event_that_is_there(embedded_broker: Service, topics_prefix: str):
    settings = settings_of(embedded_broker.address, topics_prefix)
    transport = KafkaTransport(settings.broker)
    ensure_topic_of_deliveries(transport, settings.topics, 24)
    producer = transport.producer()
    seen = event("gate", ending="below_threshold")
    producer.send(settings.topics.events, *seen.encode())
    producer.flush()
    producer.close()
    given = give_verdict(transport, settings, seen.id[:8], "false")
    assert (given.event, given.channel, given.end_us) == (seen.id, None, seen.end_us)
    assert stored(settings) == [given]
    assert "false alarm: fight at gate" in describe_verdict(given)
    with pytest.raises(SourceError, match="no such event"):
        give_verdict(transport, settings, "ffffffff", "right")


# --- messages ---------------------------------------------------------------------------------------------------------


def send(transport: Transport, settings: Settings, *events: Event) -> None:
    producer = transport.producer()
    for each in events:
        producer.send(settings.topics.events, *each.encode())
    producer.flush()
    producer.close()


def deliveries(transport: Transport, settings: Settings) -> list[Delivery]:
    topic = settings.topics.deliveries
    return [Delivery.decode(r.key, r.value, r.where) for r in transport.read(transport.offsets(topic))]


def test_a_message_has_links_that_answer_and_a_snooze_holds_back_what_follows(
    broker: Service, topics_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    with Receiver() as receiver:
        settings = settings_of(broker.address, topics_prefix).model_copy(
            update={"channels": Settings.model_validate({"channels": {"ops": {"url": receiver.url}}}).channels}
        )
        transport = KafkaTransport(settings.broker)
        ensure_topic_of_deliveries(transport, settings.topics, 24)

        def state_of(of: Event) -> list[tuple[str, str | None]]:
            return [(e.state, e.why) for e in deliveries(transport, settings) if e.event == of.id]

        first, second, other = (event(name, at_us=now_us() + n) for n, name in enumerate(("gate", "gate", "yard")))
        with notifying(settings), served(settings) as client:
            send(transport, settings, first)
            assert eventually(lambda: len(receiver.requests) == 1)
            links = receiver.requests[0].body["data"]["links"]
            assert set(links) == set(ANSWERS)
            assert client.post(urlsplit(links["snooze"]).path).status_code == 200
            (snooze,) = stored(settings)
            assert snooze.until_us is not None
            assert snooze.until_us - snooze.time_us == HOUR_US
            assert client.post(urlsplit(links["right"]).path).status_code == 200  # another question
        # Whoever works next knows it, too.
        with notifying(settings):
            send(transport, settings, second, other)
            assert eventually(lambda: state_of(other) == [("queued", None), ("sent", None)])
            assert eventually(lambda: state_of(second) == [("held", "snoozed")])
        held = next(e for e in deliveries(transport, settings) if e.event == second.id)
        assert held.due_us == snooze.until_us
        # No link is on a topic.
        assert not any("links" in e.message["data"] for e in deliveries(transport, settings))
        assert [v.answer for v in stored(settings)] == ["snooze", "right"]


def test_the_next_person_is_told_of_what_nobody_answers(broker: Service, topics_prefix: str):
    with Receiver() as guard, Receiver() as chief:
        channels = {"guard": {"url": guard.url}, "chief": {"url": chief.url, "unanswered_minutes": 0.1}}
        settings = settings_of(broker.address, topics_prefix).model_copy(
            update={"channels": Settings.model_validate({"channels": channels}).channels}
        )
        transport = KafkaTransport(settings.broker)
        ensure_topic_of_deliveries(transport, settings.topics, 24)
        answered, open_, seen = (event(f"gate-{n}", at_us=now_us() + n) for n in range(3))
        with notifying(settings), served(settings) as client:
            send(transport, settings, answered, open_, seen)
            assert eventually(lambda: len(guard.requests) == 3)
            links = next(r.body["data"] for r in guard.requests if r.body["data"]["event"] == answered.id)["links"]
            assert client.post(urlsplit(links["right"]).path).status_code == 200
            acknowledge(transport, settings, seen.id)
            assert eventually(lambda: len(chief.requests) == 1)
            assert eventually(lambda: len({e.id for e in deliveries(transport, settings) if e.state in OVER}) == 6)
    assert chief.requests[0].body["data"]["event"] == open_.id
    told = {e.event: (e.state, e.why) for e in deliveries(transport, settings) if e.channel == "chief"}
    assert told == {
        answered.id: ("acknowledged", "answered"),
        seen.id: ("acknowledged", None),
        open_.id: ("sent", None),
    }


def test_a_snooze_is_of_one_channel_camera_and_label_for_a_bounded_time_and_number():
    snoozes, gate = Answers(), event("gate")
    snoozes.apply(verdict("snooze", gate, until_us=now_us() + HOUR_US), now_us())
    assert snoozes.until_us("ops", "gate", "fight", now_us()) is not None
    for elsewhere in (("guard", "gate", "fight"), ("ops", "yard", "fight"), ("ops", "gate", "fire")):
        assert snoozes.until_us(*elsewhere, now_us()) is None
    assert snoozes.until_us("ops", "gate", "fight", now_us() + HOUR_US) is None
    snoozes.apply(verdict("snooze", gate, until_us=now_us() + 1000 * LONGEST_US), now_us())
    assert snoozes.until_us("ops", "gate", "fight", now_us() + LONGEST_US) is None
    for number in range(10_050):
        snoozes.apply(verdict("snooze", replace(gate, camera=f"c{number}"), until_us=now_us() + HOUR_US), now_us())
    assert len(snoozes._until) <= 10_000
