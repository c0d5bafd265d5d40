#!/bin/sh
# Starts the broker with its password read from standard input, so that it stands in no argument list.
set -eu
exec valkey-server "${LEYM_VALKEY_CONF:-/etc/leym/valkey.conf}" - <<CONF
requirepass ${LEYM_REDIS_PASSWORD:?the broker needs a password}
CONF
