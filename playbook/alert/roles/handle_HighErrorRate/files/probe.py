"""Probes a URL and prints what came of it as JSON.

    probe.py SETTINGS SECONDS

SETTINGS is JSON: {"url", "probes", "failures_allowed", "probe_seconds", "statuses", "validate_certs"}. A look is so many
probes. It is well if no more fail than are allowed. Looks are repeated until one is well or SECONDS are over.
"""

import json
import signal
import ssl
import sys
import time
import urllib.error
import urllib.request

PAUSE = 0.2
MAX_SAID = 200


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other."""

    def redirect_request(self, *_):
        return None


def too_slow(*_):
    raise TimeoutError


def opener(validate):
    context = ssl.create_default_context()
    if not validate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    # The host itself is asked, whatever proxies its environment names.
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), NoRedirect, urllib.request.HTTPSHandler(context=context)
    )


def probe(web, url, seconds):
    """The status of the answer, or why there is none."""
    # A server that sends a byte now and then never runs into a socket's timeout.
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with web.open(url) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except TimeoutError:
        return "too slow"
    except urllib.error.URLError as error:
        return "too slow" if isinstance(error.reason, TimeoutError) else said(error.reason)
    except Exception as error:
        return said(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def said(error):
    """Why there is no answer, in one line: it may be what the server said in place of one."""
    text = str(error) or type(error).__name__
    return "".join(letter if letter.isprintable() else " " for letter in text)[:MAX_SAID]


def look(web, ask):
    answers, failures, slowest = {}, 0, 0.0
    for number in range(ask["probes"]):
        if number:
            time.sleep(PAUSE)
        begin = time.monotonic()
        answer = probe(web, ask["url"], ask["probe_seconds"])
        slowest = max(slowest, time.monotonic() - begin)
        failures += answer not in ask["statuses"]
        answers[str(answer)] = answers.get(str(answer), 0) + 1
    return {
        "well": failures <= ask["failures_allowed"],
        "probes": ask["probes"],
        "failures": failures,
        "slowest_seconds": round(slowest, 3),
        "answers": answers,
    }


def main():
    ask, seconds = json.loads(sys.argv[1]), float(sys.argv[2])
    web = opener(ask["validate_certs"])
    signal.signal(signal.SIGALRM, too_slow)
    begin = time.monotonic()
    while True:
        found = look(web, ask)
        waited = time.monotonic() - begin
        if found["well"] or waited >= seconds:
            break
        time.sleep(PAUSE)
    found["waited_seconds"] = round(waited, 3)
    print(json.dumps(found))


main()
