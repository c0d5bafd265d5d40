"""The OpenAPI document of today against that of version 0.1.0: what clients of then rely on is still there.

Anything may be added, and all prose may change. What is taken away or changed on purpose stands in `DELIBERATE`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app import create_app
from leym.settings import Settings
from tests.support.paths import DATA

# Differences from 0.1.0 that are wanted: as the test prints them -> why.
DELIBERATE: dict[str, str] = {
    "/components/schemas/SeedRange/properties/count/maximum was 10000 and is 1000000": "sweeps became larger",
    **dict.fromkeys(
        (
            "/components/schemas/SweepSpec/properties/axes/additionalProperties/anyOf is gone",
            "/components/schemas/SweepSpec/properties/mode/enum is gone",
            "/components/schemas/SweepSpec/properties/mode/type is gone",
        ),
        "what a sweep accepted is accepted still, as one of several forms",
    ),
    **dict.fromkeys(
        (f"/components/schemas/JobSpec/properties/gamma/{key} is gone" for key in ("maximum", "minimum", "type")),
        "a number is accepted still, within the same bounds, and a schedule too",
    ),
}

PROSE = {"info", "description", "summary", "title", "example", "examples"}
OF_NAMES = {  # objects whose keys are names, which are no prose even if one is called `title`
    *("paths", "responses", "content", "headers", "links", "schemas", "securitySchemes", "parameters"),
    *("properties", "patternProperties", "dependentRequired", "dependentSchemas", "encoding"),
}
REQUESTS = ("parameters", "requestBody")


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / "openapi-0.1.0.json").read_text())
    return found


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    answer = create_app(Settings(data=tmp_path_factory.mktemp("api"))).test_client().get("/openapi.json")
    found: dict[str, Any] = answer.json
    return found


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say what `now` lacks of `before`, what it says otherwise, and what else it demands of a request."""
    before, now = _bare(before), _bare(now)
    return [*_lost(before, now, ""), *_demanded(before, now)]


def _bare(node: Any, of_names: bool = False) -> Any:
    """The document without prose."""
    if isinstance(node, list):
        return [_bare(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if of_names or key not in PROSE}
    return {key: _bare(value, key in OF_NAMES and not of_names) for key, value in kept.items()}


def _lost(before: Any, now: Any, at: str) -> Iterator[str]:
    """Objects may have further keys and lists further items, in any order; a parameter is known by place and name."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key, value in before.items():
            if key not in now:
                yield f"{at}/{key} is gone"
            elif not (key == "required" and isinstance(value, list)):  # `_demanded` looks at these
                yield from _lost(value, now[key], f"{at}/{key}")
    elif isinstance(before, list) and isinstance(now, list):
        there = {_name(item): item for item in now}
        for item in before:
            if _name(item) not in there:
                yield f"{at}/{_name(item)} is gone"
            else:
                yield from _lost(item, there[_name(item)], f"{at}/{_name(item)}")
    elif at.endswith("/pattern") and _alternatives(before) < _alternatives(now):
        return  # it admits all that it admitted
    elif type(before) is not type(now) or before != now:
        yield f"{at} was {before!r} and is {now!r}"


def _alternatives(pattern: Any) -> set[str]:
    """The words of a pattern like `^(law|grid)(.+)?$`, each with the rest of the pattern; none for other patterns."""
    found = re.fullmatch(r"\^\(([\w|]+)\)(.*)", pattern if isinstance(pattern, str) else "")
    return {word + found[2] for word in found[1].split("|")} if found else set()


def _name(item: Any) -> str:
    if isinstance(item, dict) and {"in", "name"} <= item.keys():
        return f"{item['in']} {item['name']}"
    return json.dumps(item, sort_keys=True)


def _demanded(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """A request needs nothing that it did not need, and an answer always has what it always had."""
    for path, operations in before["paths"].items():
        for method, operation in operations.items():
            operation_now = now["paths"].get(path, {}).get(method, {})
            needed = {_name(p) for p in operation.get("parameters", ()) if p.get("required")}
            for parameter in operation_now.get("parameters", ()):
                if parameter.get("required") and _name(parameter) not in needed:
                    yield f"/paths{path}/{method}: {_name(parameter)} is required"
    sent, answered = (_schemas(before, part) for part in (REQUESTS, ("responses",)))
    for name, schema in before["components"]["schemas"].items():
        was = set(schema.get("required", ()))
        required = set(now["components"]["schemas"].get(name, {}).get("required", ()))
        if name in sent and required - was:
            yield f"/components/schemas/{name}: {sorted(required - was)} are required"
        if name in answered and was - required:
            yield f"/components/schemas/{name}: {sorted(was - required)} are not always there"


def _schemas(document: dict[str, Any], parts: tuple[str, ...]) -> set[str]:
    """Names of the schemas that these parts of the operations lead to."""
    found: set[str] = set()
    operations = (o for path in document["paths"].values() for o in path.values() if isinstance(o, dict))
    waiting = [operation[part] for operation in operations for part in parts if part in operation]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            name = str(node.get("$ref", "")).removeprefix("#/components/schemas/")
            if name and name not in found:
                found.add(name)
                waiting.append(document["components"]["schemas"][name])
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return found


def test_what_clients_of_0_1_0_rely_on_is_still_there(before: dict[str, Any], now: dict[str, Any]) -> None:
    found = differences(before, now)
    assert sorted(found) == sorted(DELIBERATE), "\n".join(found)


def _job(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"]["JobBody"]
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["paths"].pop("/v1/queue"), "/paths//v1/queue is gone"),
        (lambda d: d["paths"]["/v1/jobs"].pop("post"), "/paths//v1/jobs/post is gone"),
        (lambda d: d["paths"]["/v1/jobs"]["get"]["parameters"].pop(), "/paths//v1/jobs/get/parameters/query"),
        (lambda d: d["paths"]["/v1/jobs"]["post"]["responses"].pop("202"), "/responses/202 is gone"),
        (lambda d: d["paths"]["/v1/jobs"]["post"].update(operationId="new_job"), "'submit_job' and is 'new_job'"),
        (lambda d: _job(d)["properties"].pop("links"), "/JobBody/properties/links is gone"),
        (lambda d: _job(d)["properties"]["step"].update(type="number"), "/step/type was 'integer' and is 'number'"),
        (lambda d: _job(d)["required"].remove("epoch"), "/JobBody: ['epoch'] are not always there"),
        (
            lambda d: d["components"]["schemas"]["JobSpec"]["required"].append("seed"),
            "/JobSpec: ['seed'] are required",
        ),
        (
            lambda d: d["paths"]["/v1/jobs"]["post"]["parameters"][0].update(required=True),
            "header Idempotency-Key is required",
        ),
        (lambda d: _job(d)["properties"]["state"]["enum"].remove("queued"), '/state/enum/"queued" is gone'),
    ],
)
def test_a_change_that_breaks_clients_is_found(
    before: dict[str, Any], change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    changed = copy.deepcopy(before)
    change(changed)
    found = differences(before, changed)
    assert found, found
    assert all(said in one or "required was" in one for one in found), found


def test_additions_and_other_words_are_no_change(before: dict[str, Any]) -> None:
    changed = copy.deepcopy(before)
    changed["info"]["version"] = "9"
    changed["paths"]["/v2/jobs"] = {}
    changed["paths"]["/v1/jobs"]["get"]["parameters"].insert(0, {"in": "query", "name": "new", "required": False})
    changed["paths"]["/v1/jobs"]["get"]["summary"] = "Other words"
    _job(changed)["properties"] |= {"new": {"type": "string"}, "step": {"type": "integer"}}
    _job(changed)["required"].append("new")
    assert not differences(before, changed)
