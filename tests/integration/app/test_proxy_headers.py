"""Headers of proxies count as far as there are proxies, and nothing is served behind one without a token."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.identity import check_address
from tests.support.api import SPEC, opened


@pytest.mark.parametrize(
    ("proxies", "prefix"),
    [(0, ""), (1, "/own"), (2, "/outer")],
)
def test_forwarded_headers_count_only_as_far_as_there_are_proxies(tmp_path: Path, proxies: int, prefix: str) -> None:
    forwarded = {"X-Forwarded-Prefix": "/evil, /outer, /own", "X-Forwarded-Host": "evil.example, localhost, localhost"}
    with opened(tmp_path, proxies=proxies) as api:
        answer = api.http.post("/v1/jobs", json=SPEC, headers=forwarded)
        assert answer.json["links"]["self"] == answer.headers["Location"] == f"{prefix}/v1/jobs/{answer.json['id']}"


def test_a_prefix_may_come_from_the_server_itself(tmp_path: Path) -> None:
    """gunicorn's SCRIPT_NAME."""
    with opened(tmp_path) as api:
        answer = api.http.post("/v1/jobs", json=SPEC, base_url="http://localhost/leym")
        assert answer.json["links"]["self"] == answer.headers["Location"] == f"/leym/v1/jobs/{answer.json['id']}"


def test_without_a_token_nothing_is_served_behind_a_proxy() -> None:
    assert "LEYM_PROXIES = 1" in (check_address([("127.0.0.1", 8000)], has_tokens=False, proxies=1) or "")
    assert check_address([("127.0.0.1", 8000)], has_tokens=True, proxies=1) is None
