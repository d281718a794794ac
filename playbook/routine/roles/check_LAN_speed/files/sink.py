"""Receives one transfer and discards the data.

    python3 -I -c SCRIPT BYTES SECONDS <TOKEN

Listens on a free port of all addresses, prints the port, and leaves a child process there. The child accepts one connection
that starts with the token, reads at most BYTES, replies with the number of bytes received, and exits. After SECONDS it exits
in any case.
"""

import hmac
import json
import os
import signal
import socket
import sys
import threading

# The number of simultaneous connections. A client with the token sends it immediately, and gets through.
CALLERS = 32


def listen():
    """Listens on IPv6 and IPv4, or only on IPv4 if IPv6 is disabled."""
    try:
        listener = socket.socket(socket.AF_INET6)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", 0))
    except OSError:
        listener = socket.socket(socket.AF_INET)
        listener.bind(("", 0))
    listener.listen(CALLERS)
    return listener


def take(connection, token, limit, done):
    with connection:
        # Drop a client that sends nothing.
        connection.settimeout(5)
        try:
            said = connection.recv(len(token), socket.MSG_WAITALL)
            if not hmac.compare_digest(said, token) or done.is_set():
                return
            buffer = bytearray(1 << 20)
            got = 0
            while got < limit:
                size = connection.recv_into(buffer)
                if not size:
                    break
                got += size
            connection.sendall(b"%d\n" % got)
            done.set()
        except OSError:
            return


def serve(listener, token, limit):
    done = threading.Event()
    callers = []
    listener.settimeout(0.2)
    while not done.is_set():
        callers = [caller for caller in callers if caller.is_alive()]
        if len(callers) >= CALLERS:
            done.wait(0.2)
            continue
        try:
            connection, _ = listener.accept()
        except OSError:
            continue
        caller = threading.Thread(target=take, args=(connection, token, limit, done), daemon=True)
        caller.start()
        callers.append(caller)


def main():
    limit, seconds = int(sys.argv[1]), int(sys.argv[2])
    token = sys.stdin.read().strip().encode()
    try:
        listener = listen()
    except OSError as error:
        print(json.dumps({"error": "cannot listen: %s" % (error.strerror or error)}))
        return
    if os.fork():
        print(json.dumps({"error": "", "port": listener.getsockname()[1]}))
        return
    # Ansible waits until no process has its pipes open. The alarm ends this process, whatever it is waiting for.
    signal.alarm(seconds)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    serve(listener, token, limit)


main()
