#!/bin/bash
# One stage of the set-up: its title, its command, and how long it took; its output only where it fails.
#   scripts/stage.sh TITLE COMMAND...
set -euo pipefail

stage() { # title, command...
    local title=$1 began=$SECONDS log
    shift
    log=$(mktemp)
    printf '  %-34s ' "$title"
    if "$@" >"$log" 2>&1; then
        printf 'ok   %4d s\n' $((SECONDS - began))
        rm -f "$log"
    else
        printf 'FAILED after %d s\n' $((SECONDS - began))
        tail -n 40 "$log" >&2
        echo "error: the stage '$title' failed; its whole output is in $log." >&2
        exit 3
    fi
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then stage "$@"; fi
