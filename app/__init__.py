"""The REST API and the web page: a thin face of `leym`, without torch."""

from __future__ import annotations

from flask import Flask

from leym.settings import Settings


def create_app(settings: Settings) -> Flask:
    """The WSGI application. Opens (and, when it is new, creates) the job table and the frame store of `settings`."""
    from app import (
        errors,
        headers,
        identity,
        limits,
        metrics,
        openapi,
        places,
        routes_events,
        routes_fidelity,
        routes_frames,
        routes_jobs,
        routes_laws,
        routes_page,
        routes_probes,
        routes_queue,
        routes_session,
        routes_shared,
        routes_states,
        routes_store,
        routes_sweeps,
    )
    from app.requests import StrictRequest
    from app.services import open_services

    app = openapi.make_app(__name__)
    app.request_class = StrictRequest
    app.url_map.merge_slashes = False  # a doubled slash is a wrong path, not a redirect
    app.extensions["leym"] = open_services(settings)
    errors.register(app)
    metrics.register(app)
    headers.register(app)
    identity.register(app)
    limits.register(app, settings)
    places.register(app, settings)
    for routes in (
        routes_jobs,
        routes_frames,
        routes_store,
        routes_events,
        routes_states,
        routes_sweeps,
        routes_laws,
        routes_fidelity,
        routes_queue,
        routes_shared,
        routes_session,
        routes_probes,
    ):
        app.register_api(routes.api)
    app.register_blueprint(openapi.docs(app))
    app.register_blueprint(routes_page.page)
    return app
