"""The broker's users: each may do what its part of the service does, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from leym.settings import Settings
from leym.tickets import make_app
from tests.support.brokers import DEPLOY

DANGEROUS = [
    *("FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET dir /tmp", "DEBUG SLEEP 0", "SHUTDOWN NOSAVE", "KEYS *"),
    *("SCAN 0", "EVAL return(1) 0", "SCRIPT FLUSH", "FUNCTION LIST", "ACL LIST", "ACL SETUSER x on", "MONITOR"),
    *("CLIENT LIST", "CLIENT KILL TYPE normal", "REPLICAOF 127.0.0.1 1", "SAVE", "BGREWRITEAOF", "MODULE LIST"),
    *("INFO", "SWAPDB 0 1", "MIGRATE h 1 k 0 1", "RESTORE k 0 x", "SORT leym", "RENAME leym x"),
    *("GET other", "LPUSH other x", "SET leym-other x", "PUBLISH other x", "SUBSCRIBE other"),
]


@pytest.mark.parametrize("user", ["leym", "flower"])
@pytest.mark.parametrize("command", DANGEROUS)
def test_what_no_part_of_the_service_does_is_refused(command, user, broker):
    with broker.redis(user) as redis, pytest.raises(NoPermissionError):
        redis.execute_command(*command.split())
    broker.refused()


def test_a_script_may_do_no_more_than_who_runs_it(broker):
    with broker.redis("leym") as redis:
        for line in ("redis.call('SET', 'other', 'x')", "redis.call('FLUSHALL')", "redis.call('KEYS', '*')"):
            with pytest.raises(RedisError, match="permission"):
                redis.evalsha(redis.script_load(line), 0)
    broker.refused()


@pytest.mark.parametrize("command", ["LPUSH leym x", "BRPOP leym 1", "DEL leym", "LRANGE leym 0 -1", "HGET unacked x"])
def test_flower_neither_reads_nor_writes_tickets(command, broker):
    with broker.redis("flower") as redis, pytest.raises(NoPermissionError):
        redis.execute_command(*command.split())
    broker.refused()


def test_nobody_comes_in_without_a_name_and_a_password(broker):
    password = broker.passwords["leym"]
    for wrong in ("", f":{password}@", "leym:@", "leym:wrong@", f"default:{password}@"):
        with Redis.from_url(f"redis://{wrong}127.0.0.1:{broker.port}/0") as redis, pytest.raises(RedisError):
            redis.ping()
    assert {why for _, why, _ in broker.refused()} == {"auth"}  # which also leaves nothing to the tests after this


@pytest.mark.parametrize("password", ["", "with space", "a>b", "x\nuser eve on nopass ~* +@all"])
def test_passwords_that_could_say_more_are_refused(password, tmp_path):
    env = {"PATH": os.environ["PATH"], "LEYM_REDIS_PASSWORD": password, "FLOWER_REDIS_PASSWORD": "fine1"}
    done = subprocess.run([DEPLOY / "valkey.sh"], env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert "LEYM_REDIS_PASSWORD: the broker needs a password" in done.stderr


def test_the_keys_of_the_users_are_those_of_the_default_queue():
    lines = re.findall(r"^user (\w+) .*?~(\w+) ", (DEPLOY / "valkey-users.conf").read_text(), re.M)
    queue = make_app(Settings()).conf.task_default_queue
    assert lines == [("leym", queue), ("flower", queue)]
