#!/bin/bash
# One stage of the set-up: its title, its command, and how long it took; its output only where it fails.
#   scripts/stage.sh TITLE COMMAND...
set -euo pipefail

stage() { # title, command...
    local title=$1 began=$SECONDS log code
    shift
    log=$(mktemp -t wfp-hil-stage-XXXXXX)
    printf '  %-34s ' "$title"
    # Not as the condition of an 'if': there bash would go on after a command of a function that fails.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1
    code=$?
    set -e
    if [ "$code" = 0 ]; then
        printf 'ok   %4d s\n' $((SECONDS - began))
        rm -f "$log"
    else
        printf 'FAILED after %d s\n' $((SECONDS - began))
        tail -n 40 "$log" >&2
        echo "error: the stage '$title' failed with code $code; its whole output is in $log." >&2
        exit 3
    fi
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then stage "$@"; fi
