"""Provenance of results: what a reader needs to cite them and to compute them again, bit for bit.

`provenance` and `sweep_provenance` are the only places that decide what it contains. Every export has it as one JSON
document: a text of a PNG, an attribute of a store, the metadata of a table, or a file in an archive. It has no address
of a service, so that it means the same everywhere, and no time of the export, so that equal exports have equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leym import __version__
from leym.contract.record_bodies import rfc3339
from leym.contract.records import Job, Sweep

FORMAT = 1
KEY = "provenance"  # its name in attributes, in the metadata of tables, and as a file with the ending .json


def provenance(job: Job, verdict: Mapping[str, Any] | None = None, ancestors: Sequence[Job] = ()) -> dict[str, Any]:
    """Return the provenance of the results of a job, or of a member of a sweep.

    Args:
        job: the job.
        verdict: summary of the verdict on its precision of its law; None without one.
        ancestors: the jobs that it continues, the nearest first. Those whose results were deleted are among them, since
            their rows stay.
    """
    return {
        "format": FORMAT,
        "kind": "job",
        "id": job.id,
        "name": job.name,
        **_of_row(job, verdict),
        "state": str(job.state),
        "committed_step": job.step,
        "seed": job.spec.get("seed"),
        "interventions": job.spec.get("interventions", []),
        "spec": dict(job.spec),
        "sweep": job.sweep,
        "point": job.point,
        "lineage": [_ancestor(one) for one in reversed(ancestors)],
        "created_at": rfc3339(job.created_at),
        "finished_at": rfc3339(job.finished_at),
        "citation": citation(f"universe {job.id}", job.name, job.law, job.precision, job.created_at),
    }


def sweep_provenance(sweep: Sweep, row: Job, verdict: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the provenance of the results of a sweep.

    Args:
        sweep: the sweep.
        row: the row of its first block, or its first member in a sweep of version 0.1.0. Its law and precision are
            those of all members unless they are axes; the columns of the table say them then.
        verdict: summary of the verdict on its precision of its law; None without one.
    """
    what = f"sweep {sweep.id} of {sweep.size} universes"
    return {
        "format": FORMAT,
        "kind": "sweep",
        "id": sweep.id,
        "name": sweep.name,
        **_of_row(row, verdict),
        "members": sweep.size,
        "counts": dict(sweep.counts),
        "spec": dict(sweep.spec),
        "added": [{"axes": part.axes, "mode": part.mode} for part in sweep.added],
        "created_at": rfc3339(sweep.created_at),
        "citation": citation(what, sweep.name, row.law, row.precision, sweep.created_at),
    }


def citation(what: str, name: str | None, law: str, precision: str, created_at: float) -> str:
    """Return a sentence with which to cite results."""
    law_name, _, digest = law.partition("@")
    title = f"{name} ({what})" if name else what[0].upper() + what[1:]
    year = str(rfc3339(created_at))[:4]
    made = f"Computed with the Ley M simulation service, version {__version__}, {year}."
    return f"{title}, law {law_name} (sha256 {digest[:16]}), precision {precision}. {made}"


def _of_row(job: Job, verdict: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the law and how it was computed: by what, in which precision, and what the fidelity gate says of it."""
    attributes = job.manifest.get("attributes", {})
    segments = attributes.get("segments") or ([attributes] if attributes else [])
    last = segments[-1] if segments else {}
    return {
        "law": job.law,
        "precision": job.precision,
        "fidelity": job.fidelity,
        "verdict": None if verdict is None else dict(verdict),
        "device": last.get("device"),
        "versions": last.get("versions", {}),
        "computed_by": segments,
    }


def _ancestor(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "law": job.law,
        "precision": job.precision,
        "from_step": job.begins_at,
        "state": str(job.state),
        "differs": job.differs or {},
        "deleted": job.deleted_at is not None,
        "spec": dict(job.spec),
    }
