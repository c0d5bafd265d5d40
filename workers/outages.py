"""Exceptions that mean "unreachable at the moment": the same call may succeed later."""

from __future__ import annotations

from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError

TABLE_UNAVAILABLE = (OperationalError, InterfaceError)
STORE_OR_TABLE_UNAVAILABLE = (OSError, *TABLE_UNAVAILABLE)
BROKER_UNAVAILABLE = (BrokerError, RedisError, OSError)
