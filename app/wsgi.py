"""Entry point of WSGI servers: `gunicorn --config python:app.gunicorn app.wsgi:app`."""

from __future__ import annotations

from app import create_app
from leym.settings import settings

app = create_app(settings())
