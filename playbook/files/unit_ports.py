"""Reports whether systemd units are active and own their ports, and which sessions a restart would drop.

    python3 -I -c SCRIPT SERVICES SECONDS

SERVICES is a JSON list of {"service", "units", "ports"}. Of the units, the script checks the first that is active, else
the first that is enabled, else the first that exists. A port is written as udp/500. The script repeats the check until
all services are healthy, for up to SECONDS. It changes nothing. It must run as root: otherwise it cannot see which
process owns a port.
"""

import json
import os
import re
import subprocess
import sys
import time

LISTENING = {"udp": "07", "tcp": "0A"}
ESTABLISHED = "01"


def run(*command):
    # Compatible with Python 3.6, the version in RHEL 8.
    pipe = subprocess.PIPE
    try:
        return subprocess.run(command, stdout=pipe, stderr=pipe, timeout=20).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired):
        return ""


def show(unit):
    said = run("systemctl", "show", "--property=Id,LoadState,ActiveState,SubState,UnitFileState,InvocationID", "--", unit)
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def choose(units):
    states = [dict(show(unit), asked=unit) for unit in units]
    there = [state for state in states if state.get("LoadState") == "loaded"]
    for wanted in (lambda s: s["ActiveState"] == "active", lambda s: s.get("UnitFileState") == "enabled"):
        for state in there:
            if wanted(state):
                return state
    return there[0] if there else None


def sockets(protocol, port, state):
    """Returns the inodes of the IPv4 and IPv6 sockets with this local port in this state."""
    inodes = set()
    for table in (protocol, protocol + "6"):
        try:
            with open("/proc/net/" + table, encoding="ascii") as lines:
                rows = [line.split() for line in lines][1:]
        except OSError:
            continue
        inodes.update(row[9] for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] == state)
    return inodes


def processes():
    """Yields the PID, name, unit and socket inodes of each process."""
    # In a container, the path may be that of its host: our part begins at the scope of the first process.
    top = cgroup("1")[:-1]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/comm" % pid, encoding="utf-8", errors="replace") as file:
                name = file.read().strip()
            parts = cgroup(pid)
            inodes = set()
            for number in os.listdir("/proc/%s/fd" % pid):
                try:
                    match = re.match(r"socket:\[(\d+)\]", os.readlink("/proc/%s/fd/%s" % (pid, number)))
                except OSError:
                    continue
                if match:
                    inodes.add(match.group(1))
        except OSError:
            continue
        yield int(pid), name, unit_of(parts[len(top):]) if parts[:len(top)] == top else "", inodes


def cgroup(pid):
    """Returns the components of the cgroup path that systemd assigned to a process."""
    try:
        with open("/proc/%s/cgroup" % pid, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                number, controllers, path = line.rstrip("\n").split(":", 2)
                if (number == "0" or controllers == "name=systemd") and path != "/":
                    return path.strip("/").split("/")
    except (OSError, ValueError):
        pass
    return []


def unit_of(parts):
    """Returns the system unit. Units of a user or a container may have any name; they are nested in one, or in no slice."""
    for part in parts:
        if not part.endswith(".slice"):
            return part if part.endswith((".service", ".scope")) else ""
    return ""


def last_words(unit):
    """Returns the unit's own last log lines. systemd's messages are left out: the state already shows them."""
    words = []
    for line in run("journalctl", "--unit=" + unit, "--lines=20", "--output=json", "--no-pager").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry.get("MESSAGE"), str) and entry.get("SYSLOG_IDENTIFIER") != "systemd":
            words.append(entry["MESSAGE"].strip()[:120])
    return " | ".join(words[-3:])


def look_at(service, alive):
    told = {"service": service["service"], "unit": "", "asked": "", "there": False, "held": False, "healthy": False, "sessions": 0,
            "invocation": ""}
    state = choose(service["units"])
    if state is None:
        told["fault"] = "unit %s does not exist" % " or ".join(service["units"])
        return told
    unit = state["Id"]
    # The invocation ID changes with each start; systemd before 232 has none.
    told.update(unit=unit, asked=state["asked"], there=True, invocation=state.get("InvocationID", ""))
    faults = []
    if state["ActiveState"] != "active":
        faults.append("%s is %s (%s)" % (unit, state["ActiveState"], state["SubState"]))
    for text in service["ports"]:
        protocol, port = text.split("/")
        inodes = sockets(protocol, int(port), LISTENING[protocol])
        holders = [process for process in alive if process[3] & inodes]
        shown = "%s %s" % (protocol.upper(), port)
        if not inodes:
            faults.append("nothing listens on %s" % shown)
        elif not any(its == unit for _, _, its, _ in holders):
            told["held"] = True
            whose = " and ".join("%s (process %d)" % (name, pid) for pid, name, _, _ in holders) or "the kernel"
            faults.append("%s is in use by %s, not by %s" % (shown, whose, unit))
        # A PPTP session is a connection to the port. An L2TP session has no socket of its own, but a pppd process.
        if protocol == "tcp":
            told["sessions"] += len(sockets(protocol, int(port), ESTABLISHED))
    if not told["sessions"]:
        told["sessions"] = sum(name == "pppd" and its == unit for _, name, its, _ in alive)
    told["healthy"] = not faults
    told["fault"] = ", ".join(faults)
    if faults:
        said = last_words(unit)
        told["fault"] += "; its last log lines: %s" % said if said else ""
    return told


def look(services):
    alive = list(processes())
    return [look_at(service, alive) for service in services]


def associations():
    """Returns the number of IPsec security associations in the kernel: they are lost when the daemon restarts."""
    return sum(line.startswith("src ") for line in run("ip", "xfrm", "state").splitlines())


def main():
    services, seconds = json.loads(sys.argv[1]), float(sys.argv[2])
    end = time.monotonic() + seconds
    told = look(services)
    while not all(service["healthy"] for service in told) and time.monotonic() < end:
        time.sleep(0.3)
        told = look(services)
    findings = {
        "vpn_up": [{"value": int(service["healthy"]), "service": service["service"]} for service in told],
        "faults": [service["fault"] for service in told if service["fault"]],
    }
    print(json.dumps({
        "root": os.geteuid() == 0,
        "services": told,
        "findings": findings,
        "sessions": sum(service["sessions"] for service in told),
        "associations": associations(),
    }))


main()
