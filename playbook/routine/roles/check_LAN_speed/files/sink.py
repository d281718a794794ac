"""Takes one transfer from one host and forgets what it got.

    python3 -I -c SCRIPT ADDRESS SOURCE BYTES SECONDS

Listens on ADDRESS, on a free port, says which, and leaves a child there that accepts one connection from SOURCE that
begins with the token, reads BYTES at most, answers how many there were, and ends. After SECONDS it ends in any case.
"""

import hmac
import json
import os
import secrets
import signal
import socket
import sys


def serve(listener, source, token, limit):
    buffer = bytearray(1 << 20)
    while True:
        connection, peer = listener.accept()
        with connection:
            if peer[0] != source:
                continue
            # Whoever says nothing must not keep the others from it.
            connection.settimeout(5)
            try:
                said = connection.recv(len(token), socket.MSG_WAITALL)
                if not hmac.compare_digest(said, token):
                    continue
                got = 0
                while got < limit:
                    size = connection.recv_into(buffer)
                    if not size:
                        break
                    got += size
                connection.sendall(b"%d\n" % got)
            except OSError:
                continue
            return


def main():
    address, source, limit, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.socket(family)
        listener.bind((address, 0))
        listener.listen(8)
    except OSError as error:
        print(json.dumps({"error": "cannot listen on %s: %s" % (address, error.strerror or error)}))
        return
    token = secrets.token_hex(16)
    if os.fork():
        print(json.dumps({"error": "", "port": listener.getsockname()[1], "token": token}))
        return
    # Ansible waits until nobody holds its pipes any more. The alarm ends this process whatever it waits for.
    signal.alarm(seconds)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    serve(listener, source, token.encode(), limit)


main()
