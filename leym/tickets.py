"""Tickets: Celery messages that tell a worker to run a job. They contain the job id and nothing else.

Trainings have a queue and workers of their own, so that simulations never wait for them.

`app` is the only Celery application. The API sends tickets with it, Flower watches it, and workers add the task and
the pool to it.
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

TASK, TRAINING_TASK = "leym.simulate", "leym.train"
TASKS = (TASK, TRAINING_TASK)
STEER = "leym.steer"  # remote control of workers
PRIORITY_STEPS = (0, 3, 6, 9)  # queues of the Redis transport, which serves 0 first
WEEK_S = 7 * 86400


def make_app(configured: Settings) -> Celery:
    """Create the Celery application; comments give the reason of each setting that differs from the default."""
    app = Celery("leym", set_as_current=False)
    app.conf.update(
        broker_url=configured.redis_url or None,
        broker_use_ssl=tls_of(configured.redis_url),
        broker_connection_retry_on_startup=True,  # the broker may start after its clients
        broker_transport_options={
            "visibility_timeout": WEEK_S,  # leases in the job table recover jobs long before this
            "socket_timeout": 30,  # without it a dead connection would block for ever
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "retry_on_timeout": True,
            "health_check_interval": 25,
            "priority_steps": list(PRIORITY_STEPS),
            "sep": ":",  # names of the queues that KEDA accepts
        },
        task_default_queue=configured.queue,
        task_default_priority=5,
        task_serializer="json",  # pickle would let everyone who can write to Redis run code
        result_serializer="json",
        event_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_ignore_result=True,  # results are in the job table and the frame store
        task_acks_late=True,  # acknowledge a ticket when the end of its job is committed
        task_send_sent_event=True,
        worker_send_task_events=True,  # Flower lists jobs by these events
        worker_disable_prefetch=True,  # the pool fetches a ticket when a slot is free (workers.fetch_limit)
        worker_prefetch_multiplier=0,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # jobs continue through a short outage of the broker
        worker_hijack_root_logger=True,
    )
    return app


def tls_of(url: str) -> dict[str, Any] | None:
    """Return the TLS options of a broker's URL for Celery and Flower; None without TLS.

    They make both verify the certificate, as redis-py does by default: kombu verifies nothing without options, and
    Flower ignores the query of the URL.
    """
    parts = urlsplit(url)
    if parts.scheme != "rediss":
        return None
    options: dict[str, Any] = {key: value for key, value in parse_qsl(parts.query) if key.startswith("ssl_")}
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = options["ssl_check_hostname"].lower() != "false"
    return {"ssl_cert_reqs": "required"} | options


app = make_app(settings())


def configure(configured: Settings) -> None:
    """Switch `app` to the broker of these settings."""
    app.conf.update(
        broker_url=configured.redis_url or None,
        broker_use_ssl=tls_of(configured.redis_url),
        task_default_queue=configured.queue,
    )
    app._after_fork()  # drop the connections to another broker


def send(job: Job) -> None:
    """Put the ticket of a job into the queue.

    Raises:
        kombu.exceptions.OperationalError: the broker does not accept it.
    """
    _check_broker()
    app.send_task(
        TRAINING_TASK if job.is_training else TASK,
        args=(job.id,),
        task_id=job.id,
        queue=training_queue(app.conf.task_default_queue) if job.is_training else app.conf.task_default_queue,
        priority=queue_priority(job.priority),
        argsrepr=f"{job.id}: {summary(job)}",  # not in the name of the task, which is a label of Flower's metrics
        kwargsrepr="",
        retry=False,
    )


def revoke(job_id: str) -> None:
    """Tell workers that a job is cancelled, so that they need not wait until the job table refuses their next write.

    Raises:
        kombu.exceptions.OperationalError: the broker does not accept it.
    """
    _check_broker()
    app.control.revoke(job_id, terminate=True)


def steer(job_id: str) -> None:
    """Tell workers that a user has asked for an intervention, so that they need not wait for their next heartbeat.

    Raises:
        kombu.exceptions.OperationalError: the broker does not accept it.
    """
    _check_broker()
    app.control.broadcast(STEER, arguments={"job_id": job_id})


def training_queue(queue: str) -> str:
    """Return the name of the queue of trainings that belongs to this queue of simulations."""
    return f"{queue}.training"


def waiting_in_all(redis_url: str, queue: str) -> int:
    """Count the tickets in the queues of simulations and of trainings. Errors are those of `waiting`."""
    return waiting(redis_url, queue) + waiting(redis_url, training_queue(queue))


def waiting(redis_url: str, queue: str, above: int | None = None) -> int:
    """Count the tickets in the queue, which no worker has fetched yet.

    Args:
        redis_url: URL of the broker.
        queue: name of the Celery queue.
        above: count only tickets that the transport serves before those of this priority; None counts all.

    Raises:
        redis.exceptions.RedisError: the broker does not answer.
    """
    own = 10 if above is None else queue_priority(above)
    steps = [step for step, after in zip(PRIORITY_STEPS, (*PRIORITY_STEPS[1:], 10), strict=True) if after <= own]
    with Redis.from_url(redis_url, socket_timeout=5, socket_connect_timeout=2) as redis:
        return sum(int(redis.llen(queue if step == 0 else f"{queue}:{step}")) for step in steps)


def answers(redis_url: str) -> bool:
    """Return True if the broker answers a ping."""
    if not redis_url:
        return False
    try:
        with Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2) as redis:
            return bool(redis.ping())
    except RedisError:
        return False


def queue_priority(priority: int) -> int:
    """Convert a priority of the service, where 9 is most urgent, to that of the Redis transport, where 0 is."""
    return 9 - priority


def summary(job: Job) -> str:
    """Describe a job for Flower: law, precision, grid and steps."""
    height, width = job.grid
    if job.is_training:
        return f"training of {job.law} {job.precision} {height}x{width}, {job.steps} updates"
    of = f"{job.law.split('@')[0]} {job.precision} {height}x{width}"
    if job.is_block:
        return f"{of}, {job.members} members of sweep {job.sweep}, {job.spec['steps']} steps each"
    return f"{of}, {job.steps} steps"


def _check_broker() -> None:
    if not app.conf.broker_url:
        raise OperationalError("no broker is configured (LEYM_REDIS_URL is empty)")


def pool_options(tickets: int) -> dict[str, Any]:
    """Return the settings that a worker, which fetches so many tickets at once, adds to those of `app`."""
    return {
        "worker_pool": "workers.celery_pool:SlotPool",
        "worker_concurrency": tickets,
        "worker_consumer": "workers.celery_consumer:TicketConsumer",
    }
