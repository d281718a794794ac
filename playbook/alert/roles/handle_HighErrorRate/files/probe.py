"""Probes a URL and prints the result as JSON.

    probe.py SETTINGS SECONDS

SETTINGS is JSON: {"url", "probes", "failures_allowed", "probe_seconds", "statuses", "validate_certs"}. A check consists of
"probes" probes, and passes if at most "failures_allowed" of them fail. The script repeats the check until one passes, or
until SECONDS have passed.
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
    """Does not follow redirects: their status counts like any other."""

    def redirect_request(self, *_):
        return None


def too_slow(*_):
    raise TimeoutError


def opener(validate):
    context = ssl.create_default_context()
    if not validate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    # Connect to the host itself, even if its environment sets a proxy.
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), NoRedirect, urllib.request.HTTPSHandler(context=context)
    )


def probe(web, url, seconds):
    """Returns the status code of the response, or the error."""
    # A server that sends a byte now and then never exceeds a socket timeout.
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
    """Returns the error in one line: it may contain text that the server sent in place of a response."""
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
