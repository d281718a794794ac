"""Sends as fast as it goes, and tells how fast that was.

    python3 -I -c SCRIPT ADDRESS PORT BYTES SECONDS <TOKEN

Ends after BYTES or SECONDS, whichever is first. The time runs until the other side says that it has all.
"""

import json
import socket
import sys
import time

CHUNK = bytes(1 << 16)
# How long the other side may be silent. In a LAN that is long; those whose turn is next wait for it.
PATIENCE = 5


def transfer(address, port, limit, seconds, token):
    with socket.create_connection((address, port), timeout=PATIENCE) as connection:
        # What waits in a deep buffer here would still have to go out after the time.
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_NOTSENT_LOWAT", 25), 1 << 17)
        connection.sendall(token)
        begin = time.monotonic()
        sent = 0
        while sent < limit and time.monotonic() - begin < seconds:
            chunk = CHUNK[: limit - sent]
            connection.sendall(chunk)
            sent += len(chunk)
        connection.shutdown(socket.SHUT_WR)
        said = connection.makefile("rb").readline(32)
        took = time.monotonic() - begin
    if said.strip() != b"%d" % sent:
        raise OSError("the other side did not say that it got all %d bytes" % sent)
    return {"error": "", "bytes": sent, "seconds": round(took, 3), "bits_per_second": round(sent * 8 / took)}


def main():
    address, port, limit, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    try:
        told = transfer(address, port, limit, seconds, sys.stdin.read().strip().encode())
    # A port that is none, or an address that is no name: the peer said the one, and a person the other.
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        told = {"error": "the transfer to %s port %s failed: %s" % (address, port, why), "bits_per_second": 0}
    print(json.dumps(told))


main()
