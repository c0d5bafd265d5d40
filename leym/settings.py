"""Every setting of the service: environment variables with the prefix LEYM_.

The defaults run on one machine with no server installed. An empty variable is an unset one. All are judged when a
process reads them: what is wrong is a SettingsError of one line, which names the variable, and no secret is in it.
Settings that name files are made absolute then, because child processes have another working directory.
"""

from __future__ import annotations

import os
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qsl, unquote_to_bytes, urlencode, urlsplit

from pydantic import AfterValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from leym.common.origins import names_of, origins_of

USAGE = 2  # exit code of a process whose settings are wrong
BROKER_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")  # in the query of a rediss:// address

_PER = r"[1-9]\d{0,8}\s*(/|\sper\s)\s*([1-9]\d{0,8}\s*)?(second|minute|hour|day|month|year)s?"
_RATE = re.compile(rf"{_PER}(\s*[,;|]\s*{_PER})*", re.IGNORECASE)
_BUCKET = re.compile(r"[^/,\s]+/(nf4|int8|bf16|fp32|auto)/[1-9]\d{0,4}x[1-9]\d{0,4}")


class SettingsError(ValueError):
    """Environment variables that cannot be used. The message is one line and names each of them."""


def clean_token(text: str) -> str:
    """A token without white space around it, which files and copied lines add.

    Raises:
        ValueError: no HTTP header can carry it. The message does not show it.
    """
    token = text.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError(
            "a token has printable ASCII characters only and no spaces; this one, not shown here, has others"
        )
    return token


def _broker(url: str) -> str:
    if not url:
        return url
    parts = _address(url, ("redis", "rediss"), "redis://:PASSWORD@HOST:PORT/0 or rediss://")
    if parts.path.strip("/") and not parts.path.strip("/").isdigit():
        raise ValueError("the path of a broker's address is the number of a database, as in redis://HOST:6379/0")
    query = dict(parse_qsl(parts.query))
    files = {key: os.path.abspath(query[key]) for key in BROKER_FILES if key in query}
    return parts._replace(query=urlencode(query | files, safe="/")).geturl() if files else url


def _database(url: str) -> str:
    """Absolute for SQLite. `postgres://` is `postgresql://`, as libpq has it."""
    if not url:
        return url
    scheme, colon, rest = url.partition("://")
    kind = scheme.partition("+")[0] if colon else ""
    if kind == "postgres":
        kind, url = "postgresql", "postgresql" + url.removeprefix("postgres")
    if kind == "postgresql":
        _address(url, (url.partition("://")[0],), "postgresql://USER:PASSWORD@HOST:PORT/NAME", host=False)
        return url
    if kind != "sqlite":
        raise ValueError("expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME")
    path = rest.removeprefix("/")
    if not rest.startswith("/") or path in ("", ":memory:") or path.startswith("file:") or "?" in path:
        raise ValueError(
            "expected sqlite:///FILE, a file that all processes see, without a query; LEYM_DATA may name a folder with"
            " any characters"
        )
    return f"{scheme}:///{os.path.abspath(path)}"


def _store(url: str) -> str:
    if not url:
        return url
    parts = _address(url, ("file", "s3", "memory"), "file:///FOLDER or s3://BUCKET/PREFIX", host=False)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path or parts.query or parts.fragment:
            raise ValueError("expected file:///FOLDER, with '?' and '#' of its name written %3F and %23")
        return Path(os.path.abspath(os.fsdecode(unquote_to_bytes(parts.path)))).as_uri()
    if parts.scheme == "s3" and not parts.netloc:
        raise ValueError("expected s3://BUCKET/PREFIX")
    return url


def _service(url: str) -> str:
    if not url:
        return url
    return _address(url, ("http", "https"), "http://HOST:PORT or https://HOST").geturl()


def _address(url: str, schemes: tuple[str, ...], expected: str, *, host: bool = True) -> SplitResult:
    """Raises ValueError. No message shows the address, which may hold a password."""
    try:
        parts = urlsplit(url)
        good = parts.port != 0 and parts.scheme in schemes and bool(parts.hostname or not host)
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"expected {expected}")
    return parts


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
        Path("leym-data"), description="folder of everything the service keeps on this machine"
    )
    redis_url: Annotated[str, AfterValidator(_broker)] = Field(
        "", description="broker and events; empty: `leym up` starts an embedded Valkey in the data folder", repr=False
    )
    database_url: Annotated[str, AfterValidator(_database)] = Field(
        "", description="job table; empty: SQLite in the data folder", repr=False
    )
    store_url: Annotated[str, AfterValidator(_store)] = Field(
        "", description="frame store; empty: files in the data folder", repr=False
    )
    token: Annotated[str, AfterValidator(clean_token)] = Field(
        "", description="what the SDK and the CLI show the API, if it asks for one", repr=False
    )
    link_key: str = Field("", description="signs shared links; empty: a random key kept in the data folder", repr=False)
    url: Annotated[str, AfterValidator(_service)] = Field(
        "http://127.0.0.1:8000", description="where the SDK and the CLI find the API"
    )
    hosts: str = Field(
        "",
        description="names that API and Flower answer to beside loopback names and addresses, separated by commas; "
        "`*`: any",
    )
    proxies: int = Field(
        0,
        ge=0,
        le=10,
        description="reverse proxies in front of the API, one behind the other, whose X-Forwarded headers count",
    )
    cors_origins: str = Field(
        "",
        description="origins of web pages that may use the API, e.g. `https://viewer.example`, separated by commas; "
        "`*`: any page may read",
    )
    lease_s: float = Field(20.0, gt=0, le=86400, description="a worker silent for this long has lost its jobs")
    checkpoint_s: float = Field(
        10.0, gt=0, le=86400, description="longest time between two checkpoints of a running job"
    )
    commit_s: float = Field(1.0, gt=0, le=3600, description="longest time that a recorded frame waits for its commit")
    compile: bool = Field(True, description="0 runs the law eagerly")
    slots: int = Field(8, ge=1, le=1024, description="batch slots per bucket of a worker")
    max_attempts: int = Field(
        3, ge=1, le=1000, description="a job that was claimed this often without progress has failed"
    )
    autoscale_idle_s: float = Field(
        300.0, gt=0, le=30 * 86400, description="a worker idle for this long may be drained"
    )
    heartbeat_s: float = Field(2.0, gt=0, le=3600, description="a worker reports itself this often")
    ttl_s: float = Field(
        0.0, ge=0, le=3650 * 86400, description="how long results of jobs that state no ttl_s are kept; 0: for ever"
    )
    state_ttl_s: float = Field(
        7 * 86400.0,
        ge=0,
        le=3650 * 86400,
        description="how long an uploaded start state that no live job needs is kept; 0: for ever",
    )
    gc_s: float = Field(
        600.0,
        ge=0,
        le=30 * 86400,
        description="expired results and garbage are removed about this often; 0: only by `leym gc`",
    )
    disk_free_min: int = Field(
        2 * 2**30,
        ge=0,
        le=2**62,
        description="bytes; with less free for a store of files, submissions are answered 507",
    )
    quota_jobs: int = Field(0, ge=0, le=2**62, description="jobs of one project that may wait or run; 0: no bound")
    quota_cell_steps: int = Field(
        0, ge=0, le=2**62, description="cell-steps that one project may submit in 24 hours; 0: no bound"
    )
    quota_running: int = Field(
        0, ge=0, le=2**62, description="jobs of one project that may run at once; its others wait; 0: no bound"
    )
    quota_bytes: int = Field(
        0,
        ge=0,
        le=2**62,
        description="bytes that results of one project may take; at it, submissions are answered 429; 0: no bound",
    )
    max_jobs: int = Field(
        200_000, ge=0, le=2**62, description="jobs that may wait or run in all; beyond, submissions are answered 503"
    )
    rate: Annotated[str, AfterValidator(_rate)] = Field(
        "", description="requests of one caller, e.g. `100/second;5000/hour`; empty: no bound"
    )
    streams: int = Field(
        256, ge=1, le=4096, description="event streams and long polls at once in a process of the API, which has two"
    )
    streams_each: int = Field(128, ge=1, le=4096, description="of these, those of one caller")
    transfers: int = Field(
        256, ge=1, le=4096, description="bodies and answers over 64 KiB at once in a process of the API"
    )
    transfers_each: int = Field(192, ge=1, le=4096, description="of these, those of one caller")
    head_s: float = Field(
        10.0, ge=0.1, le=3600, description="longest time for the head of a request, and for a body up to 64 KiB"
    )
    stall_s: float = Field(
        30.0, ge=1, le=3600, description="a longer body or an answer of which nothing moves for so long is given up"
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
    ship_compiled: bool = Field(
        False, description="1: workers of a kind share what they have compiled through the store, which is code"
    )
    warm: Annotated[str, AfterValidator(_warm)] = Field(
        "", description="buckets ready before a worker is: law/precision/HxW, separated by commas"
    )

    autoscale: Annotated[str, AfterValidator(_range)] = Field(
        "1:1", description="worker processes that the Procfile starts by backlog: MIN:MAX; MIN may be 0"
    )
    flower_url: Annotated[str, AfterValidator(_service)] = Field(
        "", description="where people find Flower, linked from the page; `leym up` sets it; empty: no link"
    )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        origins_of(text)
        return text

    @property
    def host_names(self) -> tuple[str, ...]:
        return names_of(self.hosts)

    @property
    def origins(self) -> tuple[str, ...]:
        return origins_of(self.cors_origins)

    @property
    def database(self) -> str | Path:
        """Address of the job table: a file of SQLite, or a PostgreSQL URL."""
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
        return self.store_url or (self.data / "store").as_uri()

    def environment(self) -> dict[str, str]:
        """Variables for child processes: the same files and addresses, whatever their working directory is."""
        named = {"data": str(self.data)} | {
            name: getattr(self, name) for name in ("redis_url", "database_url", "store_url", "batch_sizes", "rungs")
        }
        return {f"LEYM_{name.upper()}": value for name, value in named.items() if value}


def read_settings() -> Settings:
    """The settings that the environment names now.

    Raises:
        SettingsError: one line that names each wrong variable, its value unless it is a secret, and what is expected.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(map(_sentence, error.errors(include_url=False)))) from None


@lru_cache
def settings() -> Settings:
    """The settings of this process, read once from its environment; wrong ones end it with one line and code 2."""
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
