"""The paths below `/api/v1`, a router each. `app.py` puts them together, in this order.

A part that is served beside them (pages, playlists) is one more router: one that lies below `/api/v1` joins `ROUTERS`,
one that lies elsewhere is given to `make_app`. `consumers.web.desk` tells its routes who asks (`AnyAsker`, `Operator`,
`Admin`) and hands them the parts of the server (`AtDesk`); `TaggedRoute` gives them ETags.
"""

from typing import Final

from fastapi import APIRouter

from . import (
    bundles,
    camera_page,
    cameras,
    events,
    fast,
    fleet,
    forgetting,
    health,
    login,
    models,
    playlists,
    records,
    session,
    shares,
    verdicts,
    what_if,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    cameras.router,
    camera_page.router,
    what_if.router,
    forgetting.router,
    playlists.router,
    fast.router,
    events.router,
    bundles.router,
    verdicts.router,
    shares.router,
    records.router,
    session.router,
    login.router,
    fleet.router,
    models.router,
    health.router,
)
