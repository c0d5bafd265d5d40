"""The API's own document: valid, complete, and with examples that can be sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from tests.support.api import Api, done


def test_the_document_is_valid_and_complete(api: Api) -> None:
    document = api.http.get("/openapi.json").json
    validate(document, cls=OpenAPIV31SpecValidator)
    assert document["openapi"].startswith("3.1")
    served = {
        (rule.rule.replace("<path:", "<").replace("<", "{").replace(">", "}"), method.lower())
        for rule in api.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/v1")
    }
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    assert served <= described
    assert api.http.get("/docs").status_code == 200
    assert api.http.get("/docs/js/swagger-ui-bundle.js").status_code == 200


def bodies(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The content of every request body, by operation."""
    operations = (operation for path in document["paths"].values() for operation in path.values())
    return {o["operationId"]: o["requestBody"]["content"] for o in operations if "requestBody" in o}


def test_generators_find_in_the_document_what_they_need(api: Api) -> None:
    """A schema for every body, no default in any, none of the schemas that some do not know; a server to start from."""
    document = api.http.get("/openapi.json").json
    assert document["servers"] == [{"url": "/"}]
    assert document["info"]["license"]["identifier"] == "MIT"
    assert api.http.get("/openapi.json", base_url="http://localhost/leym").json["servers"] == [{"url": "/leym"}]
    answered = (
        answer for path in document["paths"].values() for o in path.values() for answer in o["responses"].values()
    )
    for content in (*bodies(document).values(), *(answer.get("content", {}) for answer in answered)):
        for kind, described in content.items():
            assert described["schema"], kind
    stored = document["paths"]["/v1/jobs/{id}/store.zarr/{key}"]["get"]["responses"]["200"]["content"]
    assert list(stored) == ["application/octet-stream", "application/json"]  # a shard is no JSON, and JSON is bytes
    schemas = document["components"]["schemas"]
    assert '"default"' not in json.dumps(schemas)
    assert "prefixItems" not in json.dumps(schemas)
    assert schemas["JobSpec"]["required"] == ["law", "grid", "steps"]
    assert schemas["LawList"]["required"] == ["items", "next"]  # an answer has all its keys
    said = {key: found.get("description", "") for key, found in schemas["JobSpec"]["properties"].items()}
    assert said["gamma"].endswith("default: `0.01`")
    assert said["priority"] == "9 is the most urgent; default: `4`"
    assert said["initial"] == 'default: `{"kind": "complex_noise", "strength": 0.1}`'


def test_every_example_of_a_request_can_be_sent(api: Api) -> None:
    document = api.http.get("/openapi.json").json
    examples = {name: content["application/json"]["example"]
                for name, content in bodies(document).items() if "application/json" in content}  # fmt: skip
    job = api.http.post("/v1/jobs", json=examples.pop("submit_job"))
    sweep = api.http.post("/v1/sweeps", json=examples.pop("submit_sweep"))
    assert api.http.patch(f"/v1/sweeps/{sweep.json['id']}", json=examples.pop("change_sweep")).status_code == 200
    assert api.http.patch(f"/v1/jobs/{job.json['id']}", json=examples.pop("change_job")).status_code == 200
    more = api.http.post(f"/v1/sweeps/{sweep.json['id']}/members", json=examples.pop("add_members"))
    judgement = api.http.post("/v1/laws/aurora/fidelity", json=examples.pop("judge_law"))
    training = api.http.post("/v1/trainings", json=examples.pop("submit_training"))
    extended = api.http.post(f"/v1/jobs/{done(api)}/extend", json=examples.pop("extend_job"))
    long = done(api, steps=200, record=[{"field": "psi", "every": 200}])
    forked = api.http.post(f"/v1/jobs/{long}/fork", json=examples.pop("fork_job"))
    link = api.http.post(f"/v1/jobs/{job.json['id']}/links", json=examples.pop("share_job"))
    assert api.http.post(f"/v1/sweeps/{sweep.json['id']}/links", json=examples.pop("share_sweep")).status_code == 201
    change = api.http.post(f"/v1/jobs/{job.json['id']}/interventions", json=examples.pop("intervene_in_job"))
    quote = api.http.post("/v1/quotes", json=examples.pop("get_quote"))
    drawn = api.http.post("/v1/drawn-laws", json=examples.pop("draw_random_laws"))
    assert drawn.status_code == 201, drawn.text
    token = api.http.post("/v1/session", json=examples.pop("begin_session"))
    answers = (job, sweep, more, judgement, training, forked, link, change, quote, token)
    assert [a.status_code for a in answers] == [202, 202, 202, 202, 202, 202, 201, 202, 200, 401], token.text
    assert extended.status_code == 409, "the job that a pretended worker ran has no last state"
    assert not examples, "an example that nothing here sends"


def test_no_mapping_is_shown_with_made_up_keys(api: Api) -> None:
    """Swagger UI shows a mapping without an example as additionalProp1, additionalProp2, …"""

    def made_up(schema: Any, path: str) -> Iterator[str]:
        if isinstance(schema, list):
            for item in schema:
                yield from made_up(item, path)
        elif isinstance(schema, dict) and "examples" not in schema:
            if schema.get("type") == "object" and schema.get("additionalProperties"):
                yield path
            for key, part in schema.items():
                yield from made_up(part, f"{path}/{key}")

    for name, schema in api.http.get("/openapi.json").json["components"]["schemas"].items():
        for key, part in schema.get("properties", {}).items():
            assert not list(made_up(part, f"{name}/{key}"))
