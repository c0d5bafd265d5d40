"""Settings of the service: environment variables with the prefix LEYM_.

The defaults run on one machine with no server installed. An empty variable counts as unset. A process validates all
settings when it reads them; a SettingsError is one line that names each wrong variable and shows no secret. Paths
become absolute, because child processes have another working directory.
"""

from __future__ import annotations

import os
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from leym.common import urls
from leym.common.origins import names_of, origins_of

USAGE = 2  # exit code of a process whose settings are wrong

_PER = r"[1-9]\d{0,8}\s*(/|\sper\s)\s*([1-9]\d{0,8}\s*)?(second|minute|hour|day|month|year)s?"
_RATE = re.compile(rf"{_PER}(\s*[,;|]\s*{_PER})*", re.IGNORECASE)
_BUCKET = re.compile(r"[^/,\s]+/(nf4|int8|bf16|fp32|auto)/[1-9]\d{0,4}x[1-9]\d{0,4}")


class SettingsError(ValueError):
    """Environment variables with invalid values. The message is one line and names each of them."""


def clean_token(text: str) -> str:
    """Strip the white space around a token that files and copied lines add.

    Raises:
        ValueError: an HTTP header cannot carry the token. The message does not show the token.
    """
    token = text.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError(
            "a token consists of printable ASCII characters without spaces; this one, not shown here, has others"
        )
    return token


def _rate(text: str) -> str:
    if text and not _RATE.fullmatch(text):
        raise ValueError("expected COUNT/PERIOD, joined by ';', as in 100/second;5000/hour")
    return text


def _warm(text: str) -> str:
    for entry in filter(None, (part.strip() for part in text.split(","))):
        if not _BUCKET.fullmatch(entry):
            raise ValueError(f"{entry!r}: expected law/precision/HxW")
    return text


def _range(text: str) -> str:
    least, _, most = text.partition(":")
    if not (least.isdigit() and most.isdigit() and int(least) <= int(most) and 1 <= int(most) <= 1024):
        raise ValueError("expected MIN:MAX, two whole numbers from 0 to 1024")
    return text


def _absolute(path: Path) -> Path:
    return path.absolute()


def _absolute_or_empty(text: str) -> str:
    return os.path.abspath(text) if text else text


class Settings(BaseSettings):
    """All settings of the service; `description` of a field says what it does."""

    model_config = SettingsConfigDict(
        env_prefix="LEYM_",
        extra="ignore",
        env_ignore_empty=True,
        str_strip_whitespace=True,
        validate_default=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    data: Annotated[Path, AfterValidator(_absolute)] = Field(
        Path("leym-data"), description="folder of all files that the service keeps on this machine"
    )
    redis_url: Annotated[str, AfterValidator(urls.broker_url)] = Field(
        "", description="broker and events; empty: `leym up` starts an embedded Valkey in the data folder", repr=False
    )
    database_url: Annotated[str, AfterValidator(urls.database_url)] = Field(
        "", description="job table; empty: SQLite in the data folder", repr=False
    )
    store_url: Annotated[str, AfterValidator(urls.store_url)] = Field(
        "", description="frame store; empty: files in the data folder", repr=False
    )
    token: Annotated[str, AfterValidator(clean_token)] = Field(
        "", description="token that the SDK and the CLI send to the API", repr=False
    )
    link_key: str = Field("", description="signs shared links; empty: a random key kept in the data folder", repr=False)
    url: Annotated[str, AfterValidator(urls.http_url)] = Field(
        "http://127.0.0.1:8000", description="URL of the API for the SDK and the CLI"
    )
    hosts: str = Field(
        "",
        description="host names that the API and Flower answer to, besides loopback names and addresses, separated by "
        "commas; `*`: any",
    )
    proxies: int = Field(
        0,
        ge=0,
        le=10,
        description="number of chained reverse proxies in front of the API whose X-Forwarded headers are trusted",
    )
    cors_origins: str = Field(
        "",
        description="origins of web pages that may use the API, e.g. `https://viewer.example`, separated by commas; "
        "`*`: any page may read",
    )
    lease_s: float = Field(
        20.0, gt=0, le=86400, description="length of a lease; a worker that does not renew it in time loses the job"
    )
    checkpoint_s: float = Field(
        10.0, gt=0, le=86400, description="longest time between two checkpoints of a running job"
    )
    commit_s: float = Field(1.0, gt=0, le=3600, description="longest time between two commits of recorded frames")
    compile: bool = Field(True, description="1: compile laws; 0: run them eagerly")
    slots: int = Field(8, ge=1, le=1024, description="jobs and blocks of sweeps that a worker runs at once")
    largest_batch: int = Field(
        4096, ge=1, le=4096, description="universes of one batch at most; the grid usually sets a smaller number"
    )
    max_attempts: int = Field(3, ge=1, le=1000, description="claims without progress after which a job fails")
    autoscale_idle_s: float = Field(
        300.0, gt=0, le=30 * 86400, description="idle time after which a worker may be drained"
    )
    heartbeat_s: float = Field(2.0, gt=0, le=3600, description="time between two heartbeats of a worker")
    ttl_s: float = Field(
        0.0, ge=0, le=3650 * 86400, description="time for which results are kept if a job has no ttl_s; 0: for ever"
    )
    state_ttl_s: float = Field(
        7 * 86400.0,
        ge=0,
        le=3650 * 86400,
        description="time for which an uploaded start state is kept if no live job needs it; 0: for ever",
    )
    gc_s: float = Field(
        600.0,
        ge=0,
        le=30 * 86400,
        description="approximate time between two removals of expired results and garbage; 0: only by `leym gc`",
    )
    disk_free_min: int = Field(
        2 * 2**30,
        ge=0,
        le=2**62,
        description="bytes that must be free for a store of files; below, submissions are answered 507",
    )
    quota_jobs: int = Field(0, ge=0, le=2**62, description="queued and running jobs of one project; 0: no limit")
    quota_cell_steps: int = Field(
        0, ge=0, le=2**62, description="cell-steps that one project may submit in 24 hours; 0: no limit"
    )
    quota_running: int = Field(
        0, ge=0, le=2**62, description="running jobs of one project; its others wait in the queue; 0: no limit"
    )
    quota_bytes: int = Field(
        0,
        ge=0,
        le=2**62,
        description="bytes of the results of one project; from then on, submissions are answered 429; 0: no limit",
    )
    max_jobs: int = Field(
        10_000_000, ge=0, le=2**62, description="queued and running jobs in all; above, submissions are answered 503"
    )
    rate: Annotated[str, AfterValidator(_rate)] = Field(
        "", description="request rate of one caller, such as `100/second;5000/hour`; empty: no limit"
    )
    streams: int = Field(
        256, ge=1, le=4096, description="concurrent event streams and long polls of one of the two API processes"
    )
    streams_each: int = Field(128, ge=1, le=4096, description="of these, for one caller")
    transfers: int = Field(
        256, ge=1, le=4096, description="concurrent bodies and answers over 64 KiB of one API process"
    )
    transfers_each: int = Field(192, ge=1, le=4096, description="of these, for one caller")
    head_s: float = Field(
        10.0, ge=0.1, le=3600, description="longest time for the head of a request, and for a body up to 64 KiB"
    )
    stall_s: float = Field(
        30.0, ge=1, le=3600, description="time without progress after which a longer body or an answer is aborted"
    )
    price_per_device_hour: float = Field(
        0.0, ge=0, le=1e9, description="price of an hour of a device, for quotes; 0: they state no cost"
    )
    webhook_private: bool = Field(
        False, description="1: webhooks may call private addresses and those of this machine, too"
    )
    queue: str = Field("leym", pattern=r"^[A-Za-z0-9_.:-]{1,100}$", description="name of the Celery queue")
    batch_sizes: Annotated[str, AfterValidator(_absolute_or_empty)] = Field(
        "",
        description="file of batch sizes measured by `leym bench --batch-sizes`; empty: batch-sizes.json in the data "
        "folder",
    )
    rungs: Annotated[str, AfterValidator(_absolute_or_empty)] = Field(
        "", description="old name of `LEYM_BATCH_SIZES`, which counts where both are set"
    )
    ship_compiled: bool = Field(False, description="1: workers of one kind share compiled code through the store")
    warm: Annotated[str, AfterValidator(_warm)] = Field(
        "", description="buckets that a worker loads before it is ready: law/precision/HxW, separated by commas"
    )

    autoscale: Annotated[str, AfterValidator(_range)] = Field(
        "1:1", description="MIN:MAX worker processes, chosen by the backlog; MIN may be 0"
    )
    training_workers: int = Field(
        1, ge=0, le=64, description="worker processes for trainings at most, started when one waits; 0: none"
    )
    worker: Literal["simulation", "training"] = Field(
        "simulation", description="kind of jobs that a worker process takes; supervisors set it"
    )
    flower_url: Annotated[str, AfterValidator(urls.http_url)] = Field(
        "", description="URL of Flower for the link on the page; `leym up` sets it; empty: no link"
    )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        origins_of(text)
        return text

    @property
    def host_names(self) -> tuple[str, ...]:
        """Parsed `hosts`."""
        return names_of(self.hosts)

    @property
    def origins(self) -> tuple[str, ...]:
        """Parsed `cors_origins`."""
        return origins_of(self.cors_origins)

    @property
    def database(self) -> str | Path:
        """Location of the job table: the path of an SQLite file, or a PostgreSQL URL."""
        if not self.database_url:
            return self.data / "jobs.sqlite"
        file = self.database_url.partition(":///")[2]
        return Path(file) if self.database_url.startswith("sqlite") else self.database_url

    @property
    def batch_sizes_file(self) -> Path:
        """File of the measured batch sizes. Before version 0.1.0 it was called rungs.json, which still counts."""
        if named := self.batch_sizes or self.rungs:
            return Path(named)
        file, old = self.data / "batch-sizes.json", self.data / "rungs.json"
        return old if old.exists() and not file.exists() else file

    @property
    def store(self) -> str:
        """URL of the frame store."""
        return self.store_url or (self.data / "store").as_uri()

    def environment(self) -> dict[str, str]:
        """Return variables that give child processes the same files and URLs, whatever their working directory is."""
        named = {"data": str(self.data)} | {
            name: getattr(self, name) for name in ("redis_url", "database_url", "store_url", "batch_sizes", "rungs")
        }
        return {f"LEYM_{name.upper()}": value for name, value in named.items() if value}


def read_settings() -> Settings:
    """Read the settings from the current environment.

    Raises:
        SettingsError: variables are invalid. One line names each of them, its value unless that is secret, and what is
            expected.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(map(_sentence, error.errors(include_url=False)))) from None


@lru_cache
def settings() -> Settings:
    """Return the settings of this process, read once. Invalid ones end the process with one line and exit code 2."""
    try:
        return read_settings()
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(USAGE)


def _sentence(error: Any) -> str:
    name = str(error["loc"][0])
    variable = f"LEYM_{name.upper()}"
    given = next((value for key, value in os.environ.items() if key.upper() == variable), "")
    field = Settings.model_fields[name]
    shown = f" = {given[:200]!r}" if field.repr else ""
    return f"{variable}{shown}: {error['msg'].removeprefix('Value error, ')}"
