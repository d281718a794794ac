#!/usr/bin/python3 -I
"""The Python of a host that an attacker has: it runs no module, and answers with what could hurt others.

It takes a module as Ansible sends it through a pipe, writes down in `ran` beside itself what was to run where, and lies
as `plan.json` says for the address that it was reached at:

    facts   its answers hold facts and keys that mean something to Ansible, and lines as promansible's own events
    texts   every text in them is a template
    keys    every name in them is a template, and no value is a text
    gone    it answers once; from then on the connection ends with a template as the last words
    flood   as many facts as the plan says
    deaf    it refuses everything

Every command in these lies makes a file whose name begins with `trap`: nothing may ever run one of them.
"""

import ast
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
PARAMS = re.compile(r"(?:ANSIBALLZ_PARAMS = |\bparams=)('(?:[^'\\\n]|\\.)*')")

# Each role finds in it what it looks for in the answer of its own program.
ANSWER = {
    "above": True, "addresses": ["A"], "after": 1, "answer_seconds": [], "answers": {"A": 3}, "banner_seconds": [], "login_seconds": [], "associations": 1, "carrier": False,
    "changed": [{"command": "A"}], "connect_seconds": [], "cpus": 1, "device_fault": "", "devices": ["A"], "enough": False,
    "error": "", "examples": ["A"], "failures": 2, "faults": ["A"], "files": 3, "bytes": 5, "found": [{"path": "A", "bytes": 1}],
    "findings": {"faults": ["A"], "A": "A"}, "journal_bytes": 10 ** 12, "known": True, "left": [], "links": [],
    "loopback": False, "machine_use_ratio": 1, "measured": {"avail_bytes": 1, "A": "A"}, "missing": ["up"], "mountpoint": "A",
    "number": 1, "package_cache": {"argv": ["PROGRAM", "A"], "bytes": 7, "kind": "A", "manager": "apt"}, "port": "A", "probes": 3,
    "processes": [{"command": "A", "pid": 1}], "reachable": "A", "renice": [{"command": "A", "pid": 1}], "restart": ["shop.service", "A"],
    "root": True, "routes": ["A"], "sentence": "A", "sessions": 1, "source": "A", "target": "A", "token": "A", "units": [],
    "unreachable": "A", "up": False, "use_ratio": 1, "waited_seconds": 1, "well": False, "bits_per_second": 1,
    "services": [
        {"service": "A", "unit": "A", "asked": asked, "there": True, "held": False, "healthy": False, "invocation": "A", "fault": "A"}
        for asked in ("xl2tpd.service", "pptpd.service", "A")
    ],
}


def trap(kind):
    return "%s/trap-%s" % (HERE, kind)


def template(name, kind):
    return "lie of %s {{ lookup('ansible.builtin.pipe', 'touch %s') }}" % (name, trap(kind))


def texts(value, text, program):
    """The same with every A replaced."""
    if isinstance(value, dict):
        return {key: texts(inner, text, program) for key, inner in value.items()}
    if isinstance(value, list):
        return [texts(inner, text, program) for inner in value]
    if value == "PROGRAM":
        return program
    return text if value == "A" else value


def keys(value, text):
    """The same with no text but in names: before 2.19 Ansible knows by its texts that it may not trust a value."""
    if isinstance(value, dict):
        told = {key: keys(inner, text) for key, inner in value.items()}
        told[text] = 0
        return told
    if isinstance(value, list):
        return [keys(inner, text) for inner in value]
    return 0 if value in ("A", "PROGRAM") else value


def facts(name, plan):
    """What would steer Ansible if facts were variables."""
    evil = ["touch", trap("program")]
    victim = plan["victim"]
    lies = {variable: evil for variable in plan["variables"]}
    steering = {
        "inventory_hostname": victim, "inventory_hostname_short": victim, "delegated_vars['ansible_host']": victim,
        "delegated_vars": {"ansible_host": victim}, "ansible_delegated_vars": {name: {"ansible_host": victim}},
        "host": victim, "ansible_host": victim, "ansible_ssh_host": victim, "ansible_connection": "local",
        "ansible_python_interpreter": trap("python"), "ansible_discovered_interpreter_python": trap("python"),
        "discovered_interpreter_python": trap("python"), "ansible_ansible_discovered_interpreter_python": trap("python"),
        "ansible_ssh_executable": trap("ssh"), "ansible_ssh_common_args": "-o ProxyCommand='touch %s'" % trap("proxy"),
        "ansible_become_exe": trap("become"), "ansible_shell_executable": trap("shell"), "ansible_remote_tmp": trap("tmp"),
        "playbook_dir": HERE, "role_path": HERE, "ansible_search_path": [HERE], "ansible_playbook_python": trap("python"),
        "groups": {"all": [victim]}, "group_names": ["all"], "play_hosts": [victim], "ansible_play_hosts_all": [victim],
        "hostvars": {name: {"ansible_host": victim}}, "promansible_hosts": [victim], "promansible_roles": ["evil"],
        "promansible_alerts_by_host": {}, "promansible_alert": {}, "ansible_facts": {"distribution": template(name, "facts")},
        "ansible_local": {"x": template(name, "local")}, "ansible_network_os": "ios", "ansible_pkg_mgr": "evil",
        "ansible_service_mgr": "evil", "ansible_distribution": template(name, "distribution"),
        "lookup": template(name, "lookup"), "omit": template(name, "omit"), "environment": [{"PATH": HERE}],
        "vars": {"x": template(name, "vars")}, template(name, "name"): 1,
    }
    lies.update(steering)
    return lies


def steering_keys(name, plan):
    """Keys of a result that mean something to Ansible, promansible's callback, or both."""
    victim = plan["victim"]
    stats = {"event": "stats", "hosts": {victim: {"ok": 1, "end": "reached"}}}
    line = json.dumps({"event": "task", "host": victim, "role": "evil", "task": "evil", "action": "evil", "status": "ok",
                       "duration_seconds": 1, "message": None})
    stolen = {"per_host": False, "aggregate": True, "data": {"promansible_findings": {"stolen": 1}, "inventory_hostname": victim}}
    return {
        "ansible_facts": facts(name, plan),
        "add_host": {"host_name": victim, "host_vars": {"ansible_host": victim, "ansible_connection": "local"}, "groups": ["all"]},
        "add_group": "all", "parent_groups": ["all"], "ansible_stats": stolen,
        "_ansible_delegated_vars": {"ansible_delegated_host": victim, "ansible_host": victim}, "_ansible_notify": ["evil"],
        "_ansible_no_log": False, "_ansible_item_label": template(name, "label"), "_ansible_facts_cacheable": True,
        "_ansible_verbose_override": True, "ansible_job_id": "1", "include": HERE + "/evil.yml", "include_args": {},
        "invocation": {"module_args": {"x": template(name, "invocation")}}, "exception": template(name, "exception"),
        "diff": [{"before": template(name, "diff"), "after": line, "before_header": line}],
        "warnings": [template(name, "warning"), line], "deprecations": [{"msg": template(name, "deprecation"), "version": "9.9"}],
        "msg": "%s\n%s\n%s\n" % (template(name, "msg"), line, json.dumps(stats)), "stderr": "\n%s\n" % line,
        "results": [{"ansible_stats": stolen, "ansible_facts": {"inventory_hostname": victim}, "add_host": {"host_name": victim}}],
        "censored": False, "reason": template(name, "reason"),
    }


def stdout_of(module, sent, lies, name):
    told = dict(ANSWER)
    # One role takes the mere presence of `refused` for a no, others want it empty.
    if "mountpoint" not in sent:
        told["refused"] = ""
    if '"-un"' in sent:
        return template(name, "user")
    if lies == "keys":
        return json.dumps(keys(told, template(name, "key")))
    return json.dumps(texts(told, template(name, "text"), trap("program")))


def answer(module, sent, lies, name, plan):
    told = {"changed": True, "rc": 0, "stdout": stdout_of(module, sent, lies, name), "stderr": "", "ping": "pong", "cmd": ["x"],
            "status": 503, "state": "started", "elapsed": 0, "start": "", "end": "", "delta": ""}
    if module in ("setup", "gather_facts"):
        told["ansible_facts"] = {"ansible_distribution": template(name, "distribution"), "ansible_hostname": name}
    if lies == "facts":
        told.update(steering_keys(name, plan))
    elif lies == "flood":
        told["ansible_facts"] = {"fact_%d" % n: n for n in range(plan["facts"])}
    elif lies == "texts":
        told["msg"] = told["stderr"] = template(name, "msg")
    return told


def main():
    with open(HERE + "/plan.json", encoding="utf-8") as file:
        plan = json.load(file)
    module_text = sys.stdin.buffer.read().decode("utf-8", "replace")
    address = os.environ.get("SSH_CONNECTION", "? ? controller ?").split()[2]
    host = plan["hosts"].get(address, {"name": address, "lies": "deaf"})
    name, lies = host["name"], host["lies"]
    found = PARAMS.search(module_text)
    args = json.loads(ast.literal_eval(found.group(1)))["ANSIBLE_MODULE_ARGS"] if found else {}
    module = args.get("_ansible_module_name", "unknown").rpartition(".")[2]
    sent = json.dumps({key: value for key, value in args.items() if not key.startswith("_ansible_")})
    line = {"address": address, "host": name, "of": args.get("_ansible_remote_tmp"), "module": module, "args": sent,
            "argv": args.get("argv")}
    with open(HERE + "/ran", "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    if lies == "deaf":
        print(json.dumps({"failed": True, "msg": "refused"}))
        return
    if lies == "gone":
        once = "%s/gone-%s" % (HERE, name)
        if os.path.exists(once):
            sys.stderr.write(template(name, "words") + "\n")
            sys.exit(255)
        open(once, "w", encoding="utf-8").close()
    if lies == "facts":
        for key in ("stats", "no_hosts_matched", "hello"):
            line = json.dumps({"event": key, "protocol": 1, "hosts": {plan["victim"]: {"ok": 1, "end": "reached"}}})
            print("\r" + template(name, "junk") + "\n%s" % line[1:])
            sys.stderr.write(line + "\n")
    print(json.dumps(answer(module, sent, lies, name, plan)))


main()
