"""A small web site that can break: `/` says hello, `/metrics` is for Prometheus. Usage: site.py NAME PORT OWNER"""

import http.server
import os
import sys
import threading
import time

NAME, PORT, OWNER = sys.argv[1], int(sys.argv[2]), sys.argv[3]
STARTED = time.time()
requests = 0


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global requests
        requests += 1
        if self.path == "/metrics":
            body = (
                "# HELP site_requests_total Requests answered since the start.\n"
                "# TYPE site_requests_total counter\n"
                f"site_requests_total {requests}\n"
                "# HELP site_start_time_seconds When the site was started.\n"
                "# TYPE site_start_time_seconds gauge\n"
                f"site_start_time_seconds {STARTED:.3f}\n"
            )
        else:
            body = f"Hello from {NAME}.\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


def leave_with_owner():
    """Whoever made this site may be killed; it must not outlive them."""
    while os.path.exists(f"/proc/{OWNER}"):
        time.sleep(0.5)
    os._exit(0)


server = Server(("127.0.0.1", PORT), Site)
# Written only once the port is ours; renamed into place, so that nobody reads half a number.
with open("pid.new", "w") as pid:
    pid.write(str(os.getpid()))
os.rename("pid.new", "pid")
threading.Thread(target=leave_with_owner, daemon=True).start()
server.serve_forever()
