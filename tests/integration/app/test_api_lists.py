"""Lists of jobs over REST: pages, and tags of any characters."""

from __future__ import annotations

import pytest

from tests.support.api import Api


def test_pages_follow_each_other(api: Api) -> None:
    jobs = [api.submit(seed=i) for i in range(5)]
    found, cursor = [], ""
    while True:
        page = api.http.get(f"/v1/jobs?limit=2{cursor}").json
        found += [job["id"] for job in page["items"]]
        if not page["next"]:
            break
        cursor = f"&cursor={page['next']}"
    assert found == jobs[::-1]


@pytest.mark.parametrize(
    ("key", "value"), [("a:b", "c"), ("a=b", "c=d"), (":", ""), ("=", "="), ("run", "a:b=c"), ("schlüssel:1", "ä=ö")]
)
def test_a_tag_is_found_whatever_characters_it_has(api: Api, key: str, value: str) -> None:
    job = api.submit(tags={key: value, "other": "1"})
    api.submit(tags={"a": "x"})
    for between in ":=":
        found = api.http.get("/v1/jobs", query_string={"tag": f"{key}{between}{value}"}).json["items"]
        assert [j["id"] for j in found] == [job], between


def test_pages_of_a_tag_that_reads_in_two_ways(api: Api) -> None:
    jobs = [api.submit(tags=tags) for tags in ({"a:b": "c"}, {"a": "b=c"}, {"a:b": "c", "a": "b=c"}, {"a": "b"})]
    first = api.http.get("/v1/jobs", query_string={"tag": "a:b=c", "limit": 2}).json
    rest = api.http.get("/v1/jobs", query_string={"tag": "a:b=c", "limit": 2, "cursor": first["next"]}).json
    assert [j["id"] for j in first["items"] + rest["items"]] == jobs[2::-1]
    assert rest["next"] is None
