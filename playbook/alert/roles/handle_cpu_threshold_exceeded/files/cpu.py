# Copyright promansible's authors
# SPDX-License-Identifier: Apache-2.0
"""Measures CPU usage by process, and renices processes.

    python3 -I - measure|renice JSON

Prints one JSON object. `measure` changes nothing.
"""

import json
import os
import pwd
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK")
CGROUP = "/sys/fs/cgroup"
SHOWN = 8
MAX_TEXT = 100


def main(verb, request):
    return {"measure": measure, "renice": renice}[verb](request)


# Measurement

def measure(request):
    time.sleep(float(request.get("wait", 0)))
    first = sample()
    time.sleep(float(request["seconds"]))
    second = sample()
    passed = second["at"] - first["at"]
    cpus = os.cpu_count() or 1
    machine = share_of_machine(first["machine"], second["machine"])
    own = None
    if first["own"] is not None and second["own"] is not None:
        own = min(1.0, max(0.0, (second["own"] - first["own"]) / passed / cpus))
    use = machine if own is None else own
    busy = processes(first["processes"], second["processes"], passed)
    units = {}
    for process in busy:
        if process["unit"]:
            units[process["unit"]] = units.get(process["unit"], 0) + process["cores"]
    top = [{
        "pid": process["pid"],
        "user": user(process["uid"]),
        "command": process["command"],
        "unit": process["unit"],
        "cores": round(process["cores"], 2),
    } for process in busy[:SHOWN]]
    share = float(request["share"])
    restart = sorted(unit for unit in request["restart_units"] if units.get(unit, 0) >= share)
    lower = [{"pid": process["pid"], "started": process["started"], "command": process["command"]}
             for process in busy
             if process["unit"] not in restart and
             (units.get(process["unit"], 0) >= share and process["unit"] in request["renice_units"] or
              process["cores"] >= share and process["command"] in request["renice_commands"])]
    above = use > float(request["ratio"])
    return {
        "cpus": cpus,
        "use_ratio": round(use, 4),
        "machine_use_ratio": round(machine, 4),
        "processes": top,
        "units": [{"unit": unit, "cores": round(cores, 2)}
                  for unit, cores in sorted(units.items(), key=lambda pair: -pair[1])[:SHOWN]],
        "above": above,
        "restart": restart if above else [],
        "renice": lower if above else [],
        "sentence": sentence(request, use, top),
    }


def sample():
    with open("/proc/stat") as lines:
        machine = [int(number) for number in lines.readline().split()[1:9]]
    own, at = own_seconds(), time.monotonic()
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            process = read(name)
            if process:
                found[int(name)] = process
    return {"at": at, "machine": machine, "own": own, "processes": found}


def own_seconds():
    """Returns the CPU time of a container; None on a machine, whose root cgroup has no type.

    In a container, /proc/stat shows the whole machine.
    """
    if not os.path.exists(CGROUP + "/cgroup.type"):
        return None
    try:
        with open(CGROUP + "/cpu.stat") as lines:
            return int(dict(line.split() for line in lines)["usage_usec"]) / 1e6
    except (OSError, KeyError):
        return None


def share_of_machine(first, second):
    # user nice system idle iowait irq softirq steal: waiting for a disk does not count as usage, as in the alert.
    spent = [after - before for before, after in zip(first, second)]
    total = sum(spent)
    return min(1.0, max(0.0, 1 - (spent[3] + spent[4]) / total)) if total > 0 else 0.0


def read(pid):
    try:
        with open("/proc/%s/stat" % pid, "rb") as file:
            front, back = file.read().rsplit(b")", 1)
        # The name may contain any characters, including parentheses; the numbers begin after the last parenthesis.
        numbers = back.split()
        return {
            "command": clean(front.split(b"(", 1)[1]),
            "ticks": int(numbers[11]) + int(numbers[12]),
            "started": int(numbers[19]),
            "uid": os.stat("/proc/%s" % pid).st_uid,
        }
    except (OSError, IndexError, ValueError):
        return None


def processes(first, second, passed):
    """Returns the processes that used a CPU between two samples, the busiest first."""
    found = []
    for pid, process in second.items():
        before = first.get(pid)
        known = before is not None and before["started"] == process["started"]
        ticks = process["ticks"] - (before["ticks"] if known else 0)
        if ticks > 0:
            found.append({
                "pid": pid,
                "command": process["command"],
                "uid": process["uid"],
                "unit": unit(pid),
                "cores": ticks / TICKS / passed,
                "started": process["started"],
            })
    return sorted(found, key=lambda process: -process["cores"])


def cgroup(pid):
    """Returns the components of the cgroup path that systemd assigned to a process."""
    try:
        with open("/proc/%d/cgroup" % pid, "rb") as lines:
            for line in lines:
                number, controllers, path = line.rstrip(b"\n").split(b":", 2)
                if (number == b"0" or controllers == b"name=systemd") and path != b"/":
                    return path.strip(b"/").split(b"/")
    except (OSError, ValueError):
        pass
    return []


def unit(pid):
    """Returns the system unit of a process; empty if it has none, like kernel threads."""
    # In a container, the path may be that of its host: our part begins at the scope of the first process.
    top, parts = cgroup(1)[:-1], cgroup(pid)
    if parts[:len(top)] != top:
        return ""
    for part in parts[len(top):]:
        if part.endswith((b".service", b".scope")):
            # Anything nested below belongs to this unit.
            return clean(part)
        if not part.endswith(b".slice"):
            # A container outside of any unit has its own services, which may have the same names as the host's.
            return ""
    return ""


def user(uid):
    try:
        return clean(os.fsencode(pwd.getpwuid(uid).pw_name))
    except KeyError:
        return str(uid)


# Messages

def sentence(request, use, top):
    said = "the CPU usage of %s is %.0f %%, expected at most %.0f %%" % (
        request["host"], 100 * use, 100 * float(request["ratio"]))
    named = ["%s (pid %d, user %s, %s) uses %.2f cores" % (
        process["command"], process["pid"], process["user"], process["unit"] or "no unit", process["cores"])
        for process in top[:3]]
    return "%s; %s" % (said, ", ".join(named) if named else "no long-lived process uses the CPUs")


def clean(data):
    text = data.decode("utf-8", "replace")[:MAX_TEXT]
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


# Renicing

def renice(request):
    """Raises the niceness of every thread of the processes. Each thread has its own, and it is never lowered."""
    nice, changed, left = int(request["nice"]), [], []
    for process in request["processes"]:
        pid = int(process["pid"])
        now = read(str(pid))
        if not now or now["started"] != process["started"]:
            continue
        raised = False
        for thread in threads(pid):
            try:
                if os.getpriority(os.PRIO_PROCESS, thread) < nice:
                    if not request["check"]:
                        os.setpriority(os.PRIO_PROCESS, thread, nice)
                    raised = True
            except ProcessLookupError:
                # This thread has ended; others may still run.
                continue
            except OSError as why:
                left.append({"pid": pid, "command": now["command"], "why": why.strerror})
                break
        if raised:
            changed.append({"pid": pid, "command": now["command"]})
    # A unit may have thousands of processes: return their number, and only the first of them.
    return {"number": len(changed), "changed": changed[:SHOWN], "left": left[:SHOWN]}


def threads(pid):
    try:
        return [int(thread) for thread in os.listdir("/proc/%d/task" % pid)]
    except OSError:
        return []


print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
