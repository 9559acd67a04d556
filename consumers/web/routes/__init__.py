"""The paths below `/api/v1`, a router each. `app.py` puts them together, in this order.

    watching/    cameras
    reviewing/   events: verdicts, evidence, links, other thresholds
    playing/     footage
    operating/   the site: processes, models, rules, messages, what is forgotten
    entering/    logging in and out
    pages.py     the files of the dashboard's pages

A part that is served beside them (pages, playlists) is one more router: one that lies below `/api/v1` joins `ROUTERS`,
one that lies elsewhere is given to `make_app`. `consumers.web.desk` tells its routes who asks (`AnyAsker`, `Operator`,
`Admin`) and hands them the parts of the server (`AtDesk`); `TaggedRoute` gives them ETags.
"""

from typing import Final

from fastapi import APIRouter

from .entering import login, session
from .operating import fleet, forgetting, health, models, records
from .playing import fast, playlists
from .reviewing import bundles, events, shares, verdicts, what_if
from .watching import camera_page, cameras

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
