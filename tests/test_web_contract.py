"""The HTTP API holds what its OpenAPI document says, whatever is asked: schemathesis asks, on a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi")
schemathesis = pytest.importorskip("schemathesis")
from hypothesis import HealthCheck, Phase, settings  # noqa: E402

from consumers.outputs.redis.connection import open_redis  # noqa: E402
from consumers.pictures.store import picture_key  # noqa: E402
from consumers.records.delivery import Delivery  # noqa: E402
from consumers.records.event_pictures import EventPictures, Missing, StoredPicture  # noqa: E402
from consumers.records.prediction import Prediction  # noqa: E402
from consumers.records.verdict import Verdict  # noqa: E402
from consumers.rules.topic import RulesTopic  # noqa: E402
from consumers.rules.version import RulesVersion  # noqa: E402
from consumers.settings import RuleSettings, TrackerSettings  # noqa: E402
from consumers.web.credentials import token_hash  # noqa: E402
from consumers.web.playlists import live  # noqa: E402
from stream.services import Service  # noqa: E402
from tests.dashboards import BEGIN_US, SECOND_US, Site, ended, event, now_us, ready, served, settings_of  # noqa: E402
from tests.footage_sites import attach, entries  # noqa: E402
from tests.videos import write_video  # noqa: E402

pytestmark = pytest.mark.slow

#: Names that are there, so that what is asked for is found, too.
EVENT, CAMERA, VERDICT, REPORT = event(0), "gate-1", "a1", "yard.html"
#: Paths that need more than their names: they are asked by what OpenAPI gives as examples.
NEED_MORE = ("predictions", "recorded.m3u8", "what-if", "calendar", "sample/picture", "snapshot/picture")
_EXAMPLES = 60


def filled(site: Site, film: Path) -> Site:
    """A site that has some of everything."""
    for camera in (CAMERA, "dock"):
        attach(site.settings, film, camera, BEGIN_US)
    site.cameras(CAMERA, "dock")
    site.events(EVENT, ended(event(1, "dock")))
    said = Verdict(VERDICT, "false", EVENT.id, CAMERA, "fight", EVENT.start_us, EVENT.end_us, now_us(), "ops")
    site.send(site.topics.verdicts, said)
    key = picture_key(site.topics.prefix, "strip", EVENT)
    picture = StoredPicture(key, 640, 90, 9, (BEGIN_US,), (0.0, 0.0, 1.0, 1.0))
    site.send(site.topics.pictures, EventPictures.following(EVENT, Missing("retention", "gone"), picture, 600))
    open_redis(site.settings.redis).set(key, b"RIFF-webp", ex=600)
    site.send(site.topics.deliveries, Delivery.about(EVENT, "ops", now_us=now_us(), expires_us=now_us() + 10**9))
    scores = {"fight": 0.25, "walk": 0.75}
    windows = (Prediction(CAMERA, BEGIN_US, n, BEGIN_US + n, BEGIN_US + n + SECOND_US, "m", scores) for n in range(9))
    site.send(site.topics.predictions, *windows)
    group = site.settings.worker.group
    rules = RulesVersion(group, 0, now_us(), TrackerSettings(), (RuleSettings(severity="detection"),))
    RulesTopic(site.transport, site.topics, group).apply(rules)
    return site


def test_schemathesis_finds_no_failure(
    embedded_broker: Service, redis_url: str, topics_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # The cameras' footage came in a moment; it is live all the same.
    monkeypatch.setattr(live, "FRESH_SECONDS", 3600.0)
    tokens = {"ana": {"hash": token_hash("ana"), "role": "admin"}}
    (tmp_path / REPORT).write_text("<title>Yard</title>")
    given = {"requests_per_minute": 10**9, "failures_per_minute": 10**9, "tokens": tokens, "reports": str(tmp_path)}
    film = write_video(tmp_path / "film.mp4", 40, rate=10, gop=10, size=(64, 48), options={"bf": "0"})
    site = filled(Site(settings_of(embedded_broker.address, topics_prefix, redis_url, **given)), film)
    with served(site.settings, Authorization="Bearer ana") as (client, desk):
        ready(desk)
        document = client.get("/openapi.json").json()
        schema = schemathesis.openapi.from_dict(document)
        for endless in ("/api/v1/events/stream", "/api/v1/cameras/{camera}/fast.mp4"):
            schema = schema.exclude(path=endless)
        schema.config.update(base_url=str(client.base_url).removesuffix("/api/v1/"))
        asked: set[str] = set()
        playlist = client.get(f"/cameras/{CAMERA}/live.m3u8").text
        segment = entries(playlist)[0].address.removeprefix("segments/").partition(".ts")[0]
        names = {"event": EVENT.id, "camera": CAMERA, "verdict": VERDICT, "model": "movenet-views", "report": REPORT}

        for found in schema.get_all_operations():
            operation = found.ok()

            @settings(
                max_examples=_EXAMPLES,
                deadline=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
                database=None,
            )
            @schemathesis_given(operation)
            def ask(case) -> None:
                case.call_and_validate(headers={"Authorization": "Bearer ana"})

            ask()
            asked.add(operation.label)
            case = operation.Case(path_parameters={k: v for k, v in names.items() if f"{{{k}}}" in operation.path})
            # No provider is there to log in at.
            is_found = not operation.path.endswith((*NEED_MORE, "session/oidc", "oidc/callback"))
            if operation.method == "get" and is_found:
                if "{segment}" in operation.path:
                    case.path_parameters["segment"] = segment
                if "{kind}" in operation.path:
                    case.path_parameters["kind"] = "strip"
                if "{version}" in operation.path:
                    case.path_parameters["version"] = "current"
                answer = case.call_and_validate(headers={"Authorization": "Bearer ana"})
                assert answer.status_code == 200, operation.label
        assert len(asked) == sum(map(len, document["paths"].values())) - 2


def schemathesis_given(operation):
    """Have a test called with cases of an operation, valid and not."""
    from hypothesis import given
    from schemathesis.generation import GenerationMode

    def decorate(test):
        strategy = operation.as_strategy(generation_mode=GenerationMode.POSITIVE) | operation.as_strategy(
            generation_mode=GenerationMode.NEGATIVE
        )
        return given(case=strategy)(test)

    return decorate
