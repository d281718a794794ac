"""Reports whether this host has a route to ADDRESS, through which device, and the device's link speed.

    python3 -I -c SCRIPT ADDRESS
"""

import json
import re
import socket
import subprocess
import sys


def device_of(target, source):
    command = ["ip", "-oneline", "route", "get", target, "from", source]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
    match = re.search(r"\bdev (\S+)", said)
    return match.group(1) if match else ""


def link_bits_per_second(device):
    """Returns the link speed, or None if it is unknown: virtual devices and unplugged cables report -1 or nothing."""
    try:
        with open("/sys/class/net/%s/speed" % device, encoding="ascii") as file:
            megabits = int(file.read())
    except (OSError, ValueError):
        return None
    # An unknown speed can also be read as an unsigned -1.
    return megabits * 1000000 if 0 < megabits < 0xFFFFFFFF else None


def main():
    name = sys.argv[1]
    try:
        family, kind, _, _, address = socket.getaddrinfo(name, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            # This sends nothing: the kernel only looks up the route.
            probe.connect(address)
            source = probe.getsockname()[0]
        device = device_of(address[0], source)
    except OSError as error:
        print(json.dumps({"error": "no route to %s: %s" % (name, error.strerror or error), "links": []}))
        return
    speed = link_bits_per_second(device)
    links = [] if speed is None else [{"value": speed // 8, "device": device}]
    print(json.dumps({"error": "", "links": links}))


main()
