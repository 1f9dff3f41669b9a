#!/usr/bin/env bash
# Resolve every dependency again, newest first, and write requirements.lock.
set -euo pipefail
bin=${1:?usage: scripts/write_lock.sh .venv/bin}

# A lock that is made on the oldest Python that we support can be installed on newer ones, but not the other way round.
if ! "$bin/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
    echo "Write the lock on Python 3.11, the oldest that Errata supports; this is $("$bin/python" --version)." >&2
    exit 1
fi

resolved=$(mktemp)
trap 'rm -f "$resolved"' EXIT
"$bin/pip-compile" --quiet --upgrade --extra dev --strip-extras --allow-unsafe --no-header --annotation-style line \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file "$resolved" pyproject.toml </dev/null

{
    echo "# Every package that Errata and its tests need, with its version. Install it by"
    echo "#     pip install -r requirements.lock && pip install --no-deps -e ."
    echo "# Made by \`make lock\` (scripts/write_lock.sh: pip-compile on Python 3.11); do not edit by hand. PyTorch is named"
    echo "# without its build (+cpu, +cu...), and the GPU libraries that one build of it needs are left to pip."
    # Left out: Errata itself, pip, and what only a GPU build of PyTorch needs.
    grep -vE '^(errata |nvidia-|cuda-|triton|pip=|#|$)' "$resolved" | sed -E 's/^(torch==[0-9.]+)\+[a-z0-9]+/\1/'
} >requirements.lock
