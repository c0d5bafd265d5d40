"""The REST API and the web page: a thin face of `leym`, without torch."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from leym.settings import Settings


def create_app(settings: Settings) -> Flask:
    """The WSGI application. Opens (and, when it is new, creates) the job table and the frame store of `settings`."""
    from app import compression, errors, headers, identity, limits, metrics, openapi, origins, places, requests
    from app.routes import events as routes_events
    from app.routes import fidelity as routes_fidelity
    from app.routes import frames as routes_frames
    from app.routes import jobs as routes_jobs
    from app.routes import laws as routes_laws
    from app.routes import page as routes_page
    from app.routes import probes as routes_probes
    from app.routes import queue as routes_queue
    from app.routes import session as routes_session
    from app.routes import shared as routes_shared
    from app.routes import states as routes_states
    from app.routes import store as routes_store
    from app.routes import sweeps as routes_sweeps
    from app.services import open_services

    app = openapi.make_app(__name__)
    app.request_class = requests.StrictRequest
    app.url_map.merge_slashes = False  # a doubled slash is a wrong path, not a redirect
    if n := settings.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=n, x_proto=n, x_host=n, x_prefix=n)  # type: ignore[method-assign]
    app.extensions["leym"] = open_services(settings)
    compression.register(app)
    errors.register(app)
    metrics.register(app)
    headers.register(app)
    origins.register(app, settings)
    identity.register(app)
    limits.register(app, settings)
    requests.register(app)
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
