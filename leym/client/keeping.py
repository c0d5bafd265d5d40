"""Gives jobs and sweeps labels, links to share, and one file to keep."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin

from leym.client.http import Http
from leym.common.files import output_file

FORMATS = ("zip", "zarr.zip", "nc")
FIRST_BYTE_S = 600.0  # the service writes a NetCDF file before it sends the first byte
DAY_S = 86400
_KEEP: Any = object()


class Kept:
    """The part of Job and Sweep that labels, shares and exports them."""

    _http: Http
    _path: str
    _data: dict[str, Any]

    @property
    def name(self) -> str | None:
        """The name that a user gave it, or None."""
        found: str | None = self._data.get("name")
        return found

    def update(
        self,
        *,
        name: str | None = _KEEP,
        note: str | None = _KEEP,
        starred: bool = _KEEP,
        tags: Mapping[str, str] = _KEEP,
    ) -> Self:
        """Change its name, note, star or tags, and return it. They are no part of its spec, and change no result.

        Args:
            name: a name; None removes it.
            note: a text; None removes it.
            starred: True for a star.
            tags: tags in place of all before.

        Raises:
            ProblemError: a label is too long, or it is a member of a sweep, which has none.
        """
        given = {"name": name, "note": note, "starred": starred, "tags": tags}
        body = {key: value for key, value in given.items() if value is not _KEEP}
        self._data = self._http.json("PATCH", self._path, having=("id", "spec"), json=body, repeatable=True)
        return self

    def share(self, ttl_s: int = DAY_S) -> dict[str, str]:
        """Make a link to the results that needs no token until it expires or is revoked.

        Args:
            ttl_s: seconds until it expires, at most 30 days.

        Returns:
            URLs: `page` for people, `record` as JSON, `store` for `xarray.open_zarr`; of a job `frames`, to be followed
            by `/FIELD?format=…`, of a sweep `table`. And `id`, to revoke it, and `expires_at`.
        """
        made = self._http.json(
            "POST", f"{self._path}/links", having=("store", "expires_at"), json={"ttl_s": ttl_s}, repeatable=True
        )
        return self._absolute(made)

    def links(self) -> list[dict[str, str]]:
        """List the links that hold, as `share` returns them."""
        found = self._http.json("GET", f"{self._path}/links", having=("items",))
        return [self._absolute(link) for link in found["items"]]

    def revoke_link(self, id: str) -> None:
        """Revoke a link by its id: from now on it opens nothing."""
        self._http.remove(f"{self._path}/links/{id}")

    def export(self, path: str | Path, format: str | None = None) -> Path:
        """Save everything to cite and to reproduce it in one file: spec, provenance, law, states, frames and numbers.

        Args:
            path: the file.
            format: zip (which `leym reproduce` reads), zarr.zip (which xarray opens), or for a job nc (NetCDF4);
                default: the ending of `path`.

        Returns:
            The path.

        Raises:
            ValueError: the format is unknown.
            OSError: the file cannot be written.
        """
        path = Path(path)
        format = format or next((one for one in reversed(FORMATS) if path.name.endswith(f".{one}")), None)
        if format not in FORMATS:
            raise ValueError(f"format {format or '(none)'!r} of {path.name}: an export is one of {', '.join(FORMATS)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"params": {"format": format}, "read_timeout_s": FIRST_BYTE_S}
        with self._http.stream(f"{self._path}/export", **options) as response:
            if response.status_code != 200 or response.headers.get("content-type", "").startswith("text/html"):
                raise self._http.unexpected(response, f"and no {format}")
            with output_file(path) as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
        return path

    def _absolute(self, link: Mapping[str, str]) -> dict[str, str]:
        paths = ("page", "record", "store", "frames", "table")
        return {key: urljoin(self._http.url, value) if key in paths else value for key, value in link.items()}
