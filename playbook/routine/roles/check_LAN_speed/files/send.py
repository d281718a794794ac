"""Sends data as fast as possible, and reports the speed.

    python3 -I -c SCRIPT ADDRESS PORT BYTES SECONDS <TOKEN

Stops after BYTES or SECONDS, whichever comes first. The measured time ends when the peer confirms that it has all bytes.
"""

import json
import socket
import sys
import time

CHUNK = bytes(1 << 16)
# The timeout for the peer. It is long for a LAN, but not longer: other hosts wait for their turn.
PATIENCE = 5


def transfer(address, port, limit, seconds, token):
    with socket.create_connection((address, port), timeout=PATIENCE) as connection:
        # Limit the send buffer: a large one would still have to be sent after the time limit.
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
        raise OSError("the peer did not confirm that it received all %d bytes" % sent)
    return {"error": "", "bytes": sent, "seconds": round(took, 3), "bits_per_second": round(sent * 8 / took)}


def main():
    address, port, limit, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    try:
        told = transfer(address, port, limit, seconds, sys.stdin.read().strip().encode())
    # The port comes from the peer and may be out of range; the address comes from the user and may not be a valid name.
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        told = {"error": "the transfer to %s port %s failed: %s" % (address, port, why), "bits_per_second": 0}
    print(json.dumps(told))


main()
