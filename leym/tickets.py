"""Tickets: the Celery messages that tell a worker "this job waits". They hold the job id and nothing else.

`app` is the one Celery application: the API sends with it, Flower watches it, workers add the task and the pool to it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from leym.contract.records import Job
from leym.settings import Settings, settings

TASK = "leym.simulate"
PRIORITY_STEPS = (0, 3, 6, 9)  # Redis sub-queues; the transport serves 0 first
WEEK_S = 7 * 86400


def make_app(configured: Settings) -> Celery:
    """Celery as this service uses it; each setting that is not a default has its reason beside it."""
    app = Celery("leym", set_as_current=False)
    app.conf.update(
        broker_url=configured.redis_url or None,
        broker_use_ssl=tls_of(configured.redis_url),
        broker_connection_retry_on_startup=True,  # the broker may start after its clients
        broker_transport_options={
            "visibility_timeout": WEEK_S,  # leases in the job table recover jobs, long before this
            "socket_timeout": 30,  # the default waits for ever
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "retry_on_timeout": True,
            "health_check_interval": 25,
            "priority_steps": list(PRIORITY_STEPS),
            "sep": ":",  # sub-queues get names that KEDA can spell
        },
        task_default_queue=configured.queue,
        task_default_priority=5,
        task_serializer="json",  # anything else would let whoever can write to Redis run code
        result_serializer="json",
        event_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_ignore_result=True,  # results are in the job table and the frame store
        task_acks_late=True,  # a ticket is done when its job is committed
        task_send_sent_event=True,
        worker_send_task_events=True,  # Flower lists jobs by these
        worker_disable_prefetch=True,  # fetch by the pool's own credit: a free slot, not a count of messages
        worker_prefetch_multiplier=0,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # a blip of the broker must not empty the slots
        worker_hijack_root_logger=True,
    )
    return app


def tls_of(url: str) -> dict[str, Any] | None:
    """How Celery and Flower check the broker's certificate; None for an address without TLS.

    As redis-py does by the address alone: kombu would check nothing unless told to, and Flower reads no query.
    """
    parts = urlsplit(url)
    if parts.scheme != "rediss":
        return None
    said: dict[str, Any] = {key: value for key, value in parse_qsl(parts.query) if key.startswith("ssl_")}
    if "ssl_check_hostname" in said:
        said["ssl_check_hostname"] = said["ssl_check_hostname"].lower() != "false"
    return {"ssl_cert_reqs": "required"} | said


app = make_app(settings())


def configure(configured: Settings) -> None:
    """Send to the broker of these settings from now on."""
    app.conf.update(
        broker_url=configured.redis_url or None,
        broker_use_ssl=tls_of(configured.redis_url),
        task_default_queue=configured.queue,
    )
    app._after_fork()  # forget connections to another broker


def send(job: Job) -> None:
    """Put the job's ticket into the queue. Raises kombu.exceptions.OperationalError if the broker does not take it."""
    _check_broker()
    app.send_task(
        TASK,
        args=(job.id,),
        task_id=job.id,
        priority=queue_priority(job.priority),
        argsrepr=f"{job.id}: {readable(job)}",  # not as the task's name: each name is a label of Flower's metrics
        kwargsrepr="",
        retry=False,
    )


def revoke(job_id: str) -> None:
    """Tell workers that a job is cancelled. It only speeds up what the job table says already.

    Raises kombu.exceptions.OperationalError.
    """
    _check_broker()
    app.control.revoke(job_id, terminate=True)


def waiting(redis_url: str, queue: str, above: int | None = None) -> int:
    """Tickets that no worker has taken yet; with `above`, those that the transport serves before any of that priority.

    Raises redis.exceptions.RedisError.
    """
    own = 10 if above is None else queue_priority(above)
    steps = [step for step, after in zip(PRIORITY_STEPS, (*PRIORITY_STEPS[1:], 10), strict=True) if after <= own]
    with Redis.from_url(redis_url, socket_timeout=5, socket_connect_timeout=2) as redis:
        return sum(int(redis.llen(queue if step == 0 else f"{queue}:{step}")) for step in steps)


def answers(redis_url: str) -> bool:
    """Whether the broker is there."""
    if not redis_url:
        return False
    try:
        with Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2) as redis:
            return bool(redis.ping())
    except RedisError:
        return False


def queue_priority(priority: int) -> int:
    """Ours: 9 is the most urgent. The Redis transport's: 0 is."""
    return 9 - priority


def readable(job: Job) -> str:
    """What Flower shows of a job, beside its id."""
    height, width = job.grid
    return f"{job.law.split('@')[0]} {job.precision} {height}x{width}, {job.steps} steps"


def _check_broker() -> None:
    if not app.conf.broker_url:
        raise OperationalError("no broker is configured (LEYM_REDIS_URL is empty)")


def pool_options(slots: int, look_ahead: int) -> dict[str, Any]:
    """What a worker adds to the configuration."""
    return {
        "worker_pool": "workers.celery_pool:SlotPool",
        "worker_concurrency": slots + look_ahead,
        "worker_consumer": "workers.celery_consumer:TicketConsumer",
    }
