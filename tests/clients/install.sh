#!/usr/bin/env bash
# Installs the clients of others that tests/service/test_clients.py runs, into this folder: Python's beside the service's own
# environment, because they pin other versions of what it uses, and JavaScript's where npm is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

"${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install -qq --requirement requirements.txt
if command -v npm >/dev/null; then
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
else
    echo "npm is missing: tests of JavaScript clients are skipped and say so" >&2
fi
