"""How the API itself is: how far it has read, and what it waits for."""

from __future__ import annotations

from fastapi import APIRouter

from consumers import __version__
from consumers.web.bodies import FootageHealth, Health, TopicHealth
from consumers.web.desk import AnyAsker, AtDesk, TaggedRoute
from consumers.web.paging import away_told

router = APIRouter(route_class=TaggedRoute, tags=["health"])


@router.get("/health")
def get_health(asker: AnyAsker, desk: AtDesk) -> Health:
    """How far the topics were read, what is kept of them and what was left out; whether broker and Redis are there.

    Answers 200 also where something is away: `ok` says so.
    """
    footage = desk.footage
    feeds, kept, redis = desk.view.feeds(), desk.view.kept(), desk.redis.away
    broker = next((each.outage for each in feeds.values() if each.outage is not None), None)
    topics = {
        name: TopicHealth(
            topics=list(each.topics),
            away=each.away,
            away_told=away_told(each.outage),
            missing=each.is_missing,
            behind=each.behind,
            records=each.records,
            left_out=each.left_out,
            kept=kept[name][0] if name in kept else None,
            dropped=kept[name][1] if name in kept else None,
        )
        for name, each in feeds.items()
    }
    return Health(
        ok=redis is None and all(each.is_caught_up for each in feeds.values()),
        version=__version__,
        broker=None if broker is None else str(broker),
        redis=None if redis is None else str(redis),
        broker_told=away_told(broker),
        redis_told=away_told(redis),
        # They name cameras.
        problems=list(desk.view.overview().problems) if asker.cameras is None else [],
        unreadable=desk.view.left_out,
        let_go=desk.streams.slow + desk.streams.let_go(),
        topics=topics,
        footage=FootageHealth(
            cameras=footage.live.watched,
            segments=footage.segments.reads,
            bytes=footage.segments.kept_bytes,
            left_out=footage.segments.left_out + footage.live.left_out + desk.fast.left_out,
            fast_views=desk.fast.viewers,
            fast_dropped=desk.fast.dropped,
        ),
    )
