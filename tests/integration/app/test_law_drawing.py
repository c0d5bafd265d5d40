"""Random laws over HTTP: drawn, kept, removed when their time is over; and previews of laws."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image

from leym.laws.temporary import MARK
from tests.support.api import Api, refused


def names(api: Api) -> list[str]:
    return [law["name"] for law in api.http.get("/v1/laws").json["items"] if law["name"].startswith("drawn-")]


def draw(api: Api, **keys: Any) -> list[dict[str, Any]]:
    answer = api.http.post("/v1/drawn-laws", json=keys)
    assert answer.status_code == 201, answer.text
    found: list[dict[str, Any]] = answer.json["items"]
    return found


def expire(api: Api, name: str) -> None:
    [bundle] = api.services.laws.find(name)
    (bundle.path / MARK).write_text(json.dumps({"until": 1.0}))


def test_drawn_laws_can_run_and_the_same_request_draws_them_again(api: Api) -> None:
    laws = draw(api, count=3, seed=7)
    assert [law["name"] for law in laws] == [f"drawn-nca-periodic-3x32-{seed}" for seed in (7, 8, 9)]
    assert {law["boundary"] for law in laws} == {"periodic"}
    assert all(law["temporary_until"] for law in laws)
    again = draw(api, count=3, seed=7)
    assert [law["ref"] for law in again] == [law["ref"] for law in laws]
    assert api.submit(law=laws[0]["ref"])


def test_laws_that_nobody_keeps_are_removed_by_a_later_draw(api: Api) -> None:
    first, kept, needed = (law["name"] for law in draw(api, count=3))
    answer = api.http.post(f"/v1/laws/{kept}/keep", headers={"Content-Type": "application/json"}, data="")
    assert answer.status_code == 200, answer.text
    assert answer.json["temporary_until"] is None
    expire(api, first)
    expire(api, needed)
    job = api.submit(law=needed)
    draw(api, count=1, seed=50)
    assert names(api) == sorted([kept, needed, "drawn-nca-periodic-3x32-50"])
    api.http.post(f"/v1/jobs/{job}/cancel")
    draw(api, count=1, seed=50)
    assert names(api) == sorted([kept, "drawn-nca-periodic-3x32-50"])
    assert draw(api, count=3)[1]["temporary_until"] is None, "one that was kept stays kept"


def test_a_shipped_law_is_kept_anyway_and_an_unknown_one_is_none(api: Api) -> None:
    assert api.http.post("/v1/laws/aurora/keep").json["temporary_until"] is None
    refused(api.http.post("/v1/laws/nobody/keep"), 404)
    refused(api.http.post("/v1/drawn-laws", json={"architecture": "MLP"}), 422, "boundary", pointer="/boundary")
    refused(api.http.post("/v1/drawn-laws", json={"count": 0}), 422)


def test_a_law_shows_the_animation_of_its_bundle(api: Api) -> None:
    law = api.http.get("/v1/laws/spirals").json
    answer = api.http.get(law["preview"])
    assert answer.content_type == "image/webp"
    assert Image.open(io.BytesIO(answer.data)).is_animated
    assert api.http.get(law["preview"], headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert api.http.get("/v1/laws/aurora").json["preview"] is None
    refused(api.http.get("/v1/laws/aurora/preview"), 404, "carries no preview")
