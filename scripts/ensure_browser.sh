#!/usr/bin/env bash
# Make sure that the tests of the screens have a Chromium, and fonts that show Korean; install them where we may.
set -euo pipefail
bin=${1:?usage: scripts/ensure_browser.sh .venv/bin}

# Whether we may install Debian packages without asking anyone.
may_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

find_chromium() {
    command -v chromium || command -v chromium-browser || command -v google-chrome
}

find_playwright_chromium() {
    "$bin/python" - <<'PYTHON'
import pathlib
import sys

from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    path = pathlib.Path(playwright.chromium.executable_path)
sys.exit(not path.exists())
PYTHON
}

shows_korean() {
    command -v fc-list >/dev/null && [ -n "$(fc-list :lang=ko family)" ]
}

install_packages() {
    echo "Installing $* ..."
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

if ! find_chromium >/dev/null && ! find_playwright_chromium; then
    if may_install; then
        install_packages chromium fontconfig fonts-noto-cjk
    elif ! "$bin/playwright" install chromium; then
        echo "The tests of the screens need Chromium: install the package chromium (or Google Chrome)." >&2
        exit 1
    fi
fi

if ! shows_korean; then
    if may_install; then
        install_packages fontconfig fonts-noto-cjk
    else
        echo "Warning: no Korean font is installed, so pictures of the screens show boxes for Korean text:" >&2
        echo "install the package fonts-noto-cjk (Debian, Ubuntu) or google-noto-sans-cjk-fonts (Fedora)." >&2
    fi
fi
