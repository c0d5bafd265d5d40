"""Requests made up from the API's own document: no 5xx, no undocumented answer, nothing accepted that the document
forbids. `FUZZ_EXAMPLES=300 pytest tests/test_openapi_fuzz.py` looks longer.

One check of schemathesis is left out: what the document allows may still be refused with a 422 that says why, for a
cursor, a law or a grid that fits no law is a matter of the service's state and not of form.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app import create_app
from leym.settings import Settings

app = create_app(Settings(data=Path(tempfile.mkdtemp(prefix="leym-fuzz-"))))
schema = schemathesis.openapi.from_wsgi("/openapi.json", app)


@schema.parametrize()
@settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "8")),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_requests_made_from_the_document(case):
    case.call_and_validate(excluded_checks=[positive_data_acceptance])
