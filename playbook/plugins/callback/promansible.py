# Copyright promansible's authors
# SPDX-License-Identifier: Apache-2.0
"""Reports the events of a play to promansible: one JSON object per line, to the pipe named by PROMANSIBLE_EVENTS."""

from __future__ import annotations

import json
import os
import re
import time

from ansible.plugins.callback import CallbackBase
from ansible.release import __version__

DOCUMENTATION = """
    name: promansible
    type: notification
    short_description: reports the events of a play to promansible
    description:
      - Writes one JSON object per event to the pipe or file named by the environment variable PROMANSIBLE_EVENTS.
      - Does nothing if the variable is not set or the pipe cannot be opened, and never fails a play.
    requirements:
      - enable it with ANSIBLE_CALLBACKS_ENABLED
"""

PROTOCOL = 1
MAX_MESSAGE = 2000
MAX_NAME = 500
MAX_STATS = 100
# Larger facts are not sent. Others are split into lines short enough for promansible to read.
MAX_FACTS = 1 << 20
FACTS_PIECE = 12000
MAX_FINDINGS = 16 * 1024
MAX_DEPTH = 20
MAX_LINES = 5
HIDDEN = "(hidden: no_log)"
# Messages of ansible-core for a module that returns no JSON: the first up to 2.18, the second since, the third for facts.
NO_MODULE = ("MODULE FAILURE", "Module result deserialization failed", "The following modules failed to execute")
SSH = re.compile(r"Shared connection to .* closed|Connection to .* closed|debug[123]: |OpenSSH_|Pseudo-terminal will not ")


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "promansible"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self._pipe = None
        self._play = None
        self._started = {}
        self._at_the_end = set()
        self._left = set()
        self._play_was_ended = False
        path = os.environ.get("PROMANSIBLE_EVENTS")
        if path:
            try:
                self._pipe = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                # The first task of the play checks this variable: no role may run without events.
                os.environ["PROMANSIBLE_HEARS"] = "yes"
            except OSError:
                pass

    def v2_playbook_on_start(self, playbook):
        self._send({"event": "hello", "protocol": PROTOCOL, "ansible": __version__})

    def v2_playbook_on_no_hosts_matched(self):
        self._send({"event": "no_hosts_matched"})

    def v2_playbook_on_play_start(self, play):
        self._play = play

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._begin(task)

    def v2_playbook_on_handler_task_start(self, task):
        self._begin(task)

    def v2_runner_on_start(self, host, task):
        self._started[(host.get_name(), task._uuid)] = time.monotonic()

    def v2_runner_on_ok(self, result):
        self._task(result, "changed" if _result(result).get("changed") else "ok")

    def v2_runner_on_skipped(self, result):
        self._task(result, "skipped")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._task(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result):
        ignored = getattr(_task(result), "ignore_unreachable", False) is True
        self._task(result, "ignored" if ignored else "unreachable")

    def v2_playbook_on_stats(self, stats):
        # By now Ansible has also removed hosts for its own reasons, so this alone proves nothing.
        removed = set() if self._play_was_ended else self._removed()
        hosts = {}
        for host in sorted(set(stats.processed) | self._left | removed):
            counts = stats.summarize(host)
            counts.pop("custom", None)
            for end, there in (("reached", self._at_the_end), ("left", self._left), ("removed", removed)):
                if host in there:
                    counts["end"] = end
                    break
            hosts[host] = counts
            # promansible limits the length of a line, so the stats of a large fleet are sent in several.
            if len(hosts) == MAX_STATS:
                self._send({"event": "stats", "hosts": hosts})
                hosts = {}
        self._send({"event": "stats", "hosts": hosts})

    def _removed(self):
        """Returns the hosts that a role removed from the play (meta: end_host), while the play continues."""
        return set(getattr(self._play, "_removed_hosts", ()))

    def _begin(self, task):
        self._left |= self._removed()
        role = getattr(task, "_role", None)
        if _is_meta(task):
            # If its condition is false, Ansible skips it immediately.
            self._play_was_ended = _meta(task) in ("end_play", "end_batch")
        elif role:
            self._send({
                "event": "begin",
                "role": str(role.get_name())[:MAX_NAME],
                "task": str(task.name or task.action)[:MAX_NAME],
            })

    def _task(self, result, status):
        host, task = _host(result).get_name(), _task(result)
        if getattr(task, "_role", None) is None and "promansible_end" in task.tags and status == "ok":
            self._at_the_end.add(host)
        started = self._started.pop((host, task._uuid), None)
        action = task.action
        if _is_meta(task):
            self._play_was_ended = False
            return
        role = getattr(task, "_role", None)
        well = status in ("ok", "changed", "skipped")
        if status in ("ok", "changed"):
            self._facts(host, task, _result(result))
        # The play's own tasks matter only if they fail; the result of an include is that of its tasks.
        if well and (role is None or action.rpartition(".")[2].startswith(("include_", "import_"))):
            if not (action.endswith("gather_facts") and status != "skipped"):
                return
        values = _result(result)
        findings = None
        if values.get("_ansible_no_log") or task.no_log is True:
            message = HIDDEN
        else:
            message = _message(values, not well)
            try:
                findings = _findings(values) if well else None
            except ValueError as why:
                message = "findings rejected: %s" % why
        event = {
            "event": "task",
            "host": host,
            "role": str(role.get_name())[:MAX_NAME] if role else None,
            "task": str(task.name or task.action)[:MAX_NAME],
            "action": str(action)[:MAX_NAME],
            "status": status,
            "duration_seconds": round(time.monotonic() - started, 3) if started else 0.0,
            "message": message,
        }
        if findings:
            event["findings"] = findings
        self._send(event)

    def _facts(self, host, task, values):
        """Sends the facts of a host, in several lines if needed."""
        # A delegated task returns the facts of another host under this host's name.
        if task.action.rpartition(".")[2] not in ("gather_facts", "setup") or task.delegate_to:
            return
        if values.get("_ansible_no_log") or task.no_log is True or not isinstance(values.get("ansible_facts"), dict):
            return
        try:
            text = json.dumps(_plain(values["ansible_facts"]), ensure_ascii=False)
        except (TypeError, ValueError):
            return
        if len(text) > MAX_FACTS:
            return
        for at in range(0, len(text), FACTS_PIECE):
            piece = text[at:at + FACTS_PIECE]
            self._send({"event": "facts", "host": host, "text": piece, "last": at + FACTS_PIECE >= len(text)})

    def _send(self, event):
        if self._pipe is None:
            return
        try:
            # Output in an unknown encoding must still become valid text: "replace".
            line = memoryview(json.dumps(event, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            while line:
                line = line[os.write(self._pipe, line):]
        except (OSError, TypeError, ValueError):
            # The reader has closed the pipe. The play continues.
            try:
                os.close(self._pipe)
            except OSError:
                pass
            self._pipe = None


# Since 2.19, a result has public attributes, and the old ones are deprecated.
def _result(result):
    values = result.result if hasattr(type(result), "result") else result._result
    return values if isinstance(values, dict) else {}


def _host(result):
    return result.host if hasattr(result, "host") else result._host


def _task(result):
    return result.task if hasattr(result, "task") else result._task


def _is_meta(task):
    return task.action.rpartition(".")[2] == "meta"


def _meta(task):
    return task.args.get("_raw_params") if isinstance(task.args, dict) else None


def _findings(values):
    """Returns the promansible_findings that set_stats with per_host reports; in a loop, those of all items."""
    results = values.get("results")
    findings = {}
    for item in [values] + (results if isinstance(results, list) else []):
        stats = item.get("ansible_stats") if isinstance(item, dict) and not item.get("_ansible_no_log") else None
        if not isinstance(stats, dict) or stats.get("per_host") is not True or not isinstance(stats.get("data"), dict):
            continue
        found = stats["data"].get("promansible_findings")
        if found is None:
            continue
        if not isinstance(found, dict):
            raise ValueError("promansible_findings is not a map of names to values")
        findings.update(_plain(found))
    size = len(json.dumps(findings, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))
    if size > MAX_FINDINGS:
        raise ValueError("%d bytes as JSON exceed the limit of %d" % (size, MAX_FINDINGS))
    return findings


def _plain(value, depth=0):
    """Returns a copy that every JSON parser accepts: with any other value, the whole line would be lost."""
    if depth > MAX_DEPTH:
        raise ValueError("nested more than %d levels deep" % MAX_DEPTH)
    if isinstance(value, dict):
        return {str(name): _plain(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, depth + 1) for inner in value]
    if isinstance(value, (int, float)) and not -1e300 < value < 1e300:
        raise ValueError("a number is not finite")
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _message(values, failed):
    """Returns the message of a result or of its failure; in a loop, that of the first failed item."""
    results = values.get("results")
    # A module's result comes from the managed host: it can be of any type.
    for item in results if isinstance(results, list) else ():
        if failed and isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
            values = item
            break
    if values.get("_ansible_no_log") or "censored" in values:
        return HIDDEN
    said = values.get("msg")
    if said and not isinstance(said, str):
        said = json.dumps(said, default=str)
    said = (said or "").strip()
    if failed and said in ("", "All items completed"):
        # A failed include gives its reason in another field.
        said = str(values.get("reason") or said).strip()
    # If a module did not run, Ansible only reports that it could not parse the result; the host's output has the reason.
    if failed and (not said or said.startswith(NO_MODULE)):
        reason = _module_words(values)
        if reason:
            return reason[-MAX_MESSAGE:]
    # The same applies to a command that failed.
    if not said or failed and said.startswith("non-zero return code"):
        for name in ("stderr", "stdout"):
            tail = str(values.get(name) or "").strip()
            if tail:
                return tail[-MAX_MESSAGE:]
    return said[:MAX_MESSAGE] or None


def _module_words(values, depth=0):
    """Returns the last output lines of a module that did not run. gather_facts has a map of them, one per module."""
    if depth > MAX_DEPTH:
        return None
    if isinstance(values, (list, tuple)):
        inner = values
    elif not isinstance(values, dict) or values.get("_ansible_no_log") or "censored" in values:
        return None
    else:
        for name in ("module_stderr", "module_stdout"):
            words = _last_lines(values.get(name))
            if words:
                return words
        inner = values.values()
    return next(filter(None, (_module_words(value, depth + 1) for value in inner)), None)


def _last_lines(text):
    """Returns the last lines of a text, without messages from ssh and without the frames of a traceback."""
    lines = []
    for line in reversed(text.splitlines() if isinstance(text, str) else ()):
        if line.startswith(("Traceback ", "  File ")) or len(lines) == MAX_LINES:
            break
        if line.strip() and not SSH.match(line):
            lines.insert(0, line.strip())
    return "\n".join(lines)
