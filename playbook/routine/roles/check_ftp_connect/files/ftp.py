"""Connects to FTP servers, logs in, and lists a directory. Changes nothing.

Reads a JSON object from standard input: servers, user, password, directory, tls, tls_verify, timeout. Every user on the
host can see the arguments of a process.
Prints a JSON object: {"refused": SENTENCE} if the input is invalid, otherwise
{"refused": "", "up": [], "banner_seconds": [], "login_seconds": [], "answers": [], "faults": [SENTENCE]}.
"""

import concurrent.futures
import ftplib
import ipaddress
import json
import os
import re
import socket
import ssl
import sys
import time

MAX_SERVERS = 40
# The limit for all responses of a server: some have long banners, but none that long.
MAX_LINES = 1000
# The total time for a server, in timeouts. Each byte that the server sends restarts the timeout of a response.
PATIENCE = 10
MAX_SAID = 150
LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z", re.IGNORECASE)


class Refused(Exception):
    """The input is invalid."""


class Bounded:
    """Limits the number of lines, because a server may send a response without end."""

    lines = 0

    def getline(self):
        self.lines += 1
        if self.lines > MAX_LINES:
            raise ftplib.Error("its responses have more than %d lines" % MAX_LINES)
        return super().getline()


class PlainFTP(Bounded, ftplib.FTP):
    pass


class SecureFTP(Bounded, ftplib.FTP_TLS):
    """Data connections reuse the TLS session of the control connection, as vsftpd and other servers require."""

    def ntransfercmd(self, cmd, rest=None):
        link, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            link = self.context.wrap_socket(link, server_hostname=self.host, session=self.sock.session)
        return link, size


def endpoint(server):
    """Parses the host and port of `ftp.example.org`, `192.0.2.1:2121`, `::1` or `[::1]:21`."""
    found = re.match(r"\[(.+)\](?::(\d{1,5}))?\Z|([^:]+)(?::(\d{1,5}))?\Z", server)
    host = (found.group(1) or found.group(3)) if found else server
    port = int((found.group(2) or found.group(4) or 21) if found else 21)
    try:
        ipaddress.ip_address(host)
        is_host = True
    except ValueError:
        is_host = ":" not in host and len(host) <= 253 and all(LABEL.match(label) for label in host.split("."))
    if not is_host or not 0 < port < 65536:
        raise Refused("%r is not a server: give its name or address, such as ftp.example.org or 192.0.2.1:2121" % server)
    return host, port


def read(text):
    asked = json.loads(text)
    asked["servers"] = list(dict.fromkeys(asked["servers"]))
    for server in asked["servers"]:
        endpoint(server)
    if not 0 < len(asked["servers"]) <= MAX_SERVERS:
        raise Refused("%d servers are given, 1 to %d are allowed" % (len(asked["servers"]), MAX_SERVERS))
    for what in ("user", "password", "directory"):
        # A line break would start another FTP command.
        if re.search(r"[\r\n\0]", asked[what]):
            raise Refused("the %s has more than one line" % what)
    if not asked["user"]:
        raise Refused("the user is empty: for an anonymous login, it is anonymous")
    asked["timeout"] = float(asked["timeout"])
    if not 0 < asked["timeout"] <= 60:
        raise Refused("the timeout must be greater than 0 and at most 60 s")
    return asked


def wire(text):
    """Encodes text as UTF-8 for ftplib, which is set to Latin-1 because that can decode any response."""
    return text.encode("utf-8").decode("latin-1")


def tidy(text, secret):
    """Returns a server's response in one line, without the password, which the server may repeat."""
    text = text.encode("latin-1", "replace").decode("utf-8", "replace")
    if secret:
        text = text.replace(secret, "(password)")
    return "".join(c if c.isprintable() else " " for c in text).strip()[:MAX_SAID]


def why(error, timeout, secret):
    if isinstance(error, socket.timeout):
        return "no answer within %g s" % timeout
    if isinstance(error, ssl.CertificateError):
        return "the certificate is not valid: %s" % (getattr(error, "verify_message", "") or error)
    if isinstance(error, ssl.SSLError):
        return error.reason or "the connection ended"
    if isinstance(error, OSError):
        return error.strerror or str(error) or "the connection ended"
    return tidy(str(error), secret) or "the connection ended"


def unknown():
    return {"step": "connecting", "banner": "", "entries": None, "banner_seconds": None, "login_seconds": None, "fault": ""}


def look(server, asked, known):
    """Checks one server: stores the results in `known`, and a fault if a step fails."""
    host, port = endpoint(server)
    secret = asked["password"]
    ftp = PlainFTP()
    if asked["tls"]:
        context = ssl.create_default_context()
        if not asked["tls_verify"]:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        ftp = SecureFTP(context=context)
    ftp.encoding = "latin-1"
    begin = time.monotonic()
    try:
        known["banner"] = tidy(ftp.connect(host, port, asked["timeout"]), secret)
        known["banner_seconds"] = time.monotonic() - begin
        begin = time.monotonic()
        if asked["tls"]:
            known["step"] = "TLS"
            ftp.auth()
        known["step"] = "logging in as %s" % asked["user"]
        # For the anonymous user, ftplib uses the conventional password if none is set.
        ftplib.FTP.login(ftp, wire(asked["user"]), wire(secret))
        known["login_seconds"] = time.monotonic() - begin
        if asked["directory"]:
            known["step"] = "listing %s" % asked["directory"]
            if asked["tls"]:
                ftp.prot_p()
            # Do not pass it to LIST, because some servers treat the argument as an option or a pattern.
            ftp.cwd(wire(asked["directory"]))
            known["entries"] = count(ftp)
        ftp.quit()
    except (OSError, EOFError, ValueError, ftplib.Error) as error:
        # A server that closes the connection on QUIT has already answered every request.
        if not (known["login_seconds"] is not None and (known["entries"] is not None or not asked["directory"])):
            known["fault"] = "%s failed: %s" % (known["step"], why(error, asked["timeout"], secret))
    finally:
        ftp.close()


def count(ftp):
    entries = 0

    def one_more(_):
        nonlocal entries
        entries += 1

    ftp.retrlines("LIST", one_more)
    return entries


def wait(look, known, until, asked):
    """Waits for a check, and returns its results when it has ended or its time is up."""
    try:
        look.result(timeout=max(until - time.monotonic(), 0))
        return known
    except concurrent.futures.TimeoutError:
        fault = "%s failed: not finished after %g s" % (known["step"], PATIENCE * asked["timeout"])
        return dict(known, entries=None, fault=fault)


def main():
    asked = read(sys.stdin.read())
    until = time.monotonic() + PATIENCE * asked["timeout"]
    pool = concurrent.futures.ThreadPoolExecutor(MAX_SERVERS)
    looks = [(pool.submit(look, server, asked, known), known)
             for server, known in ((server, unknown()) for server in asked["servers"])]
    results = [wait(look, known, until, asked) for look, known in looks]
    told = {"refused": "", "up": [], "banner_seconds": [], "login_seconds": [], "answers": [], "faults": []}
    for server, known in zip(asked["servers"], results):
        told["up"].append({"server": server, "value": int(not known["fault"])})
        for figure in ("banner_seconds", "login_seconds"):
            if known[figure] is not None:
                told[figure].append({"server": server, "value": round(known[figure], 4)})
        answer = {"server": server, "banner": known["banner"]}
        if known["entries"] is not None:
            answer["entries"] = known["entries"]
        told["answers"].append(answer)
        if known["fault"]:
            told["faults"].append("%s: %s" % (server, known["fault"]))
    return told


try:
    answer = main()
except Refused as refusal:
    answer = {"refused": str(refusal)}
print(json.dumps(answer), flush=True)
# Exit without waiting for the threads of servers that have not finished.
os._exit(0)
