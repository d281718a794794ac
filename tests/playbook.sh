#!/bin/sh
# Lints the playbook tree, and checks the syntax of every role with both supported releases of ansible-core.
set -eu
cd "$(dirname "$0")/.."
venvs=$(pwd)/.venv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Ansible and its linter need no more than this; ignore the caller's configuration.
unset ANSIBLE_CONFIG
export LC_ALL=C.UTF-8 ANSIBLE_HOME="$work/ansible" ANSIBLE_LOCAL_TEMP="$work/tmp"
export ANSIBLE_ROLES_PATH="$(pwd)/playbook/alert/roles:$(pwd)/playbook/routine/roles"

cd playbook
# Python 3.6 in the locale C, as on a plain RHEL 8, can only read ASCII from an argument.
if LC_ALL=C grep -rn --include='*.py' '[^ -~[:space:]]' files alert routine; then
    echo "playbook.sh: programs that run on hosts must be ASCII" >&2
    exit 1
fi
# Without -I, Python as root after a login as another user imports modules from that user's home directory.
if grep -rEn --include='*.yml' 'python3?(, | \}\}", )("-"|-c)' alert routine ||
    grep -rEn -A1 --include='*.yml' '^ *- (python3|"\{\{ ansible_playbook_python \}\}")$' alert routine | grep -E -- '- -c$'; then
    echo "playbook.sh: python3 must be started with -I" >&2
    exit 1
fi
# Before ansible-core 2.19, the last message of an unreachable host is a template for the task that registers it.
if grep -rn --include='*.yml' 'ignore_unreachable:' alert routine; then
    echo "playbook.sh: use wait_for_connection to check whether a host is reachable" >&2
    exit 1
fi
PATH=$venvs/ansible-lint/bin:$PATH XDG_CACHE_HOME="$work/cache" ansible-lint -q --nocolor -- \
    ./*.yml alert/roles/* routine/roles/*

{
    printf -- '- hosts: localhost\n  roles:\n'
    for role in alert/roles/*/ routine/roles/*/; do printf '    - %s\n' "$(basename "$role")"; done
} >"$work/every-role.yml"
for release in 2.16 2.19; do
    for play in run.yml ping.yml "$work/every-role.yml"; do
        "$venvs/ansible-$release/bin/ansible-playbook" --syntax-check -i localhost, \
            -e '{"promansible_hosts": ["localhost"], "promansible_become": false}' "$play" >"$work/said" 2>&1 || {
            cat "$work/said"
            exit 1
        }
    done
done
