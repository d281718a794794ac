"""Requests websites, and reports the status and response time of each.

    python3 -I -c SCRIPT <REQUEST

REQUEST is JSON: urls, device, proxy, ca_file, statuses, text, timeout. It is read from standard input because the password
of a proxy must not appear in the process list.
"""

import base64
import concurrent.futures
import http.client
import json
import os
import socket
import ssl
import sys
import time
import urllib.parse

MAX_BODY = 1 << 20
MAX_SAID = 200


def connector(device):
    """Returns a function like socket.create_connection that only uses this device."""

    def connect(address, timeout, source_address=None):
        last = OSError("no address")
        for family, kind, protocol, _, target in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            link = socket.socket(family, kind, protocol)
            try:
                link.settimeout(timeout)
                if device:
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
                link.connect(target)
                return link
            except OSError as error:
                link.close()
                last = error
        raise last

    return connect


def connection_to(url, request):
    """Returns the connection, the request target, and the headers for the proxy, if any."""
    parts = urllib.parse.urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    proxy = urllib.parse.urlsplit(request["proxy"]) if request["proxy"] else None
    headers = {}
    if proxy and proxy.username:
        secret = "%s:%s" % (urllib.parse.unquote(proxy.username), urllib.parse.unquote(proxy.password or ""))
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
    host, its_port = (proxy.hostname, proxy.port or 80) if proxy else (parts.hostname, port)
    if parts.scheme == "https":
        # This verifies certificates and host names.
        context = ssl.create_default_context(cafile=request["ca_file"] or None)
        connection = http.client.HTTPSConnection(host, its_port, timeout=request["timeout"], context=context)
        if proxy:
            connection.set_tunnel(parts.hostname, port, headers)
            headers = {}
    else:
        connection = http.client.HTTPConnection(host, its_port, timeout=request["timeout"])
        if proxy:
            target = "http://" + parts.netloc + target
            headers["Host"] = parts.netloc
    connection._create_connection = connector(request["device"])
    return connection, target, headers


def ask(url, request):
    begin = time.monotonic()
    connection, target, headers = connection_to(url, request)
    try:
        connection.request("GET", target, headers={"User-Agent": "promansible", "Accept": "*/*", **headers})
        answer = connection.getresponse()
        first = time.monotonic() - begin
        body = bytearray()
        while len(body) < MAX_BODY and time.monotonic() - begin < request["timeout"]:
            part = answer.read1(1 << 16)
            if not part:
                break
            body += part
    finally:
        connection.close()
    told = {
        "status": answer.status,
        "first_byte_seconds": round(first, 6),
        "seconds": round(time.monotonic() - begin, 6),
        "fault": "",
    }
    if answer.status not in request["statuses"]:
        told["fault"] = "status %d" % answer.status
    elif request["text"] and request["text"].encode() not in body:
        told["fault"] = "status %d, without the text %s" % (answer.status, json.dumps(request["text"]))
    return told


def said(text):
    """Returns the error in one line: it may contain arbitrary text that the server sent in place of a response."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:MAX_SAID]


def outcome(future, left, request):
    try:
        return future.result(timeout=max(left, 0))
    except (concurrent.futures.TimeoutError, TimeoutError):
        return {"fault": "no answer within %g s" % request["timeout"]}
    except ssl.CertificateError as error:
        return {"fault": "its certificate is not valid: %s" % getattr(error, "verify_message", error)}
    except (OSError, http.client.HTTPException, ValueError) as error:
        return {"fault": said(getattr(error, "strerror", None) or str(error) or type(error).__name__)}


def ask_all(request):
    # The device often disappears when the VPN goes down.
    if request["device"] and request["device"] not in os.listdir("/sys/class/net"):
        fault = "network device %s does not exist: is the VPN up?" % request["device"]
        return [{"url": url, "fault": fault} for url in request["urls"]]
    end = time.monotonic() + request["timeout"]
    # Name resolution has no timeout of its own, so do not wait for the threads.
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=len(request["urls"]))
    asked = [(url, pool.submit(ask, url, request)) for url in request["urls"]]
    return [{"url": url, **outcome(future, end - time.monotonic(), request)} for url, future in asked]


def main():
    request = json.load(sys.stdin)
    sites = ask_all(request)
    findings = {
        "web_up": [{"value": int(not site["fault"]), "url": site["url"]} for site in sites],
        "web_seconds": [{"value": site["seconds"], "url": site["url"]} for site in sites if "seconds" in site],
        "sites": sites,
    }
    print(json.dumps({
        "findings": findings,
        "reachable": ", ".join(site["url"] for site in sites if not site["fault"]),
        "unreachable": ", ".join("%s (%s)" % (site["url"], site["fault"]) for site in sites if site["fault"]),
    }), flush=True)
    os._exit(0)


main()
