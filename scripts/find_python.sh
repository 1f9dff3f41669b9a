#!/usr/bin/env bash
# Print the first Python of this machine that is new enough (3.11) and can make virtual environments.
set -euo pipefail

for name in python3 python3.13 python3.12 python3.11; do
    path=$(command -v "$name") || continue
    if "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        if "$path" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$path"
            exit
        fi
        echo "$path cannot make virtual environments: on Debian and Ubuntu, install python3-venv." >&2
    fi
done
echo "Errata needs Python 3.11 or newer, and none was found: install one, or put it on the PATH as python3." >&2
exit 1
