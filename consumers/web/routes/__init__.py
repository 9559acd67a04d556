"""The paths below `/api/v1`, a router each. `app.py` puts them together, in this order.

A part that is served beside them (pages, playlists) is one more router: one that lies below `/api/v1` joins `ROUTERS`,
one that lies elsewhere is given to `make_app`. `consumers.web.desk` tells its routes who asks (`AnyAsker`, `Operator`,
`Admin`) and hands them the parts of the server (`AtDesk`); `TaggedRoute` gives them ETags.
"""

from typing import Final

from fastapi import APIRouter

from . import cameras, events, fleet, health, login, playlists, records, session, verdicts

ROUTERS: Final[tuple[APIRouter, ...]] = (
    cameras.router,
    playlists.router,
    events.router,
    verdicts.router,
    records.router,
    session.router,
    login.router,
    fleet.router,
    health.router,
)
