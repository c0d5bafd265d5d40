"""A job whose newest checkpoint is lost resumes from the one before, with the frames of an uninterrupted run."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from leym.contract.records import Fenced
from leym.contract.spec import JobSpec
from leym.frames.checkpoint import references
from leym.jobs.table import JobTable
from tests.support.site import STEPS, Site


@pytest.fixture
def site(place, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # grids so small are slower on several, and much slower on a busy machine
    made = Site(*place, tmp_path)
    yield made
    made.table.close()
    torch.set_num_threads(threads)


@pytest.mark.parametrize("lost", ["newest gone", "newest spoilt", "both gone"])
def test_lost_checkpoints_change_no_bit(site, lost, caplog):
    whole, job_id = site.submit(), site.submit()
    site.run(whole)
    site.run_a_part(job_id)
    newest, previous = references(site.table.get(job_id).checkpoint)
    assert previous["step"] <= newest["step"]
    assert previous["key"] != newest["key"]
    if lost == "newest spoilt":
        site.store.put(newest["key"], site.store.get(newest["key"])[:-1] + b"?")
    else:
        site.store.delete([newest["key"]] + ([previous["key"]] if lost == "both gone" else []))
    with caplog.at_level(logging.ERROR):
        site.run(job_id)
    back_to = 0 if lost == "both gone" else previous["step"]
    assert f"job {job_id} goes back to step {back_to}: " in caplog.text
    assert newest["key"] in caplog.text
    found = site.results(job_id)
    for name, values in site.results(whole).items():
        assert np.array_equal(found[name], values), name
        assert len(values) > 20, name
    ended = site.table.get(job_id)
    assert [ref["step"] for ref in references(ended.checkpoint)] == [STEPS], "an ended job has its last state only"
    checkpoints = [key for key in site.store.list(f"jobs/{job_id}/") if "/checkpoints/" in key]
    assert checkpoints == [ended.checkpoint["key"]]


def test_the_row_names_at_once_the_checkpoint_that_a_job_went_back_to(site):
    """Otherwise, if the newest checkpoint became readable again, the frames up to it would be missing."""
    job_id = site.submit()
    site.run_a_part(job_id)
    newest, previous = references(site.table.get(job_id).checkpoint)
    kept = site.store.get(newest["key"])
    site.store.delete([newest["key"]])
    claim = site.table.claim(job_id, "w", 60, 9)
    site.runner()._build(claim.job, job_id)
    assert site.table.get(job_id).checkpoint == previous
    site.table.hand_back(job_id, claim.epoch)
    site.store.put(newest["key"], kept)
    site.run(job_id)


def test_only_the_claimer_of_a_job_or_the_finder_of_an_unclaimed_one_may_send_it_back(url):
    table = JobTable(url)
    job, _ = table.submit(
        JobSpec(law="tiny", grid=(8, 8), steps=9), law="tiny@" + "0" * 64, precision="fp32", d_state=2
    )
    ref = {"key": "k", "step": 4, "bytes": 9}
    table.fall_back(job.id, 0, ref, job.state)
    assert table.get(job.id).checkpoint == ref
    claim = table.claim(job.id, "w", 60, 3)
    with pytest.raises(Fenced):
        table.fall_back(job.id, 0, None, job.state)
    with pytest.raises(Fenced):
        table.fall_back(job.id, claim.epoch, None, job.state)
    assert table.get(job.id).checkpoint == ref
    assert table.get(job.id).attempts == 1
    table.fall_back(job.id, claim.epoch, None)
    assert table.get(job.id).checkpoint is None
    assert table.get(job.id).attempts == 1
    table.hand_back(job.id, claim.epoch)
    with pytest.raises(Fenced):
        table.fall_back(job.id, claim.epoch, ref)
    table.close()
