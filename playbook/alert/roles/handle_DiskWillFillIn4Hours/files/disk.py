# Copyright promansible's authors
# SPDX-License-Identifier: Apache-2.0
"""Inspects one file system, and deletes old files from it.

    python3 -I - look|reclaim JSON

Prints one JSON object. `look` changes nothing. An invalid request is answered with {"refused": sentence}.
"""

import fnmatch
import json
import os
import re
import stat
import sys
import time

PSEUDO = {
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "ramfs", "rpc_pipefs", "securityfs", "selinuxfs",
    "sysfs", "tracefs",
}
NETWORK = re.compile(r"(nfs4?|cifs|smb3|smbfs|ceph|9p|afs|glusterfs|lustre|ocfs2|gfs2|fuse(\..+)?)\Z")
# Never delete files from these directories; for the second list, nor from anything below.
WHOLE = {"/", "/home", "/lost+found", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/var", "/var/cache",
         "/var/lib", "/var/log", "/var/mail", "/var/spool"}
BELOW = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
SHOWN = 8
# In bytes, so that the output stays well below the limit of the history, whatever characters the names have.
MAX_TEXT = 200
# A user who can write to a listed directory can nest more levels than there are file descriptors.
MAX_DEPTH = 100


class Refused(Exception):
    """The request is invalid; the text is a sentence."""


def main(verb, request):
    try:
        return {"look": look, "reclaim": reclaim}[verb](request)
    except Refused as why:
        return {"refused": str(why)}


# Validation

def mounts():
    """Maps each mountpoint to its file system type. Of several mounts on one mountpoint, the last is the visible one."""
    with open("/proc/self/mountinfo", "rb") as lines:
        found = {}
        for line in lines:
            front, back = line.rstrip(b"\n").split(b" - ", 1)
            point = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal.group(1), 8)]), front.split(b" ")[4])
            found[os.fsdecode(point)] = os.fsdecode(back.split(b" ")[0])
    return found


def checked_mountpoint(text, points):
    if not text:
        raise Refused("no mountpoint: the alert has no label mountpoint, and disk_will_fill_mountpoint is not set")
    # Accept only an exact mountpoint of this host: no pattern, no option, no path that leads elsewhere.
    if text not in points:
        raise Refused("%s is not a mountpoint of this host" % json.dumps(cut(text)))
    kind = points[text]
    if kind in PSEUDO:
        raise Refused("%s is not a file system that stores files (%s)" % (text, kind))
    if NETWORK.match(kind):
        raise Refused("%s is a network file system (%s): check its server" % (text, kind))
    try:
        room = os.statvfs(text)
    except OSError as why:
        raise Refused("%s does not respond: %s" % (text, why.strerror))
    if room.f_blocks == 0:
        raise Refused("%s is not a file system that stores files (%s, its size is 0)" % (text, kind))
    if room.f_flag & os.ST_RDONLY:
        raise Refused("%s is read-only: nothing can fill it" % text)
    return text


def checked_paths(request):
    """Returns the directories to clean up: [{path, seconds, patterns}]. Checks only the text of each path."""
    checked = []
    for item in request.get("reclaim_paths") or []:
        item = item if isinstance(item, dict) else {"path": item}
        unknown = sorted(str(key) for key in set(item) - {"path", "older_than", "patterns"})
        if unknown:
            raise Refused("disk_will_fill_reclaim_paths: unknown key %s (the keys are path, older_than and patterns)"
                          % unknown[0])
        path = item.get("path")
        if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
            raise Refused("disk_will_fill_reclaim_paths: %s is not an absolute path" % json.dumps(path))
        if "//" in path or os.path.normpath(path) != (path.rstrip("/") or "/"):
            raise Refused("disk_will_fill_reclaim_paths: %s must be written without '..', '.' and '//'" % path)
        path = os.path.normpath(path)
        if path in WHOLE or any(path == top or path.startswith(top + "/") for top in BELOW):
            raise Refused("disk_will_fill_reclaim_paths: files in %s are never deleted; name a directory that"
                          " contains only files that may be deleted" % path)
        patterns = item.get("patterns", ["*"])
        patterns = patterns if isinstance(patterns, list) else [patterns]
        # An empty list must not mean all files.
        if not patterns or not all(patterns):
            raise Refused("disk_will_fill_reclaim_paths: the patterns of %s are empty; omit them to match all files" % path)
        checked.append({
            "path": path,
            "seconds": seconds(item.get("older_than", request.get("older_than"))),
            "patterns": [str(pattern) for pattern in patterns],
        })
    return checked


def seconds(text):
    # A bare 7 is ambiguous: it could mean seconds or days.
    found = re.match(r"([0-9]+)([smhdw])\Z", str(text))
    if not found:
        raise Refused("older_than: %s is not an age such as 7d (s, m, h, d, w)" % json.dumps(text))
    return int(found.group(1)) * UNITS[found.group(2)]


# Inspection

def look(request):
    points = mounts()
    mountpoint = checked_mountpoint(request.get("mountpoint"), points)
    checked_paths(request)
    device = os.stat(mountpoint).st_dev
    found = usage(mountpoint, device, points, float(request["look_seconds"]), int(request["look_depth"]))
    found["deleted_open"] = deleted_open(device)
    measured = measure(mountpoint)
    wanted = float(request["free_ratio"])
    lacking = [what for what in ("bytes", "inodes") if measured["free_%s_ratio" % what] < wanted]
    return {
        "mountpoint": mountpoint,
        "measured": measured,
        "found": found,
        "enough": not lacking,
        "sentence": sentence(request, mountpoint, measured, found, lacking, wanted),
        "journal_bytes": journal_bytes(device),
        "package_cache": package_cache(device),
    }


def measure(mountpoint):
    room = os.statvfs(mountpoint)
    return {
        "avail_bytes": room.f_bavail * room.f_frsize,
        "size_bytes": room.f_blocks * room.f_frsize,
        "free_bytes_ratio": round(room.f_bavail / room.f_blocks, 4),
        "free_inodes": room.f_favail,
        # Some file systems allocate inodes on demand, and report 0.
        "free_inodes_ratio": round(room.f_favail / room.f_files, 4) if room.f_files else 1.0,
    }


def usage(mountpoint, device, points, limit, depth):
    """Finds the largest directories and files, as far as the time allows."""
    os.nice(19)
    until = time.monotonic() + limit
    held, files, linked = {mountpoint: 0}, [], set()
    unreadable, complete = 0, True
    # Each directory, with the one to which its size is added: itself, or its ancestor at the maximum depth.
    waiting = [(mountpoint, mountpoint, 0)]
    while waiting and complete:
        directory, counted, level = waiting.pop()
        try:
            entries = os.scandir(directory)
        except OSError:
            unreadable += 1
            continue
        # A single directory may have millions of entries: check the time for each, and do not load them all into memory.
        for entry in readable(entries):
            if time.monotonic() > until:
                complete = False
                break
            # Do not even stat it: a network file system whose server is gone would hang.
            if entry.path in points:
                continue
            try:
                info = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(info.st_mode):
                if info.st_dev == device:
                    below = entry.path if level < depth else counted
                    held.setdefault(below, 0)
                    waiting.append((entry.path, below, level + 1))
                continue
            if info.st_nlink > 1:
                if (info.st_dev, info.st_ino) in linked:
                    continue
                linked.add((info.st_dev, info.st_ino))
            used = info.st_blocks * 512
            held[counted] += used
            if stat.S_ISREG(info.st_mode):
                files.append((used, entry.path, info.st_mtime))
                if len(files) > 1000:
                    files = sorted(files, reverse=True)[:SHOWN]
    return {
        "directories": [{"path": cut(path), "bytes": total} for total, path in holders(held, mountpoint)[:SHOWN]],
        "files": [{"path": cut(path), "bytes": used, "days_old": round((time.time() - mtime) / 86400, 1)}
                  for used, path, mtime in sorted(files, reverse=True)[:SHOWN]],
        "complete": complete,
        "unreadable_directories": unreadable,
    }


def readable(entries):
    """Yields the entries of a directory, until one cannot be read."""
    with entries:
        try:
            yield from entries
        except OSError:
            return


def holders(held, mountpoint):
    """Returns the directories that use most of the space, each without its subdirectories that are listed separately.

    The size of a directory with less than 5 % of the total is added to its parent.
    """
    least = sum(held.values()) / 20
    named = []
    for path in sorted(held, key=lambda path: -path.count("/")):
        if path == mountpoint:
            continue
        if held[path] >= least:
            named.append((held[path], path))
        else:
            held[os.path.dirname(path)] += held[path]
    named.append((held[mountpoint], mountpoint))
    return [pair for pair in sorted(named, reverse=True) if pair[0]]


def deleted_open(device):
    """Finds deleted files that still use space because a process has them open."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for descriptor in os.listdir("/proc/%s/fd" % pid):
                link = "/proc/%s/fd/%s" % (pid, descriptor)
                name = os.readlink(link)
                # Stat only deleted files: a network file system whose server is gone would hang.
                if not name.endswith(" (deleted)"):
                    continue
                info = os.stat(link)
                if info.st_dev == device and info.st_nlink == 0 and stat.S_ISREG(info.st_mode) and info.st_blocks:
                    with open("/proc/%s/comm" % pid, "rb") as comm:
                        command = os.fsdecode(comm.read().strip())
                    found[info.st_ino] = {
                        "path": cut(name[:-len(" (deleted)")]),
                        "bytes": info.st_blocks * 512,
                        "pid": int(pid),
                        "command": cut(command),
                    }
        except OSError:
            # The process has ended, or belongs to another user.
            continue
    return sorted(found.values(), key=lambda file: -file["bytes"])[:SHOWN]


def journal_bytes(device):
    """Returns the size of the journal on this file system; 0 if it is elsewhere."""
    total = 0
    for top in ("/var/log/journal", "/run/log/journal"):
        for directory, below, names in os.walk(top):
            try:
                is_here = os.stat(directory).st_dev == device
            except OSError:
                is_here = False
            if not is_here:
                below.clear()
                continue
            total += sum(size(os.path.join(directory, name)) for name in names if ".journal" in name)
    return total


def package_cache(device):
    """Returns the size of the packages that apt or dnf caches on this file system: {manager, bytes}."""
    for top, ending, manager in (("/var/cache/apt/archives", ".deb", "apt"), ("/var/cache/dnf", ".rpm", "dnf")):
        if os.path.isdir(top) and os.stat(top).st_dev == device:
            total = sum(size(os.path.join(directory, name))
                        for directory, _, names in os.walk(top) for name in names if name.endswith(ending))
            if total:
                return {"manager": manager, "bytes": total}
    return {"manager": "", "bytes": 0}


def size(path):
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0


# Messages

def sentence(request, mountpoint, measured, found, lacking, wanted):
    said = "%s on %s has %s of %s available (%s)" % (
        mountpoint, request["host"], human(measured["avail_bytes"]), human(measured["size_bytes"]),
        percent(measured["free_bytes_ratio"]))
    if "inodes" in lacking:
        said += " and %s of its inodes" % percent(measured["free_inodes_ratio"])
    said += ", expected at least %s" % percent(wanted)
    fills = ["%s %s" % (item["path"], human(item["bytes"])) for item in found["directories"][:3]]
    said += "; most space is used by %s" % ", ".join(fills) if fills else ""
    said += "; largest file %s %s" % (found["files"][0]["path"], human(found["files"][0]["bytes"])) if found["files"] else ""
    for item in found["deleted_open"][:3]:
        said += "; deleted but held open by %s (pid %d): %s %s" % (
            item["command"], item["pid"], item["path"], human(item["bytes"]))
    if not found["complete"]:
        said += "; the search stopped after disk_will_fill_look_seconds"
    return said


def human(number):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return "%.*f %s" % (0 if unit == "B" else 1, number, unit)
        number /= 1024
    return "%.1f TiB" % number


def percent(ratio):
    return "%.1f %%" % (100 * ratio)


def cut(text):
    """Turns a file name, which may have any bytes, into one line of text."""
    text = os.fsencode(text).decode("utf-8", "replace")
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    if len(text.encode()) <= MAX_TEXT:
        return text
    return text.encode()[:MAX_TEXT - 3].decode("utf-8", "ignore") + "\u2026"


# Deletion

def reclaim(request):
    points = mounts()
    device = os.stat(checked_mountpoint(request.get("mountpoint"), points)).st_dev
    result = {"files": 0, "bytes": 0, "examples": [], "left": []}
    for item in checked_paths(request):
        # Do not even open it: a network file system whose server is gone would hang.
        if NETWORK.match(points.get(mount_of(item["path"], points), "")):
            result["left"].append({"path": cut(item["path"]), "why": "on another file system"})
            continue
        try:
            top = open_directory(item["path"])
        except OSError as why:
            result["left"].append({"path": cut(item["path"]), "why": why.strerror})
            continue
        try:
            if os.fstat(top).st_dev != device:
                result["left"].append({"path": cut(item["path"]), "why": "on another file system"})
            else:
                empty(item, top, device, points, bool(request["check"]), result)
        finally:
            os.close(top)
    return result


def mount_of(path, points):
    while path not in points and path != "/":
        path = os.path.dirname(path)
    return path


def open_directory(path):
    """Opens a path step by step without following symbolic links: a user who can write there must not redirect it."""
    here = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    for name in path.strip("/").split("/"):
        try:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def empty(item, top, device, points, check, result):
    before = time.time() - item["seconds"]
    for directory, below, names, here in os.fwalk(".", dir_fd=top, follow_symlinks=False):
        shown = os.path.normpath(os.path.join(item["path"], directory))
        below[:] = [name for name in below if os.path.join(shown, name) not in points]
        if directory.count("/") >= MAX_DEPTH and below:
            below.clear()
            if len(result["left"]) < SHOWN:
                result["left"].append({"path": cut(shown), "why": "nested more than %d levels deep" % MAX_DEPTH})
        if os.fstat(here).st_dev != device:
            below.clear()
            continue
        for name in names:
            path = os.path.join(shown, name)
            if path in points or not any(fnmatch.fnmatchcase(name, pattern) for pattern in item["patterns"]):
                continue
            try:
                info = os.stat(name, dir_fd=here, follow_symlinks=False)
                if not stat.S_ISREG(info.st_mode) or info.st_mtime > before:
                    continue
                if not check:
                    os.unlink(name, dir_fd=here)
            except FileNotFoundError:
                continue
            except OSError as why:
                if len(result["left"]) < SHOWN:
                    result["left"].append({"path": cut(path), "why": why.strerror})
                continue
            result["files"] += 1
            # Another hard link keeps the space in use.
            result["bytes"] += info.st_blocks * 512 if info.st_nlink == 1 else 0
            if len(result["examples"]) < SHOWN:
                result["examples"].append(cut(path))


print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
