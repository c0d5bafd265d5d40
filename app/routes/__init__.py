"""HTTP routes. Each module describes its requests and responses, and calls the library for the work."""

from __future__ import annotations

from app.routes import (
    cells,
    events,
    exports,
    fidelity,
    frames,
    interventions,
    jobs,
    laws,
    lineage,
    members,
    page,
    probes,
    queue,
    quotes,
    session,
    shared,
    shared_page,
    states,
    store,
    stream,
    sweeps,
    tiles,
    trainings,
    webhooks,
)

# in the order in which the docs show them
APIS = (
    jobs.api,
    interventions.api,
    lineage.api,
    frames.api,
    cells.api,
    store.api,
    tiles.api,
    exports.api,
    events.api,
    stream.api,
    states.api,
    sweeps.api,
    members.api,
    laws.api,
    fidelity.api,
    trainings.api,
    queue.api,
    quotes.api,
    webhooks.api,
    shared.api,
    session.api,
    probes.api,
)
WEBSOCKETS = ("stream.stream_frames", "stream.stream_member_frames", "shared.get_shared_stream")
PAGES = (page.page, shared_page.shared_page)

__all__ = ["APIS", "PAGES", "WEBSOCKETS"]
