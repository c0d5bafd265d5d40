"""The faults of a storm. Each does its harm, waits until that is over, and does not help the service to recover."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from redis import Redis
from redis.exceptions import RedisError

from tests.chaos.deployment import LEASE_S, Deployment, await_gone, send
from tests.support.service import until

REACHED_S = 15.0  # if no process reaches the point in this time, the fault has not happened

Harm = Callable[[Deployment, random.Random], bool]  # returns whether it happened


@dataclass(frozen=True)
class Fault:
    """One fault. kills: whether a worker dies, so that its jobs must be claimed again."""

    name: str
    harm: Harm
    needs: str = ""  # "sqlite", "postgresql", "file", "s3"; empty: nothing
    kills: bool = False

    def fits(self, deployment: Deployment) -> bool:
        has = {"postgresql" if deployment.database else "sqlite", "s3" if deployment.store else "file"}
        return not self.needs or self.needs in has


def kill(role: str, everybody: bool = False) -> Harm:
    """Send SIGKILL at a random moment."""

    def harm(deployment: Deployment, chance: random.Random) -> bool:
        pids = deployment.pids(role)
        chosen = pids if everybody or role == "valkey" else [chance.choice(pids)] if pids else []
        for pid in chosen:
            send(pid, signal.SIGKILL)
        await_gone(chosen)
        return bool(chosen)

    return harm


def kill_at(point: str) -> Harm:
    return lambda deployment, chance: deployment.kill_at(point, REACHED_S)


def stop(role: str, seconds: float) -> Harm:
    """Send SIGSTOP, and SIGCONT after a while: to workers after their lease, when other workers have their jobs."""

    def harm(deployment: Deployment, chance: random.Random) -> bool:
        pids = deployment.pids(role)
        if not pids:
            return False
        pid = chance.choice(pids)
        send(pid, signal.SIGSTOP)
        time.sleep(seconds)
        send(pid, signal.SIGCONT)
        return True

    return harm


def term(deployment: Deployment, chance: random.Random) -> bool:
    """Send SIGTERM to a worker under load; the fleet starts another."""
    pids = deployment.pids("worker")
    if pids:
        send(chance.choice(pids), signal.SIGTERM)
    return bool(pids)


def term_and_kill(point: str) -> Harm:
    """Send SIGTERM to a worker, and kill it while it hands its jobs back."""

    def harm(deployment: Deployment, chance: random.Random) -> bool:
        with deployment.ordered(f"kill.{point}") as order:
            if not term(deployment, chance):
                return False
            end = time.monotonic() + REACHED_S
            while order.exists() and time.monotonic() < end:
                time.sleep(0.01)
            return not order.exists()

    return harm


def kill_the_reaper(deployment: Deployment, chance: random.Random) -> bool:
    """Kill a worker, and then the process that queues its jobs again, before it sends their tickets."""
    with deployment.ordered("kill.reap.after") as order:
        if not kill("worker")(deployment, chance):
            return False
        end = time.monotonic() + REACHED_S
        while order.exists() and time.monotonic() < end:
            time.sleep(0.01)
        return not order.exists()


# --- the broker


def with_redis(do: Callable[[Redis], object]) -> Harm:
    def harm(deployment: Deployment, chance: random.Random) -> bool:
        password = (deployment.service.data / "valkey" / "password").read_text()
        config = (deployment.service.data / "valkey" / "valkey.conf").read_text().split()
        with Redis(port=int(config[config.index("port") + 1]), password=password) as redis:
            try:
                do(redis)
            except RedisError:
                return False
        return True

    return harm


def cut_connections(redis: Redis) -> None:
    for kind in ("normal", "pubsub"):
        redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


def kill_and_wipe(deployment: Deployment, chance: random.Random) -> bool:
    """Kill Valkey and remove its append-only file."""
    pids = deployment.pids("valkey")
    for file in (deployment.service.data / "valkey").glob("appendonlydir"):
        shutil.rmtree(file)
    for pid in pids:
        send(pid, signal.SIGKILL)
    await_gone(pids)
    return bool(pids)


# --- the job table


def lock_table(deployment: Deployment, chance: random.Random) -> bool:
    """Hold SQLite's write lock, for up to more than a lease."""
    with sqlite3.connect(deployment.service.data / "jobs.sqlite", timeout=30, isolation_level=None) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(LEASE_S * chance.uniform(0.3, 1.5))
        connection.execute("ROLLBACK")
    connection.close()
    return True


def crash_database(deployment: Deployment, chance: random.Random) -> bool:
    """Kill one backend: PostgreSQL ends all others and recovers from its log."""
    _, *backends = deployment.postgresql_pids()
    if backends:
        send(chance.choice(backends), signal.SIGKILL)
    return bool(backends)


def cut_sessions(deployment: Deployment, chance: random.Random) -> bool:
    engine = sa.create_engine(deployment.database, poolclass=sa.NullPool)
    others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    with engine.connect() as connection:
        connection.execute(sa.text(f"SELECT pg_terminate_backend(pid) {others}"))
    return True


def freeze(pids: Callable[[Deployment], list[int]]) -> Harm:
    """Stop a server for a while."""

    def harm(deployment: Deployment, chance: random.Random) -> bool:
        found = pids(deployment)
        for pid in found:
            send(pid, signal.SIGSTOP)
        time.sleep(LEASE_S * chance.uniform(0.3, 1.5))
        for pid in found:
            send(pid, signal.SIGCONT)
        return bool(found)

    return harm


# --- the frame store and the clocks


def store(mode: str, seconds: float, pause_s: float = 0.0) -> Harm:
    def harm(deployment: Deployment, chance: random.Random) -> bool:
        with deployment.ordered("store", mode=mode, pause_s=pause_s):
            time.sleep(seconds)
        return True

    return harm


def clock(offset_s: float, *roles: str) -> Harm:
    def harm(deployment: Deployment, chance: random.Random) -> bool:
        with deployment.ordered("clock", offset_s=offset_s, roles=roles):
            time.sleep(LEASE_S * 1.5)
        return True

    return harm


# --- everything


def power_cut(deployment: Deployment, chance: random.Random) -> bool:
    deployment.kill_everything()
    until(lambda: deployment.pids("worker"), what="it has started again")
    return True


WORKER_POINTS = (
    *("claim.before", "claim.after", "data.unsynced", "data.unnamed", "data.stored", "checkpoint.stored"),
    *("commit.before", "commit.after", "event.after", "finish.before", "finish.after", "ack.before", "ack.after"),
    "renew.after",
)
API_POINTS = (
    "submit.before",
    "submit.after",
    "ticket.sent",
    "ticket.noted",
    "cancel.after",
    "pause.after",
    "resume.after",
)
END_POINTS = ("handback.before", "handback.after")
FILE_POINTS = ("data.unsynced", "data.unnamed")

FAULTS = [
    Fault("worker killed", kill("worker"), kills=True),
    Fault("all workers killed", kill("worker", everybody=True), kills=True),
    *(
        Fault(f"worker killed at {p}", kill_at(p), "file" if p in FILE_POINTS else "", kills=True)
        for p in WORKER_POINTS
    ),
    Fault("worker stopped beyond its lease, then continued", stop("worker", LEASE_S * 2.5)),
    Fault("worker asked to end", term),
    *(Fault(f"worker asked to end, killed at {p}", term_and_kill(p), kills=True) for p in END_POINTS),
    Fault("worker killed, and its reaper at reap.after", kill_the_reaper, kills=True),
    Fault("API process killed", kill("api")),
    Fault("all API processes killed", kill("api", everybody=True)),
    *(Fault(f"API killed at {p}", kill_at(p)) for p in API_POINTS),
    Fault("Valkey killed", kill("valkey")),
    Fault("Valkey killed and its file removed", kill_and_wipe),
    Fault("Valkey stopped for a while", stop("valkey", 4.0)),
    Fault("FLUSHALL", with_redis(lambda redis: redis.flushall())),
    Fault("every connection of Valkey cut", with_redis(cut_connections)),
    Fault("job table locked", lock_table, "sqlite"),
    Fault("PostgreSQL crashed", crash_database, "postgresql"),
    Fault("PostgreSQL's sessions ended", cut_sessions, "postgresql"),
    Fault("PostgreSQL frozen for a while", freeze(Deployment.postgresql_pids), "postgresql"),
    Fault("S3 frozen for a while", freeze(Deployment.s3_pids), "s3"),
    Fault("store slow", store("slow", 4.0, 1.0)),
    Fault("store failing", store("fail", 4.0)),
    Fault("disk full", store("full", 4.0)),
    Fault("clock of workers an hour ahead", clock(3600.0, "worker")),
    Fault("clock of workers an hour behind", clock(-3600.0, "worker")),
    Fault("clock of everybody an hour ahead, and back", clock(3600.0, "worker", "api")),
    Fault("everything killed and started again", power_cut, kills=True),
]
