"""A job that asks for reuse goes on from one that has run the same universe to an earlier step."""

from __future__ import annotations

import numpy as np

from app.services import open_services
from app.submission import extend_job, submit_job
from leym.contract.spec import JobSpec
from leym.settings import Settings
from tests.support.site import Site

SPEC = {"law": "tiny", "grid": [8, 8], "seed": 3, "precision": "fp32", "record": [{"field": "phase", "every": 5}]}


def test_the_longest_prefix_is_continued_and_its_continuations_are_found(tmp_path, monkeypatch):
    site = Site(Settings(data=tmp_path).database, Settings(data=tmp_path).store, tmp_path)
    services = open_services(Settings(data=tmp_path, redis_url=""))
    services.laws = site.laws

    def ask(steps, **changes):
        made = submit_job(services, JobSpec.model_validate(SPEC | {"steps": steps, "reuse": True} | changes), None)
        if not made.job.final:
            site.run(made.job.id)
        return made.reuse, site.table.get(made.job.id)

    assert ask(20)[0] is None
    first = ask(40)
    assert (first[0], first[1].begins_at) == ("continued", 20)
    longer = ask(60)
    assert (longer[0], longer[1].parent, longer[1].begins_at) == ("continued", first[1].id, 40)
    assert longer[1].differs == {"steps": [40, 60]}
    assert ask(60) == ("returned", longer[1])
    assert ask(60, seed=4)[0] is None
    assert ask(60, gamma=0.5)[0] is None
    # an extension that changes nothing is the same universe, one with another gamma is not
    extended = extend_job(services, longer[1].id, {"steps": 80}, None).job
    site.run(extended.id)
    assert ask(80)[1].id == extended.id
    other = extend_job(services, longer[1].id, {"steps": 90, "gamma": 0.5}, None).job
    site.run(other.id)
    assert ask(90)[1].parent == extended.id
    whole = submit_job(services, JobSpec.model_validate(SPEC | {"steps": 60}), None).job
    site.run(whole.id)
    frames = site.reader(site.table.get(whole.id)).read("phase", 41)[1]
    assert np.array_equal(site.reader(longer[1]).read("phase")[1], frames)
    site.table.close()
    services.events.close()
    services.table.close()
