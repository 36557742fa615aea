#!/bin/bash
# Everything that `make run` and `make test` need on this host: Debian packages, the virtual environment and
# libvirt's daemons. Idempotent: a second call finds all in place and takes a moment. Each stage prints its time.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/stage.sh

give_up() { # sentence, hint
    echo "error: $1" >&2
    echo "hint: $2" >&2
    exit 3
}

missing_packages() {
    local name lists=(scripts/packages.txt)
    if grep -qsx 'ID=debian' /etc/os-release; then lists+=(scripts/packages-debian.txt); fi
    for name in $(sed 's/#.*//' "${lists[@]}"); do
        dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || echo "$name"
    done
}

apt_get() {
    local quiet=(env DEBIAN_FRONTEND=noninteractive apt-get)
    if [ "$(id -u)" = 0 ]; then
        "${quiet[@]}" "$@"
    elif sudo -n -l "${quiet[@]}" >/dev/null 2>&1; then
        sudo "${quiet[@]}" "$@"
    else # sudo for apt-get alone
        sudo apt-get "$@"
    fi </dev/null
}

install_packages() {
    # A source that has nothing to do with these packages may be broken: whether it matters, installing shows.
    apt_get update || echo "Some package lists could not be brought up to date."
    apt_get install -y --no-install-recommends "$@"
}

environment_is_current() {
    # A checkout that was moved has programs in it that name the old place.
    [ "$(cat .venv/.installed 2>/dev/null)" = "$(environment_wanted)" ] && .venv/bin/python -c '' 2>/dev/null
}

environment_wanted() { pwd && sha256sum requirements.lock pyproject.toml; }

make_environment() {
    local place
    place=$(head -n 1 .venv/.installed 2>/dev/null || pwd)
    # What was made elsewhere, or by a Python that is gone, is of no use.
    if [ "$place" != "$(pwd)" ] || ! .venv/bin/python -c ''; then rm -rf .venv; fi
    rm -f .venv/.installed
    python3 -m venv .venv
    .venv/bin/python -m pip install --disable-pip-version-check -r requirements.lock
    .venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
    environment_wanted >.venv/.installed
}

echo "setup"
mapfile -t missing < <(missing_packages)
if [ "${#missing[@]}" -gt 0 ]; then
    command -v apt-get >/dev/null || give_up "These packages are missing, and this is no Debian or Ubuntu: ${missing[*]}." \
        "Install what corresponds to them, and put it on the PATH."
    if [ "$(id -u)" != 0 ]; then
        # Outside of the stage, where a question for the password is seen.
        { command -v sudo && sudo -v; } >/dev/null || give_up \
            "These packages are missing, and this user may not install them: ${missing[*]}." \
            "As root: apt-get install --no-install-recommends ${missing[*]}"
    fi
    stage "Debian packages" install_packages "${missing[@]}"
fi
if ! environment_is_current; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || give_up \
        "The harness wants Python 3.11 or newer, and 'python3' is $(python3 --version 2>&1)." \
        "Debian 12 and Ubuntu 24.04 have it; or put a newer 'python3' first on the PATH."
    stage "Python environment" make_environment
fi
stage "libvirt" .venv/bin/python -m harness.hypervisor
