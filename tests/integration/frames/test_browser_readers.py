"""A browser reads jobs: Chromium, its cache and its EventSource, and zarrita."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import browser
from tests.support.api import Api, Pretender, done, number, opened, value

pytestmark = pytest.mark.browser

READ_WHILE_IT_GROWS = """
import * as zarr from "zarrita";
let over = false;
const fetched = async (request) => { // a commit follows every answer, also between those that one reading needs
  const answer = await fetch(request);
  ({over} = await act("grow"));
  return answer;
};
const root = zarr.root(new zarr.FetchStore(`${location.origin}STORE`, {fetch: fetched}));
const seen = [];
for (let last = false; !last; ) {
  last = over;
  const one = {};
  for (const name of ["phase", "channel_power", "activity", "step"]) {
    const array = await zarr.open.v3(root.resolve(name), {kind: "array"});
    const {shape, data} = await zarr.get(array);
    one[name] = {shape, data: Array.from(data, Number)};
  }
  seen.push(one);
}
result(seen);
"""

FOLLOW = """
let opened = 0;
const stream = new EventSource("STREAM");
stream.addEventListener("open", () => ++opened > 3 && result({opened, state: stream.readyState}));
stream.addEventListener("error", () => stream.readyState === 2 && result({opened, state: stream.readyState}));
"""


STEPS = 50
GROWING = {
    "steps": STEPS,
    "record": [{"field": "phase", "every": 1}, {"field": "channel_power", "every": 1, "dtype": "float16"}],
    "observe": {"every": 1, "names": ["activity"]},
}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr("leym.frames.layout.SHARD_FRAMES", 20)
    monkeypatch.setattr("leym.frames.layout.CHUNK_BYTES", 16 * 8 * 12 * 4)  # sixteen frames of phase
    with opened(tmp_path / "data") as found:
        yield found


@pytest.mark.parametrize("shared", [False, True])
def test_zarrita_reads_a_job_while_it_grows(api: Api, modules: Path, tmp_path: Path, shared: bool) -> None:
    job = api.submit(**GROWING)
    worker = Pretender(api, job)
    worker.run(0)  # zarrita does not read arrays of no frames
    worker.commit()

    def grow() -> dict[str, bool]:
        if worker.at < STEPS:
            worker.run(worker.at + 1)
            (worker.finish if worker.at == STEPS else worker.commit)()
        return {"over": worker.at == STEPS}

    store = f"/v1/jobs/{job}/store.zarr"
    if shared:
        store = api.http.post(f"/v1/jobs/{job}/links", json={}).json["store"]
    seen = browser.run(api.app, modules, tmp_path, READ_WHILE_IT_GROWS.replace("STORE", store), grow=grow)
    assert len(seen) > 3
    for found in seen:
        for name, shape, dtype in (("phase", (8, 12), "float32"), ("channel_power", (8, 12, 4), "float16")):
            count, *frame = found[name]["shape"]
            expected = np.array([value(name, step, shape, dtype) for step in range(count)], dtype)
            assert tuple(frame) == shape, (name, count)
            assert np.array_equal(found[name]["data"], expected.ravel()), (name, count)
        numbers, steps = found["activity"]["data"], found["step"]["data"]
        assert numbers == [number("activity", step) for step in range(len(numbers))]
        assert steps == list(range(len(steps)))
    assert [seen[-1][name]["shape"][0] for name in seen[-1]] == [STEPS + 1] * 4


def test_an_event_source_of_a_finished_job_is_closed_at_its_end(api: Api, tmp_path: Path) -> None:
    streams: Any = done(api)
    found = browser.run(api.app, None, tmp_path, FOLLOW.replace("STREAM", f"/v1/jobs/{streams}/events"))
    assert found == {"opened": 1, "state": 2}
