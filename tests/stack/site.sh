#!/bin/sh
# Starts the site in this folder, like the start script of a service; the role calls it over ssh.
cd "$(dirname "$0")" || exit 1
# For tests that need a slow repair, or one that fails.
if [ -e slow ]; then sleep 60; fi
if [ -e blocked ]; then
    echo "the site cannot start: it is blocked" >&2
    exit 1
fi
. ./settings
setsid /usr/bin/python3 ./site.py "$name" "$port" "$owner" </dev/null >>log 2>&1 &
