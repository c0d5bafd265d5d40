"""Every setting of the service: environment variables with the prefix LEYM_.

The defaults run on one machine with no server installed.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from leym.origins import names_of, origins_of


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LEYM_", extra="ignore")

    data: Path = Field(Path("leym-data"), description="folder of everything the service keeps on this machine")
    redis_url: str = Field(
        "", description="broker and events; empty: `leym up` starts an embedded Valkey in the data folder", repr=False
    )
    database_url: str = Field("", description="job table; empty: SQLite in the data folder", repr=False)
    store_url: str = Field("", description="frame store; empty: files in the data folder", repr=False)
    token: str = Field("", description="what the SDK and the CLI show the API, if it asks for one", repr=False)
    link_key: str = Field("", description="signs shared links; empty: a random key kept in the data folder", repr=False)
    url: str = Field("http://127.0.0.1:8000", description="where the SDK and the CLI find the API")
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
    rate: str = Field("", description="requests of one caller, e.g. `100/second;5000/hour`; empty: no bound")
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
    queue: str = Field("leym", description="name of the Celery queue")
    rungs: str = Field(
        "", description="slots per batch as measured by `leym bench --rungs`; empty: rungs.json in the data folder"
    )
    ship_compiled: bool = Field(
        False, description="1: workers of a kind share what they have compiled through the store, which is code"
    )
    warm: str = Field("", description="buckets ready before a worker is: law/precision/HxW, separated by commas")

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
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data.absolute() / 'jobs.sqlite'}"

    @property
    def ladder(self) -> Path:
        return Path(self.rungs) if self.rungs else self.data.absolute() / "rungs.json"

    @property
    def store(self) -> str:
        return self.store_url or (self.data.absolute() / "store").as_uri()


@lru_cache
def settings() -> Settings:
    """The settings of this process, read once from its environment."""
    return Settings()
