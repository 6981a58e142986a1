#!/usr/bin/env bash
# Brings Chromium for the browser tests where this user may install packages; says so where not.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing Chromium for the browser tests"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null && exit 0
fi
echo "no Chromium here and no right to install it: the browser tests will be skipped." >&2
echo "To run them: sudo apt-get install chromium" >&2
