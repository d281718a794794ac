"""Tells of systemd units whether they are active and hold their ports, and what would be cut by a restart.

    python3 -I -c SCRIPT SERVICES SECONDS

SERVICES is a JSON list of {"service", "units", "ports"}: of the units the first is looked at that is active, enabled or
at least there; a port is written udp/500. With SECONDS it looks again until all are well, that long at most. It only
looks. It must be root's, or it does not see whose the ports are.
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
    # As Python 3.6 has it, which RHEL 8 brings.
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
    """The inodes of the sockets with this local port in this state, over IPv4 and IPv6."""
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
    """Each process: its number, name, unit, and the inodes of its sockets."""
    # In a container the path may be that of its host: ours begins where the first process has its scope.
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
    """The parts of the path that systemd gave to a process."""
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
    """The system's unit. A user's or a container's own may have any name, and lies below one or in no slice."""
    for part in parts:
        if not part.endswith(".slice"):
            return part if part.endswith((".service", ".scope")) else ""
    return ""


def last_words(unit):
    """The last lines that it wrote itself: what systemd says of a unit is known from its state."""
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
        told["fault"] = "there is no unit %s" % " or ".join(service["units"])
        return told
    unit = state["Id"]
    # It is another one after each start; systemd before 232 knows none.
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
            faults.append("%s is held by %s, not by %s" % (shown, whose, unit))
        # A PPTP session is a connection to the port; one of L2TP has no socket of its own, but its pppd.
        if protocol == "tcp":
            told["sessions"] += len(sockets(protocol, int(port), ESTABLISHED))
    if not told["sessions"]:
        told["sessions"] = sum(name == "pppd" and its == unit for _, name, its, _ in alive)
    told["healthy"] = not faults
    told["fault"] = ", ".join(faults)
    if faults:
        said = last_words(unit)
        told["fault"] += "; it last said: %s" % said if said else ""
    return told


def look(services):
    alive = list(processes())
    return [look_at(service, alive) for service in services]


def associations():
    """How many IPsec security associations the kernel has: they go with their daemon."""
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
