"""Resolves names through resolvers, and checks the answers. Changes nothing.

Takes one argument, a JSON object: names, resolvers, expected, forbidden, types, timeout, tries, device.
Prints a JSON object: {"refused": SENTENCE} if the input is invalid, otherwise
{"refused": "", "device_fault": TEXT, "up": [], "answer_seconds": [], "answers": [], "faults": [SENTENCE]}.
"""

import ipaddress
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

MAX_QUESTIONS = 50
MAX_SHOWN = 8
SYSTEM = "system"
TYPES = {"A": 1, "AAAA": 28}
CNAME = 5
RCODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
TRUNCATED = 0x0200
LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z", re.IGNORECASE)


class Refused(Exception):
    """The input is invalid."""


class Fault(Exception):
    """The reason why there is no address. `answered` is true if the resolver answered so itself."""

    def __init__(self, why, answered=False):
        super().__init__(why)
        self.answered = answered


class Garbled(Exception):
    """A message that is not a valid answer to the query."""


def plain_name(name):
    plain = name[:-1] if name.endswith(".") else name
    if not plain or len(plain) > 253 or not all(LABEL.match(label) for label in plain.split(".")):
        raise Refused("%r is not a host name (write internationalized names as xn--\u2026)" % name)
    return plain


def endpoint(resolver):
    """Parses the address and port of `1.2.3.4`, `1.2.3.4:53`, `::1` or `[::1]:53`."""
    found = re.match(r"\[(.+)\](?::(\d{1,5}))?\Z|([0-9.]+)(?::(\d{1,5}))?\Z", resolver)
    host = (found.group(1) or found.group(3)) if found else resolver
    port = int((found.group(2) or found.group(4) or 53) if found else 53)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or not 0 < port < 65536:
        raise Refused(
            "%r is not a resolver: give its address, such as 192.0.2.1, 192.0.2.1:5353 or [2001:db8::1]:53" % resolver
        )
    return str(address), port


def networks(texts):
    texts = texts if isinstance(texts, list) else [texts]
    try:
        return [ipaddress.ip_network(str(text), strict=False) for text in texts]
    except ValueError as error:
        raise Refused("%s; give an address or a network, such as 192.0.2.1 or 192.0.2.0/24" % error)


def once(items):
    return list(dict.fromkeys(items))


def device_fault(device):
    """Returns the reason why a network device cannot carry traffic; empty if it can."""
    # Only a name from this list may become part of a path.
    if device not in os.listdir("/sys/class/net"):
        return "the device %s does not exist" % device
    with open("/sys/class/net/%s/flags" % device) as file:
        is_up = int(file.read(), 16) & 1
    if not is_up:
        return "the device %s is not up" % device
    with open("/sys/class/net/%s/carrier" % device) as file:
        return "" if file.read().strip() == "1" else "the device %s has no carrier" % device


def query(number, name, kind):
    wire = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split("."))
    # One question, with recursion desired.
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + wire + b"\0" + struct.pack("!2H", kind, 1)


def read_name(message, at):
    """Returns the name at this offset, in lower case, and its end."""
    labels, end = [], None
    # A pointer may point to other pointers: the limit ends a loop of pointers.
    for _ in range(128):
        length = message[at]
        if length >= 0xC0:
            end = end or at + 2
            at = (length & 0x3F) << 8 | message[at + 1]
        elif length:
            labels.append(message[at + 1 : at + 1 + length].decode("latin-1").lower())
            at += 1 + length
        else:
            return ".".join(labels), end or at + 1
    raise Garbled("its name pointers form a loop")


def read_answer(message, number, name, kind):
    """Returns the flags, and the addresses of the name, following its aliases."""
    try:
        its_number, flags, questions, answers = struct.unpack_from("!4H", message)
        asked, at = read_name(message, 12)
        its_kind, its_class = struct.unpack_from("!2H", message, at)
        if (its_number, questions, asked, its_kind, its_class) != (number, 1, name.lower(), kind, 1):
            raise Garbled("it answers another question")
        if not flags & 0x8000:
            raise Garbled("it is a question itself")
        at += 4
        aliases, addresses = {}, []
        for _ in range(0 if flags & TRUNCATED else answers):
            owner, at = read_name(message, at)
            its_kind, its_class, _, length = struct.unpack_from("!2HIH", message, at)
            at += 10
            data = message[at : at + length]
            if its_class == 1 and its_kind == CNAME:
                aliases[owner] = read_name(message, at)[0]
            elif its_class == 1 and its_kind == kind:
                addresses.append((owner, str(ipaddress.ip_address(data))))
            at += length
    except (IndexError, struct.error, ValueError):
        raise Garbled("it ends too early")
    owners, owner = {name.lower()}, name.lower()
    while aliases.get(owner, owner) not in owners:
        owner = aliases[owner]
        owners.add(owner)
    return flags, [address for owner, address in addresses if owner in owners]


def connect(kind, server, device, timeout):
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    link = socket.socket(family, kind)
    try:
        link.settimeout(timeout)
        if device:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        # Connect, also for UDP: the socket then only receives from this resolver, including its ICMP errors.
        link.connect(server)
    except OSError:
        link.close()
        raise
    return link


def over_udp(server, device, timeout, number, name, kind):
    until = time.monotonic() + timeout
    garbled = None
    with connect(socket.SOCK_DGRAM, server, device, timeout) as link:
        link.send(query(number, name, kind))
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise garbled or socket.timeout()
            link.settimeout(left)
            try:
                return read_answer(link.recv(65535), number, name, kind)
            except socket.timeout:
                raise garbled or socket.timeout()
            except Garbled as error:
                # It may be forged: the real answer may still come.
                garbled = error


def over_tcp(server, device, timeout, number, name, kind):
    until = time.monotonic() + timeout
    question = query(number, name, kind)
    with connect(socket.SOCK_STREAM, server, device, timeout) as link:
        link.sendall(struct.pack("!H", len(question)) + question)
        said = b""
        while len(said) < 2 or len(said) < 2 + struct.unpack_from("!H", said)[0]:
            link.settimeout(max(until - time.monotonic(), 0.001))
            piece = link.recv(65535)
            if not piece:
                raise Garbled("it ends too early")
            said += piece
    return read_answer(said[2:], number, name, kind)


def ask(server, device, timeout, tries, name, kind):
    """Returns the addresses from a resolver for one record type."""
    why = ""
    for _ in range(tries):
        number = struct.unpack("!H", os.urandom(2))[0]
        question = (server, device, timeout, number, name, kind)
        try:
            flags, addresses = over_udp(*question)
            if flags & TRUNCATED:
                flags, addresses = over_tcp(*question)
        except socket.timeout:
            why = "no answer within %g s" % (timeout * tries)
        except Garbled as error:
            why = "an invalid message instead of an answer: %s" % error
        except PermissionError as error:
            reason = "only root may bind to a device" if device and os.geteuid() else "a rule on this host"
            raise Fault("no answer: %s (%s)" % (error.strerror, reason))
        except OSError as error:
            why = "no answer: %s" % (error.strerror or error)
        else:
            rcode = flags & 0xF
            if rcode:
                raise Fault(RCODES.get(rcode, "error code %d" % rcode), answered=True)
            return addresses
    raise Fault(why)


def ask_system(name, types, patience):
    """Returns the addresses from the host's own resolver, as configured in nsswitch.conf."""
    try:
        getent = subprocess.run(
            ["getent", "ahosts", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        raise Fault("no answer within %g s" % patience)
    except OSError as error:
        raise Fault("no answer: getent: %s" % error.strerror)
    if getent.returncode != 0:
        raise Fault("no address (getent exited with %d)" % getent.returncode, answered=True)
    addresses = once(line.split()[0] for line in getent.stdout.decode("latin-1").splitlines() if line.split())
    return [address for address in addresses if ("AAAA" if ":" in address else "A") in types]


def named(nets):
    return ", ".join(re.sub("/(32|128)$", "", str(net)) for net in nets)


def wanted(addresses, expected, forbidden):
    """Returns a description of the expected addresses; empty if these are correct."""
    # A link-local address includes its device.
    got = [ipaddress.ip_address(address.partition("%")[0]) for address in addresses]
    within = lambda address, nets: any(address.version == net.version and address in net for net in nets)
    if any(within(address, forbidden) for address in got):
        return "none of " + named(forbidden)
    if not got or expected and not all(within(address, expected) for address in got):
        return named(expected) or "an address"
    return ""


def ask_for_all(server, asked, name):
    """Returns the addresses of all types. As for programs, an error for one type is ignored if another has an address."""
    addresses, error = [], None
    for kind in asked["types"]:
        try:
            addresses += ask(server, asked["device"], asked["timeout"], asked["tries"], name, TYPES[kind])
        except Fault as fault:
            if not fault.answered:
                raise
            error = error or fault
    if error and not addresses:
        raise error
    return addresses


def look(name, resolver, asked):
    """Resolves one name through one resolver. Returns the seconds (None without an answer), the result and, if that is
    wrong, the expected one.
    """
    begin = time.monotonic()
    addresses, answered, got = [], True, "no address"
    try:
        if resolver == SYSTEM:
            addresses = ask_system(name, asked["types"], asked["timeout"] * asked["tries"])
        else:
            addresses = ask_for_all(endpoint(resolver), asked, name)
    except Fault as fault:
        answered, got = fault.answered, str(fault)
    seconds = time.monotonic() - begin if answered else None
    shown = sorted(once(addresses))
    more = ["and %d more" % (len(shown) - MAX_SHOWN)] if len(shown) > MAX_SHOWN else []
    got = ", ".join(shown[:MAX_SHOWN] + more) or got
    return seconds, got, wanted(addresses, asked["expected"].get(name, []), asked["forbidden"])


def read(text):
    typed = json.loads(text)
    asked = {
        "names": once(plain_name(name) for name in typed["names"]),
        "resolvers": once(typed["resolvers"]),
        "expected": {plain_name(name): networks(nets) for name, nets in typed.get("expected", {}).items()},
        "forbidden": networks(typed.get("forbidden", [])),
        "types": typed["types"],
        "timeout": float(typed["timeout"]),
        "tries": int(typed["tries"]),
        "device": typed.get("device", ""),
    }
    for resolver in asked["resolvers"]:
        if resolver != SYSTEM:
            endpoint(resolver)
    questions = len(asked["names"]) * len(asked["resolvers"])
    if not 0 < questions <= MAX_QUESTIONS:
        raise Refused("names times resolvers are %d queries, 1 to %d are allowed" % (questions, MAX_QUESTIONS))
    if not asked["types"] or not set(asked["types"]) <= set(TYPES):
        raise Refused("the types are %r, but must be A, AAAA or both" % asked["types"])
    if not 0 < asked["timeout"] <= 60 or not 0 < asked["tries"] <= 10:
        raise Refused("the timeout must be greater than 0 and at most 60 s, the tries must be 1 to 10")
    strangers = [name for name in asked["expected"] if name not in asked["names"]]
    if strangers:
        raise Refused("expected addresses are set for %s, which is not among the names" % ", ".join(strangers))
    return asked


def main():
    asked = read(sys.argv[1])
    pairs = [(name, resolver) for name in asked["names"] for resolver in asked["resolvers"]]
    fault = device_fault(asked["device"]) if asked["device"] else ""
    if fault:
        results = [(None, "no query was sent", "the device to be up") for _ in pairs]
    else:
        with ThreadPoolExecutor(16) as pool:
            results = list(pool.map(lambda pair: look(pair[0], pair[1], asked), pairs))
    told = {"refused": "", "device_fault": fault, "up": [], "answer_seconds": [], "answers": [], "faults": []}
    for (name, resolver), (seconds, got, missed) in zip(pairs, results):
        labels = {"name": name, "resolver": resolver}
        told["up"].append(dict(labels, value=int(not missed)))
        if seconds is not None:
            told["answer_seconds"].append(dict(labels, value=round(seconds, 4)))
        told["answers"].append(dict(labels, got=got))
        if missed:
            told["faults"].append("%s from resolver %s: got %s, expected %s" % (name, resolver, got, missed))
    return told


try:
    print(json.dumps(main()))
except Refused as refusal:
    print(json.dumps({"refused": str(refusal)}))
