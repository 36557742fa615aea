#!/bin/bash
# Everything that `make run` and `make test` need on this host: Debian packages, the virtual environment and
# libvirt's daemons. Idempotent: a second call finds all in place and takes a moment. Each stage prints its time.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/stage.sh

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

wanted() { sed 's/#.*//; s/[[:space:]]*$//; /^$/d' scripts/packages.txt; }

missing() {
    local name
    for name in $(wanted); do
        dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || echo "$name"
    done
}

install_packages() {
    local names
    mapfile -t names < <(missing)
    as_root apt-get update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${names[@]}"
}

make_venv() {
    python3 -m venv .venv
    .venv/bin/python -m pip install --disable-pip-version-check -r requirements.lock
    .venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
    sha256sum requirements.lock pyproject.toml >.venv/.installed
}

echo "setup"
if [ -n "$(missing)" ]; then
    command -v apt-get >/dev/null || {
        echo "error: these packages are missing and this is not a Debian or Ubuntu: $(missing | tr '\n' ' ')" >&2
        exit 3
    }
    stage "Debian packages" install_packages
fi
if ! sha256sum --status -c .venv/.installed 2>/dev/null; then
    stage "Python environment" make_venv
fi
stage "libvirt" .venv/bin/python -m harness.hypervisor
