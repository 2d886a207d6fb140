#!/bin/sh
# Installs Chromium from Debian's packages where there is none; tests that need a browser are skipped without it.
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "browser: no Chromium, and no apt-get or not root: the report's browser tests will be skipped" >&2
    exit 0
fi
echo "browser: installing chromium" >&2
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -q && apt-get install -y -q --no-install-recommends chromium; } >/dev/null 2>&1 </dev/null ||
    echo "browser: Chromium could not be installed: the report's browser tests will be skipped" >&2
