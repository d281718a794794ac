#!/bin/sh
# Starts the site of this folder, as a service's own start script does; the role calls it over ssh.
cd "$(dirname "$0")" || exit 1
# For tests that need a repair which takes long, or one that does not work.
if [ -e slow ]; then sleep 60; fi
if [ -e blocked ]; then
    echo "the site cannot start: it is blocked" >&2
    exit 1
fi
. ./settings
setsid /usr/bin/python3 ./site.py "$name" "$port" "$owner" </dev/null >>log 2>&1 &
