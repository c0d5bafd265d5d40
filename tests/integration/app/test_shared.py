"""A shared link shows one job or one sweep, all of it and nothing else, until it expires or is revoked."""

from __future__ import annotations

import re

import pytest

from tests.support.api import Api, bearer, done, refused, run_blocks

SWEEP = {
    "base": {"law": "aurora", "grid": [8, 8], "steps": 30, "observe": {"every": 10, "names": ["coherence"]}},
    "axes": {"seed": [1, 2, 3]},
}


@pytest.fixture
def job(api: Api) -> str:
    found = done(api)
    api.http.patch(f"/v1/jobs/{found}", json={"name": "Waves <b>", "note": "a & b"})
    return found


def shared(api: Api, at: str) -> dict[str, str]:
    answer = api.http.post(f"{at}/links", json={"ttl_s": 3600})
    assert answer.status_code == 201, answer.text
    return dict(answer.json)


def test_a_link_to_a_job_gives_what_the_job_gives(api: Api, job: str) -> None:
    link = shared(api, f"/v1/jobs/{job}")
    bearer(api.table)  # from now on, everything else needs a token
    assert api.http.get(f"/v1/jobs/{job}").status_code == 401
    found = api.http.get(link["record"]).json
    assert (found["kind"], found["record"]["id"], found["record"]["name"]) == ("job", job, "Waves <b>")
    assert found["provenance"]["spec"] == found["spec"]
    assert found["citation"] == found["provenance"]["citation"]
    assert found["law"]["name"] == "aurora"
    for path in (*found["downloads"].values(), link["frames"], f"{link['store']}/zarr.json"):
        assert api.http.get(path).status_code == 200, path
    fields = [field["name"] for field in api.http.get(f"{link['record']}/frames").json["items"]]
    assert fields == ["phase", "channel_power", "psi"]
    assert api.http.get(f"{link['record']}/observables").json["coherence"]
    assert b"event: end" in api.http.get(f"{link['record']}/events").data
    png = api.http.get(f"{link['frames']}/phase?format=png&last=1")
    assert png.mimetype == "image/png"


def test_a_link_opens_nothing_else(api: Api, job: str) -> None:
    other, link = done(api, seed=2), shared(api, f"/v1/jobs/{job}")
    bearer(api.table)
    record = link["record"]
    for part in ("lineage", "links", "cancel", "states", "table", f"../{other}", f"../{other}/frames", "%2e%2e/x", ""):
        answer = api.http.get(f"{record}/{part}")
        assert answer.status_code in (403, 404), part
    for method in (api.http.post, api.http.patch, api.http.delete, api.http.put):
        assert method(f"{record}/frames").status_code == 405
        assert method(record).status_code == 405
    refused(api.http.get(f"{record}/observables?lineage=1"), 422, "own job only")
    refused(api.http.get(f"{record}/lineage"), 404, "a shared job has frames")


def test_a_link_to_a_sweep_gives_its_table_its_members_and_its_arrays(api: Api) -> None:
    sweep = api.http.post("/v1/sweeps", json=SWEEP).json["id"]
    run_blocks(api, sweep)
    link = shared(api, f"/v1/sweeps/{sweep}")
    bearer(api.table)
    record = link["record"]
    found = api.http.get(record).json
    assert (found["kind"], found["record"]["size"]) == ("sweep", 3)
    assert len(api.http.get(f"{record}/table").json["items"]) == 3
    assert api.http.get(f"{record}/summary").json["size"] == 3
    assert api.http.get(f"{record}/members/1").json["point"] == {"seed": 2}
    assert api.http.get(f"{record}/members/1/observables").json["coherence"][-1] == 30.125
    for path in (*found["downloads"].values(), f"{link['store']}/zarr.json", link["table"]):
        assert api.http.get(path).status_code == 200, path
    for part in ("frames/phase", "observables", "members/1/cancel", "members/1/links"):
        assert api.http.get(f"{record}/{part}").status_code == 404, part


def test_links_are_listed_and_revoked_by_their_project(api: Api, job: str) -> None:
    ours, theirs = bearer(api.table, "default"), bearer(api.table, "theirs")
    at = f"/v1/jobs/{job}/links"
    first, second = (api.http.post(at, json={}, headers=ours).json for _ in range(2))
    listed = api.http.get(at, headers=ours).json["items"]
    assert [link["id"] for link in listed] == [first["id"], second["id"]]
    assert listed[0]["page"] == first["page"], "it can be shown again"
    assert api.http.get(at, headers=theirs).status_code == 404
    assert api.http.delete(f"{at}/{first['id']}", headers=theirs).status_code == 404
    assert api.http.get(first["record"]).status_code == 200
    assert api.http.delete(f"{at}/{first['id']}", headers=ours).status_code == 204
    assert api.http.delete(f"{at}/{first['id']}", headers=ours).status_code == 204
    refused(api.http.get(first["record"]), 410, "revoked")
    refused(api.http.get(f"{first['frames']}/phase"), 410, "revoked")
    assert api.http.get(first["page"]).status_code == 410
    assert api.http.get(second["record"]).status_code == 200
    assert [link["id"] for link in api.http.get(at, headers=ours).json["items"]] == [second["id"]]
    assert api.http.delete(f"{at}/nothing", headers=ours).status_code == 404


def test_the_page_has_a_title_a_picture_and_the_facts_without_javascript(api: Api, job: str) -> None:
    link = shared(api, f"/v1/jobs/{job}")
    bearer(api.table)
    page = api.http.get(link["page"])
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "<title>Waves &lt;b&gt; · Ley M</title>" in page.text
    assert '<meta property="og:description" content="a &amp; b">' in page.text
    [picture] = re.findall(r'<meta property="og:image" content="http://localhost/([^"]+)">', page.text)
    assert api.http.get(f"/{picture.replace('&amp;', '&')}").mimetype == "image/png"
    facts = page.text.partition("<noscript>")[2].partition("</noscript>")[0]
    assert "<h1>Waves &lt;b&gt;</h1>" in facts
    for text in ("aurora@", "Citation", "/export", "observables.csv", "&#34;steps&#34;: 30"):
        assert text in facts
    assert api.http.get("/static/shared.js").status_code == 200, "the script that opens the link's screen"
    assert page.headers["X-Robots-Tag"] == "noindex"
    assert "base-uri 'self'" in page.headers["Content-Security-Policy"]
    prefixed = api.http.get(link["page"], base_url="http://localhost/leym").text
    assert 'content="http://localhost/leym/v1/shared/' in prefixed
    broken = api.http.get("/s/made-up")
    assert (broken.status_code, broken.mimetype) == (403, "text/html")
    assert "This link does not work" in broken.text
