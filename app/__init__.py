"""The REST API and the web page. This package adds HTTP to `leym`, and never imports torch."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from leym.settings import Settings


def create_app(settings: Settings) -> Flask:
    """Return the WSGI application. This opens the job table and the frame store, and creates them if they are new.

    The order of the registrations matters: Flask runs `before_request` functions in this order, and `after_request`
    functions in the reverse order.
    """
    # imported here, so that gunicorn's parent process, which only reads `app.gunicorn`, does not load the routes
    from app import (
        compression,
        concurrency_limits,
        errors,
        headers,
        identity,
        metrics,
        openapi,
        origins,
        rate_limits,
        requests,
        routes,
        websocket,
    )
    from app.services import open_services

    app = openapi.make_app(__name__)
    app.request_class = requests.StrictRequest
    app.url_map.merge_slashes = False  # a path with a doubled slash is wrong, and not redirected
    if n := settings.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=n, x_proto=n, x_host=n, x_prefix=n)  # type: ignore[method-assign]
    app.extensions["leym"] = open_services(settings)
    compression.register(app)
    errors.register(app)
    metrics.register(app)
    headers.register(app)
    origins.register(app, settings)
    identity.register(app)
    rate_limits.register(app, settings)
    requests.register(app)
    concurrency_limits.register(app, settings)
    for api in routes.APIS:
        app.register_api(api)
    websocket.register(app, *routes.WEBSOCKETS)
    app.register_blueprint(openapi.docs(app))
    for blueprint in routes.PAGES:
        app.register_blueprint(blueprint)
    return app
