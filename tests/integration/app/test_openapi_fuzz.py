"""Requests made up from the API's own document, with every check that schemathesis has: no 5xx, no undocumented
answer, nothing accepted that the document forbids, nothing refused that it allows.

A document cannot say everything. What may be refused although its form is right stands in `REFUSED`, and nothing else.
`FUZZ_EXAMPLES=300 pytest tests/integration/app/test_openapi_fuzz.py` looks longer.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app import create_app
from leym.settings import Settings
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))
ALWAYS = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
URL = r"webhook\.url = "  # what a URL is takes more than a pattern
NO_LAW = r"^(Unreadable law|Unreadable checkpoint|Unreadable config|Unusable checkpoint): |the form has"
REFUSED = {
    "submit_job": (
        r"Idempotency-Key .* used before",
        r"law: there is no law|sides divisible by",
        r"is over steps = |gives \d+ frames|bytes of frames; the limit is",  # one key against another
        r"is recorded twice|cannot be stored as",
        r"there is no such (job|uploaded state)",
        r"the lineage's clock, which is at \d+ already|keeps \d+ states; at most",
        r"(interventions|gamma)\.\d+|exactly one of them is needed|charge = 0|steps of a schedule",
        URL,
    ),
    "intervene_in_job": (
        r"exactly one of them is needed|charge = 0|steps of a schedule",
        r"there is no such uploaded state",
    ),
    "get_quote": (r".",),  # its job and its sweep are those of the other endpoints
    "extend_job": (r".",),  # its further keys are those of a JobSpec, held against the job that it continues
    "fork_job": (r".",),
    "submit_sweep": (r".",),  # its base is any mapping: the points are held against JobSpec
    "submit_training": (r".",),  # its recipe is any mapping
    "add_members": (r".",),  # its axes must be those of the sweep
    "judge_law": (
        URL,
        r"Idempotency-Key .* used before",
        r"a plan needs at least|must be multiples of every|sides divisible by|measures nothing",
    ),
    "get_sweep_table": (r"^Invalid query: ", r"aggregate needs a format", r"first step must not be after"),
    **dict.fromkeys(("get_frames", "get_member_frames", "get_shared_frames"), (r"^[^:]*: (grid|vmin|range)\b",)),
    **dict.fromkeys(
        ("change_job", "change_sweep"), (r"a key has 1 to 64 characters",)
    ),  # the generator does not keep to propertyNames
    "list_jobs": (r"the members of a sweep have no names",),
    "get_histogram": (r"low must be below high|has (no )?channels|it is complex",),  # of the field of a job
    "get_member_histogram": (r"low must be below high|has (no )?channels|it is complex",),
    "put_law": (r"digest = .*the received law has", NO_LAW),  # a form's files are made of any bytes
}


def zipped(law: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("manifest.json", "weights.safetensors"):
            archive.write(ROOT / "laws" / law / name, name)
    return file.getvalue()


def npy(side: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones((side, side, 2), np.complex64))
    return file.getvalue()


def make_schema(app):
    schemathesis.openapi.media_type("application/zip", st.sampled_from([zipped("aurora")]))
    schemathesis.openapi.media_type("application/octet-stream", st.sampled_from([npy(4), npy(8)]))
    made = schemathesis.openapi.from_wsgi("/openapi.json", app)
    made.config.generation.update(allow_x00=False)  # no string may hold U+0000, which JSON Schema cannot say
    return made


schema = make_schema(create_app(Settings(data=Path(tempfile.mkdtemp(prefix="leym-fuzz-")))))


def validate(case, response) -> None:
    """Every check, except that what the document allows may be refused for what no document can say."""
    left_out = [positive_data_acceptance] if refused_for_what_no_schema_says(case, response) else []
    case.validate_response(response, excluded_checks=left_out)


def refused_for_what_no_schema_says(case, response) -> bool:
    if response.status_code != 422:
        return False
    problem = response.json()
    allowed = REFUSED.get(case.operation.definition.raw["operationId"], ())
    return any(re.search(pattern, f"{problem['title']}: {problem['detail']}") for pattern in allowed)


@schema.exclude(operation_id="stream_many_events").parametrize()  # its answer has no end (test_many_events.py)
@settings(max_examples=EXAMPLES, **ALWAYS)
def test_requests_made_from_the_document(case):
    # requests unpack what they get over HTTP; called as WSGI, schemathesis asks for gzip as well and leaves it packed
    validate(case, case.call(headers={"Accept-Encoding": "identity"}))
