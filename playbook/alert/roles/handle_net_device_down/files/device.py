"""Inspects a network device and prints its state as JSON.

    device.py DEVICE SECONDS ADDRESS ROUTE

The script repeats the check until nothing is missing, or until SECONDS have passed. If ADDRESS or ROUTE is empty, it is
not checked. DEVICE is only compared with the names of the host's devices.
"""

import ipaddress
import json
import subprocess
import sys
import time

PAUSE = 0.2


def ip(*arguments, check=True):
    said = subprocess.run(["ip", "-j", *arguments], check=check, stdout=subprocess.PIPE).stdout
    return json.loads(said.strip() or b"[]")


def has_address(addresses, wanted):
    if wanted == "any":
        return bool(addresses)
    return ipaddress.ip_address(wanted) in map(ipaddress.ip_address, addresses)


def look(name, address, route):
    links = {link["ifname"]: link for link in ip("address", "show") if link}
    if name not in links:
        return {"known": False, "devices": sorted(links)}
    link = links[name]
    flags = link["flags"]
    addresses = [a["local"] for a in link.get("addr_info", []) if a.get("scope") == "global" and "local" in a]
    # The name comes from the host's own list, so it is safe as an argument. A kernel without IPv6 fails to list its routes.
    routes = [r["dst"] for family in ("-4", "-6") for r in ip(family, "route", "show", "dev", name, check=False)]
    up, carrier = "UP" in flags, "LOWER_UP" in flags
    missing = [
        what
        for what, there in (
            ("up", up),
            ("carrier", carrier),
            ("address", not address or has_address(addresses, address)),
            ("route", not route or route in routes),
        )
        if not there
    ]
    return {
        "known": True,
        "loopback": "LOOPBACK" in flags,
        "up": up,
        "carrier": carrier,
        "addresses": addresses,
        "routes": routes,
        "missing": missing,
    }


def main():
    name, seconds, address, route = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4]
    begin = time.monotonic()
    while True:
        found = look(name, address, route)
        waited = time.monotonic() - begin
        if not found["known"] or not found["missing"] or waited >= seconds:
            break
        time.sleep(PAUSE)
    found["waited_seconds"] = round(waited, 3)
    print(json.dumps(found))


main()
