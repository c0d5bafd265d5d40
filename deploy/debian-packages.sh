#!/usr/bin/env bash
# Installs the Debian packages that the tests use; a second run changes nothing.
# Needed once, with root: `sudo deploy/debian-packages.sh`. The service itself needs none of them on a machine with Python.
set -euo pipefail

packages=(
    make python3-venv
    g++ python3-dev # torch.compile builds its CPU kernels with them
    chromium        # the tests of the web page
    postgresql      # the tests of the job table start a cluster of their own with it
    nginx-light     # the tests of the service behind a proxy
    # the tests of exports open every file with programs of others: ffprobe, identify, ncdump and h5dump
    ffmpeg
    imagemagick
    netcdf-bin
    hdf5-tools
)

nginx=$(command -v nginx || true) # one that is there already is somebody's, and stays as it is
missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --quiet --yes --no-install-recommends "${missing[@]}"

# Debian starts an nginx of its own on port 80 of every address; the tests start theirs on loopback.
if [ -z "$nginx" ] && [ -d /run/systemd/system ]; then
    systemctl disable --now --quiet nginx.service
fi
