"""Sends a Wake-on-LAN magic packet.

    wake.py MAC BROADCAST
"""

import socket
import sys

mac = bytes.fromhex(sys.argv[1].replace(":", "").replace("-", ""))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
    out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    # The packet is not acknowledged, so send it more than once.
    for _ in range(3):
        out.sendto(b"\xff" * 6 + mac * 16, (sys.argv[2], 9))
