"""Research objects: an archive's `ro-crate-metadata.json`, by RO-Crate 1.1 (https://w3id.org/ro/crate/1.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

METADATA = "ro-crate-metadata.json"
_FORMATS = {
    "json": "application/json",
    "csv": "text/csv",
    "npy": "application/octet-stream",
    "safetensors": "application/octet-stream",
}


def ro_crate(origin: Mapping[str, Any], files: Iterable[str]) -> dict[str, Any]:
    """Return the metadata of an archive as JSON-LD.

    Args:
        origin: the provenance of its results (`leym.contract.provenance`).
        files: names of the files to describe; a folder ends with "/".
    """
    listed = list(files)
    parts = [{"@id": name} for name in listed]
    title = origin["name"] or f"Ley M {origin['kind']} {origin['id']}"
    law, versions = origin["law"], origin["versions"]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": title,
        "description": origin["citation"],
        "datePublished": origin["created_at"],
        "license": "the results belong to whoever computed them",
        "creditText": origin["citation"],
        "hasPart": parts,
        "mentions": [{"@id": "#run"}],
    }
    run = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"simulation of {origin['kind']} {origin['id']}",
        "startTime": origin["created_at"],
        **({"endTime": origin["finished_at"]} if origin.get("finished_at") else {}),
        "instrument": [{"@id": "#software"}],
        "object": [{"@id": "spec.json"}, {"@id": "#law"}],
        "result": [{"@id": "./"}],
    }
    software = {
        "@id": "#software",
        "@type": "SoftwareApplication",
        "name": "Ley M simulation service",
        "softwareVersion": versions.get("leym", "unknown"),
        "softwareRequirements": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    model = {"@id": "#law", "@type": "CreativeWork", "name": law.partition("@")[0], "identifier": law}
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    graph = [descriptor, root, run, software, model, *(_part(name) for name in listed)]
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}


def _part(name: str) -> dict[str, Any]:
    if name.endswith("/"):
        return {"@id": name, "@type": "Dataset", "name": name.rstrip("/")}
    kind = _FORMATS.get(name.rpartition(".")[2], "application/octet-stream")
    return {"@id": name, "@type": "File", "name": name.rpartition("/")[2], "encodingFormat": kind}
