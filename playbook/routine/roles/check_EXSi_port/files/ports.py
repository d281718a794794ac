"""Connects to ports 443 and 902 of ESXi hosts, and checks their responses. Changes nothing.

Takes one argument, a JSON object: targets, tls, banner, timeout.
Prints a JSON object: {"refused": SENTENCE} if the input is invalid, otherwise
{"refused": "", "up": [], "connect_seconds": [], "answers": [], "faults": [SENTENCE]}.
"""

import ipaddress
import json
import re
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor

HTTPS, AUTHD = 443, 902
MAX_TARGETS = 40
MAX_BANNER = 100
LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z", re.IGNORECASE)


class Refused(Exception):
    """The input is invalid."""


def is_host(text):
    try:
        ipaddress.ip_address(text)
        return True
    except ValueError:
        return 0 < len(text) <= 253 and all(LABEL.match(label) for label in text.split("."))


def read(text):
    asked = json.loads(text)
    asked["targets"] = list(dict.fromkeys(asked["targets"]))
    for target in asked["targets"]:
        if not is_host(target):
            raise Refused("%r is neither a host name nor an address" % target)
    if not 0 < len(asked["targets"]) <= MAX_TARGETS:
        raise Refused("%d targets are given, 1 to %d are allowed" % (len(asked["targets"]), MAX_TARGETS))
    asked["timeout"] = float(asked["timeout"])
    if not 0 < asked["timeout"] <= 60:
        raise Refused("the timeout must be greater than 0 and at most 60 s")
    return asked


def why(error, timeout):
    if isinstance(error, socket.timeout):
        return "no answer within %g s" % timeout
    if isinstance(error, ssl.SSLError):
        return error.reason or "the connection ended"
    return error.strerror or str(error) or "the connection ended"


def shake_hands(link):
    # An ESXi host usually has a self-signed certificate, and nothing secret is sent: only the TLS handshake counts.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(link) as secure:
        return secure.version()


def read_line(link, until):
    said = b""
    while b"\n" not in said and len(said) < 1000:
        left = until - time.monotonic()
        if left <= 0:
            raise socket.timeout()
        link.settimeout(left)
        piece = link.recv(1000)
        if not piece:
            break
        said += piece
    line = said.split(b"\n")[0].decode("ascii", "replace").strip()
    return "".join(c if c.isprintable() else "?" for c in line)[:MAX_BANNER]


def look(target, port, asked):
    """Checks one port. Returns the seconds until the connection (or None), the response, and the fault (or "")."""
    begin = time.monotonic()
    seconds = None
    try:
        with socket.create_connection((target, port), asked["timeout"]) as link:
            seconds = time.monotonic() - begin
            if port == HTTPS:
                return seconds, shake_hands(link) if asked["tls"] else "connected", ""
            if not asked["banner"]:
                return seconds, "connected", ""
            banner = read_line(link, time.monotonic() + asked["timeout"])
    except OSError as error:
        if seconds is None:
            return None, "", "no connection: %s" % why(error, asked["timeout"])
        step = "the TLS handshake" if port == HTTPS else "reading the banner"
        return seconds, "", "%s failed: %s" % (step, why(error, asked["timeout"]))
    if banner.startswith(asked["banner"]):
        return seconds, banner, ""
    return seconds, banner, "the banner is %r, expected %r\u2026" % (banner, asked["banner"])


def main():
    asked = read(sys.argv[1])
    pairs = [(target, port) for target in asked["targets"] for port in (HTTPS, AUTHD)]
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda pair: look(pair[0], pair[1], asked), pairs))
    told = {"refused": "", "up": [], "connect_seconds": [], "answers": [], "faults": []}
    for (target, port), (seconds, said, fault) in zip(pairs, results):
        labels = {"target": target, "port": str(port)}
        told["up"].append(dict(labels, value=int(not fault)))
        if seconds is not None:
            told["connect_seconds"].append(dict(labels, value=round(seconds, 4)))
        told["answers"].append(dict(labels, said=said))
        if fault:
            told["faults"].append("port %d of %s: %s" % (port, target, fault))
    return told


try:
    print(json.dumps(main()))
except Refused as refusal:
    print(json.dumps({"refused": str(refusal)}))
