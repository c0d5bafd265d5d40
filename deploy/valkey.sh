#!/bin/sh
# Starts the broker with its users read from standard input, so that their passwords stand in no argument list and no file.
set -eu

for name in LEYM_REDIS_PASSWORD FLOWER_REDIS_PASSWORD; do
    eval "password=\${$name:-}"
    case "$password" in
    '' | *[!A-Za-z0-9]*) echo "$name: the broker needs a password of letters and digits" >&2 && exit 1 ;;
    esac
done

users() {
    awk '{ for (name in ENVIRON) if (name ~ /_REDIS_PASSWORD$/) gsub("[$][{]" name "[}]", ENVIRON[name]); print }' \
        "${LEYM_VALKEY_USERS:-/etc/leym/valkey-users.conf}"
}

exec valkey-server "${LEYM_VALKEY_CONF:-/etc/leym/valkey.conf}" - <<CONF
$(users)
CONF
