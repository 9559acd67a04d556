"""What another threshold would have done: the tracker's own answer, out of scores that are read a part at a time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi")

from starlette.requests import Request

from consumers.live.tracker import Tracker
from consumers.records.forgotten import Forgotten
from consumers.records.prediction import Prediction
from consumers.records.verdict import Verdict
from consumers.rules.rule import Rule
from consumers.verdicts.book import judged_events
from consumers.web.credentials import token_hash
from consumers.web.problems import ProblemError
from consumers.web.routes.reviewing import what_if as what_if_route
from consumers.web.what_if import answers as answers_module
from consumers.web.what_if import scores as past
from consumers.web.what_if.answers import Answers, TooManyQuestionsError
from consumers.web.what_if.compare import TooLongError, compared, supposed
from consumers.web.what_if.scores import Asked, PastScoreReader, PastScores
from stream import MemoryTransport
from stream.services import Service
from tests.dashboards import SECOND_US, Site, ended, event, now_us, problem, ready, served, settings_of

RULE = Rule(start=0.6, end=0.4, min_seconds=2.0, cooldown_seconds=5.0, update_seconds=10.0)
ASKED = Asked("gate-1", "fight", "m")


def window(number: int, score: float, begin_us: int = 0, **changes) -> Prediction:
    start_us = begin_us + number * SECOND_US
    found = Prediction(
        "gate-1", begin_us, number, start_us, start_us + SECOND_US, "m", {"fight": score, "normal": 1 - score}
    )
    return replace(found, **changes)


def series(scores: Sequence[float]) -> PastScores:
    numbers = np.array([(0, n, n * SECOND_US, (n + 1) * SECOND_US) for n in range(len(scores))], np.int64)
    return PastScores(ASKED, numbers, np.array(scores), is_cut=False, goes_on=False, others=0, left_out=0)


def tracked(scores: Sequence[float], rule: Rule) -> list[tuple[int, int]]:
    """What a worker reports: begin and end of each event, in windows."""
    tracker, found = Tracker({"fight": rule}), {}
    for number, score in enumerate(scores):
        for each in tracker.push(window(number, score)):
            found[each.id] = each
    for each in tracker.close("feed_ended"):
        found[each.id] = each
    return sorted((each.start_us // SECOND_US, each.end_us // SECOND_US) for each in found.values())


@pytest.mark.parametrize("smoothing", [1, 3])
def test_it_finds_what_a_worker_reports_under_either_rule(smoothing: int):
    rng = random.Random(5)
    scores = [round(min(1.0, max(0.0, rng.gauss(0.45, 0.3))), 3) for _ in range(3000)]
    now = replace(RULE, smoothing=smoothing)
    for start in (0.3, 0.5, 0.7, 0.9):
        then = supposed(now, start, None, None)
        found = compared(series(scores), now, then, [])
        assert [(a.start_us // SECOND_US, a.end_us // SECOND_US) for a in found.before] == tracked(scores, now)
        assert [(a.start_us // SECOND_US, a.end_us // SECOND_US) for a in found.after] == tracked(scores, then)


def test_what_was_said_is_found_among_thousands_of_verdicts_as_one_by_one():
    rng = random.Random(7)
    judged = list(
        judged_events(
            Verdict(
                f"{n:x}", rng.choice(["right", "false"]), f"ev{n}", "gate-1", "fight", start, end, n, None, by="ana"
            )
            for n in range(3000)
            for start in [rng.randrange(3000 * SECOND_US)]
            for end in [start + rng.randrange(8 * SECOND_US)]
        ).values()
    )
    scores = [rng.random() if n % 9 < 5 else 0.0 for n in range(3000)]
    found = compared(series(scores), replace(RULE, min_seconds=1.0), replace(RULE, min_seconds=0.0), judged).before
    assert len({alarm.said for alarm in found}) > 1
    for alarm in found:
        answers = {
            each.judged
            for each in judged
            if each.newest.start_us < alarm.end_us and each.newest.end_us > alarm.start_us
        }
        assert alarm.said == ("right" if "right" in answers else "false" if answers else "open")


def test_an_event_is_lost_where_none_meets_it_and_what_was_said_of_it_is_known():
    scores = [0.0] * 100
    scores[10:15] = [0.7] * 5
    scores[40:45] = [0.95] * 5
    scores[60:65] = [0.5] * 5
    said = Verdict("a1", "right", "ev", "gate-1", "fight", 11 * SECOND_US, 13 * SECOND_US, now_us(), None, by="ana")
    judged = list(judged_events([said]).values())
    higher = compared(series(scores), RULE, supposed(RULE, 0.8, None, None), judged)
    assert [(a.start_us // SECOND_US, a.said) for a in higher.lost] == [(10, "right")]
    assert (len(higher.before), len(higher.after), higher.gained) == (2, 1, ())
    lower = compared(series(scores), RULE, supposed(RULE, 0.45, None, None), judged)
    assert [a.start_us // SECOND_US for a in lower.gained] == [60]
    assert lower.lost == ()
    longer = compared(series(scores), RULE, supposed(RULE, 0.6, None, 5.5), judged)
    assert (len(longer.after), len(longer.lost)) == (0, 2)
    assert supposed(RULE, 0.3, 0.5, None).end == 0.3


def test_the_same_question_is_worked_out_once_and_what_has_changed_is_another(monkeypatch: pytest.MonkeyPatch):
    answers, found = Answers(), series([0.1, 0.9, 0.9, 0.9, 0.1, 0.1])
    times: list[object] = []
    monkeypatch.setattr(answers_module, "compared", lambda *given: times.append(given) or compared(*given))
    then = supposed(RULE, 0.95, None, None)
    for _ in range(3):
        _, result = answers.compare(found, RULE, then, [])
        assert [alarm.said for alarm in result.lost] == ["open"]
    assert len(times) == 1
    said = Verdict("a1", "right", "ev", "gate-1", "fight", SECOND_US, 3 * SECOND_US, now_us(), None, by="ana")
    _, result = answers.compare(found, RULE, then, list(judged_events([said]).values()))
    assert [alarm.said for alarm in result.lost] == ["right"]
    forgotten = Forgotten("gate-1", 0, 3 * SECOND_US, now_us(), "ana")
    _, result = answers.compare(found.without([forgotten]), RULE, then, [])
    assert result.lost == ()
    answers.compare(found, RULE, supposed(RULE, 0.5, None, None), [])
    assert len(times) == 4
    for number in range(50):
        answers.compare(found, RULE, supposed(RULE, number / 100, None, None), [])
    assert len(answers._kept) == 8


def test_comparing_is_bounded_by_windows_that_matter_and_by_time():
    high = series([0.9] * 100 + [0.1] * 50)
    newest = high.newest(30, 0.4)
    assert (len(newest), newest.is_cut, newest.numbers[0, 1]) == (80, True, 70)
    assert high.newest(100, 0.4) is high
    with pytest.raises(TooLongError):
        compared(high, RULE, RULE, [], until=time.monotonic() - 1)


def test_only_so_many_questions_wait():
    answers = Answers()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(answers.place())
        with pytest.raises(TooManyQuestionsError):
            stack.enter_context(answers.place())
    with answers.place():
        pass


def sent(transport: MemoryTransport, topic: str, predictions: Sequence[Prediction]) -> None:
    producer = transport.producer()
    for each in predictions:
        producer.send(topic, *each.encode())
    producer.flush()


def test_scores_are_read_backwards_each_time_a_little_further(monkeypatch: pytest.MonkeyPatch):
    topics = settings_of("localhost:1", "t").topics
    transport = MemoryTransport()
    transport.ensure_topics([past_topic(topics.predictions)])
    begin = now_us()
    sent(transport, topics.predictions, [window(n, n / 1000, begin) for n in range(1000)])
    monkeypatch.setattr(past, "_AT_ONCE", 300)
    monkeypatch.setattr(past, "_BUDGET_SECONDS", -1.0)
    reader = PastScoreReader(lambda: transport, topics)
    for known in (300, 600, 900):
        found = reader.read(ASKED, 0)
        assert (len(found), found.is_cut, found.goes_on) == (known, True, True)
        assert found.scores.tolist() == [n / 1000 for n in range(1000 - known, 1000)]
    found = reader.read(ASKED, 0)
    assert (len(found), found.is_cut, found.goes_on) == (1000, False, False)
    # No further than what was asked for.
    near = PastScoreReader(lambda: transport, topics).read(ASKED, now_us() + 10**9)
    assert (len(near), near.is_cut) == (300, False)
    # What comes meanwhile, what was published twice, what is of others and what is broken.
    repeated = [window(n, n / 1000, begin) for n in range(990, 1010)]
    sent(transport, topics.predictions, [*repeated, window(5000, 0.5, begin, model="other")])
    producer = transport.producer()
    producer.send(topics.predictions, b"gate-1", [], b"{")
    producer.send(topics.predictions, b"dock", [], b"{")
    producer.flush()
    found = reader.read(ASKED, 0)
    assert (len(found), found.others, found.left_out) == (1010, 1, 1)
    assert found.scores.tolist() == [n / 1000 for n in range(1010)]
    assert len(found.within(begin, begin + 10 * SECOND_US)) == 10


def past_topic(name: str):
    from stream import Topic

    return Topic(name, 1)


def test_what_is_read_of_many_cameras_is_bounded(monkeypatch: pytest.MonkeyPatch):
    topics = settings_of("localhost:1", "t").topics
    transport = MemoryTransport()
    transport.ensure_topics([past_topic(topics.predictions)])
    reader = PastScoreReader(lambda: transport, topics)
    for number in range(10):
        assert len(reader.read(replace(ASKED, camera=f"gate-{number}"), 0)) == 0
    assert len(reader._kept) == past._MOST_KEPT
    monkeypatch.setattr(past, "_MOST_WINDOWS", 50)
    sent(transport, topics.predictions, [window(n, 0.5) for n in range(40)])
    assert len(reader.read(ASKED, 0)) == 40
    sent(transport, topics.predictions, [window(n, 0.5) for n in range(40, 80)])
    found = reader.read(ASKED, 0)
    assert (len(found), found.is_cut, found.goes_on) == (50, True, False)
    assert found.numbers[0, 1] == 30


def test_a_question_for_whose_answer_nobody_waits_any_more_holds_nobody_up(
    embedded_broker: Service, topics_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.cameras("gate-1")
    with served(site.settings) as (client, desk):
        ready(desk)
        reads, plain, goes_on = [], desk.past_scores.read, threading.Event()
        monkeypatch.setattr(desk.past_scores, "read", lambda *of: reads.append(of) or (goes_on.wait(60) and plain(*of)))
        path = "/cameras/gate-1/what-if?label=fight&start=0.9"

        def give_up() -> None:
            with pytest.raises(httpx.ReadTimeout):
                httpx.get(f"{client.base_url}{path.lstrip('/')}", timeout=0.5)

        threads = [threading.Thread(target=give_up) for _ in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        threading.Timer(1.0, goes_on.set).start()
        assert client.get(path).status_code == 200
        assert len(reads) == 2, "the first, which had begun, and that of who waits"


def test_the_api_says_what_would_be_lost_and_links_it(
    embedded_broker: Service, topics_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    tokens = {"ana": {"hash": token_hash("ana")}, "bo": {"hash": token_hash("bo"), "cameras": ["dock*"]}}
    site = Site(settings_of(embedded_broker.address, topics_prefix, tokens=tokens))
    site.cameras("gate-1", "dock")
    with served(site.settings, Authorization="Bearer ana") as (client, desk):
        ready(desk)
        rules = client.get("/cameras/gate-1/rules").json()
        (rule,), model = rules["items"], rules["model"]
        begin = now_us() - 600 * SECOND_US
        scores = [0.1] * 300
        scores[20:30] = [rule["start"] + 0.01] * 10
        scores[100:110] = [0.99] * 10
        site.send(site.topics.predictions, *(window(n, s, begin, model=model) for n, s in enumerate(scores)))
        low = ended(event(0, model=model, start_us=begin + 20 * SECOND_US, end_us=begin + 29 * SECOND_US))
        site.events(low)
        said = Verdict("a1", "right", low.id, "gate-1", "fight", low.start_us, low.end_us, now_us(), None, by="ana")
        site.send(site.topics.verdicts, said)
        ready(desk)
        found = client.get("/cameras/gate-1/what-if?label=fight&start=0.9").json()
        assert (found["windows"], found["cut"], found["why"]) == (300, False, None)
        assert (found["before"], found["after"], found["lost_right"], found["lost_count"]) == (2, 1, 1, 1)
        assert (found["lost"][0]["event"], found["lost"][0]["verdict"]) == (low.id, "right")
        assert (found["now"]["start"], found["then"]["start"]) == (rule["start"], 0.9)
        same = client.get(f"/cameras/gate-1/what-if?label=fight&start={rule['start']}").json()
        assert (same["lost"], same["gained"]) == ([], [])
        assert "makes no events" in client.get("/cameras/gate-1/what-if?label=walk&start=0.5").json()["why"]
        problem(client.get("/cameras/gate-1/what-if?label=fight&start=1.5"), 422, "invalid")
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(desk.what_if.place())
            busy = client.get("/cameras/gate-1/what-if?label=fight&start=0.7")
            problem(busy, 503, "busy")
            assert busy.headers["retry-after"] == "5"
        monkeypatch.setattr(answers_module, "_MOST_SECONDS", -1.0)
        problem(client.get("/cameras/gate-1/what-if?label=fight&start=0.7"), 422, "too-much")
        few = {"Authorization": "Bearer bo"}
        problem(client.get("/cameras/gate-1/what-if?label=fight&start=0.9", headers=few), 404, "not-found")


def test_whoever_hung_up_while_waiting_for_the_turn_is_answered_without_a_look() -> None:
    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    request = Request({"type": "http", "method": "GET", "headers": []}, gone)
    with pytest.raises(ProblemError, match="nobody waits"):
        asyncio.run(what_if_route._in_turn(request, Answers(), lambda: pytest.fail("nobody waits for it")))
