# Copyright promansible's authors
# SPDX-License-Identifier: Apache-2.0
"""Tells promansible what happens in a play: one JSON object a line, into the pipe named by PROMANSIBLE_EVENTS."""

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
    short_description: tells promansible what happens in a play
    description:
      - Writes one JSON object per event to the pipe or file named by the environment variable PROMANSIBLE_EVENTS.
      - Does nothing where that is not set or cannot be opened, and never fails a play.
    requirements:
      - enable it with ANSIBLE_CALLBACKS_ENABLED
"""

PROTOCOL = 1
MAX_MESSAGE = 2000
MAX_NAME = 500
MAX_STATS = 100
# Larger facts are left out, and what is sent is cut into lines that promansible reads.
MAX_FACTS = 1 << 20
FACTS_PIECE = 12000
MAX_FINDINGS = 16 * 1024
MAX_DEPTH = 20
MAX_LINES = 5
HIDDEN = "(hidden: no_log)"
# What ansible-core says where a module's answer is no JSON: the first up to 2.18, the second since, the third for facts.
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
                # The play's first task asks for it: without being heard no role is to run.
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
        # By now Ansible has also removed hosts for reasons of its own, so this alone proves nothing.
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
            # A line must not be longer than promansible reads, so a large fleet takes several.
            if len(hosts) == MAX_STATS:
                self._send({"event": "stats", "hosts": hosts})
                hosts = {}
        self._send({"event": "stats", "hosts": hosts})

    def _removed(self):
        """The hosts that a role took out of the play (meta: end_host), as long as the play goes on."""
        return set(getattr(self._play, "_removed_hosts", ()))

    def _begin(self, task):
        self._left |= self._removed()
        role = getattr(task, "_role", None)
        if _is_meta(task):
            # Where its condition does not hold, it is skipped at once.
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
        # The play's own steps are of interest only where they go wrong; an include's result is that of its tasks.
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
                message = "the findings are left out: %s" % why
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
        """What was gathered of a host, in as many lines as it takes."""
        # Facts of another host, to which the task was delegated, come under this one's name.
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
            # What a program wrote in no known encoding must still be text for others: "replace".
            line = memoryview(json.dumps(event, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            while line:
                line = line[os.write(self._pipe, line):]
        except (OSError, TypeError, ValueError):
            # Whoever listened is gone. The play goes on.
            try:
                os.close(self._pipe)
            except OSError:
                pass
            self._pipe = None


# From 2.19 on a result has public names, and the old ones are deprecated.
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
    """What set_stats with per_host reports as promansible_findings, of all items if it was a loop."""
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
        raise ValueError("they have %d bytes as JSON, and may have %d" % (size, MAX_FINDINGS))
    return findings


def _plain(value, depth=0):
    """A copy that every reader of JSON takes: a line with anything else in it would be lost as a whole."""
    if depth > MAX_DEPTH:
        raise ValueError("they are nested more than %d deep" % MAX_DEPTH)
    if isinstance(value, dict):
        return {str(name): _plain(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, depth + 1) for inner in value]
    if isinstance(value, (int, float)) and not -1e300 < value < 1e300:
        raise ValueError("a number in them is not finite")
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _message(values, failed):
    """What was said, or what went wrong: with the first item that failed, if it was a loop."""
    results = values.get("results")
    # A module's result is the managed host's word: it can be of any type.
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
        # What could not be included says why elsewhere.
        said = str(values.get("reason") or said).strip()
    # Where a module did not run, Ansible only says that it did not understand it; what the host wrote says why.
    if failed and (not said or said.startswith(NO_MODULE)):
        reason = _module_words(values)
        if reason:
            return reason[-MAX_MESSAGE:]
    # The same of a program that failed.
    if not said or failed and said.startswith("non-zero return code"):
        for name in ("stderr", "stdout"):
            tail = str(values.get(name) or "").strip()
            if tail:
                return tail[-MAX_MESSAGE:]
    return said[:MAX_MESSAGE] or None


def _module_words(values, depth=0):
    """The last lines that say why a module did not run: gather_facts has them in a map for each of its modules."""
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
    """The last lines of a text, without what ssh adds, and without the calls of a traceback."""
    lines = []
    for line in reversed(text.splitlines() if isinstance(text, str) else ()):
        if line.startswith(("Traceback ", "  File ")) or len(lines) == MAX_LINES:
            break
        if line.strip() and not SSH.match(line):
            lines.insert(0, line.strip())
    return "\n".join(lines)
