"""Hooks of schemathesis for a service that works: what is submitted is small enough to end at once.

`schemathesis --config-file tests/integration/app/schemathesis.toml run URL/openapi.json` looks longer.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import schemathesis
from pydantic import BaseModel, ValidationError

from leym.contract.spec import JobSpec
from leym.contract.sweeps import MoreMembers, SweepSpec
from leym.contract.training_spec import EXAMPLE_RECIPE, TrainingRequest

SMALL = {
    "law": "tiny",
    "precision": "fp32",
    "grid": [8, 8],
    "steps": 20,
    "initial": {"kind": "zeros"},
    "deadline_s": None,
}
SEEN = {"record": [{"field": "psi", "every": 5}, {"field": "phase", "every": 10}], "observe": {"every": 5}}


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """What would be taken becomes small; what is to be refused stays as it is."""
    operation = context.operation.definition.raw["operationId"]
    if operation == "submit_job" and _is(JobSpec, body):
        return body | SMALL | SEEN
    if operation == "submit_sweep" and _is(SweepSpec, body):
        return {"base": SMALL | SEEN, "axes": {"seed": {"count": 2}}}
    if operation == "add_members" and _is(MoreMembers, body):
        return {"axes": {"seed": {"count": 2}}}
    if operation == "submit_training" and _is(TrainingRequest, body):
        train = {"updates": 2, "grid": [8, 8], "batch": 1, "pool": 1}
        return body | {"recipe": EXAMPLE_RECIPE | {"train": train}, "deadline_s": None}
    return body


def _is(model: type[BaseModel], body: Any) -> bool:
    try:
        model.model_validate(body)
    except ValidationError:
        return False
    return True


@schemathesis.hook
def map_headers(context: Any, headers: Any) -> Any:
    """A key that was used for another body is refused, as it should be; here every request is another one."""
    return headers | {"Idempotency-Key": uuid4().hex} if headers and "Idempotency-Key" in headers else headers
