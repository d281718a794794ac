"""Which values Ansible takes for which argument spec: specs times values, judged by Ansible's own validator.

Prints JSON: {"specs": [YAML], "values": [VALUE], "taken": [[BOOL for each value] for each spec]}. Each spec has the one
option v, and is read as Ansible reads a role's file; the value null means that v is given, as null.
"""
import json
import sys

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

SPECS = ["{type: %s}" % kind for kind in (
    "str", "int", "float", "bool", "list", "dict", "path", "raw", "json", "jsonarg", "bytes", "bits", "unheard_of",
)] + ["{type: %s, required: true}" % kind for kind in ("str", "int", "bool", "list", "dict")] + [
    "{type: list, elements: %s}" % kind for kind in ("str", "int", "float", "bool", "dict", "list", "bytes", "path")
] + [
    "{}",
    "{type: int, default: 3}",
    "{type: list, default: []}",
    "{required: 'no'}",
    "{type: str, elements: str}",
    "{choices: [a, b]}",
    "{choices: ['5', '5.0', 'True', '']}",
    "{choices: [5, 7]}",
    "{choices: [yes, no]}",
    "{choices: ['yes', 'no']}",
    "{choices: [y, n]}",
    "{choices: [0644, 0755]}",
    "{choices: [1:30, 1_000]}",
    "{choices: [2026-01-01]}",
    "{choices: [1e3, 0.5]}",
    "{choices: ['no', 'off', 'on']}",
    "{choices: [0, 1]}",
    "{type: int, choices: [0644, 5, 1]}",
    "{type: int, choices: [yes, no]}",
    "{type: float, choices: [0.5, 5]}",
    "{type: bool, choices: [yes]}",
    "{type: bool, choices: ['yes']}",
    "{type: raw, choices: [a, 5, true, [1], {a: 1}, null]}",
    "{type: list, choices: [a, b]}",
    "{type: list, elements: int, choices: [1, 5]}",
    "{type: list, elements: str, choices: ['1', '5', 'a', 'True']}",
    "{type: dict, options: {a: {type: int}}}",
    "{type: dict, options: {a: {type: int, required: true}, b: {default: x}}}",
    "{type: dict, options: {a: {aliases: [b, c], required: true}}}",
    "{type: dict, options: {a: {choices: [x, '1']}, b: {type: bool, no_log: true}}}",
    "{type: dict, apply_defaults: true, options: {a: {required: true}}}",
    "{type: dict, required: true, options: {a: {type: dict, options: {b: {type: int, required: true}}}}}",
    "{type: dict, options: {a: {type: list, elements: dict, options: {b: {type: int}}}}}",
    "{type: list, elements: dict, options: {a: {type: int, required: true}, b: {}}}",
    "{type: list, elements: dict, options: {a: {aliases: [b]}}}",
    "{type: list, options: {a: {}}}",
    "{type: str, options: {a: {}}}",
]

VALUES = [
    None, True, False, 0, 1, 5, 7, -1, 420, 90, 1000, 2 ** 53, 2 ** 64 - 1, 0.0, -0.0, 0.5, 1.0, 5.0, 5.5, -3.25, 1e15, 1e16, 1e22, 1e-5,
    "", " ", "a", "b", "x", "y", "n", "Y", "yes", "no", " Yes ", "ON", "off", "t", "F", "true", "True", "False", "tRuE", "maybe",
    "0", "1", "2", "5", "05", "+5", "-5", " 5 ", "5\n", "\u001c5", "5.0", "5.", ".5", "5.5", "5.50e1", "1e3", "1e-3", "10e-1", "1E+2",
    "1e99999999999999999999", "1_000", "1__0", "_1", "1_", "1_.5", "0x10", "0o17", "0b1", "inf", "-Infinity", "nan", "sNaN", "\u0665", "\u0665.5", "\u00bd", "5,7",
    "a,b", "1,5", "a,,b", ",", "1, 5", "yes,no", "a=1,b=2", "a=1 b=2", "a=1, b", "a='1 2' b=\"x,y\"", "a=\\=", "=", "a = 1", "a=1,a=2", "c=3",
    "{}", "{", '{"a": 1}', '{"a": "x"}', '{"b": 1}', " {\"a\": 1}", "{'a': 1}", "{1, 2}", "{'a': 1} # x", "[1]", "['a']", "null",
    "10M", "10MB", "10Mb", "10mb", "10 mb", "1.5G", ".5K", "5.K", "10B", "10b", "10 bytes", "10byte", "10bit", "10bits", "10Byte", "1KiB", "10 megabyte", "10megabit",
    "1Y", "-1M", "10M ", "10 M x", "1,5M", "M", "10KB", "10Kb", "10kB", "0644", "0755", "1:30", "2026-01-01", "~/x", "$HOME/x", "{{ x }}",
    [], [None], [1], [5], ["1"], ["a"], ["a", "b"], ["a", "c"], [1, 5], [1, "5", "x"], [[1]], [{}], [{"a": 1}], [{"a": "x"}], [{"a": 1, "b": 2}], [{"b": 1}],
    [{"a": 1}, {"c": 1}], ["a=1"], ["a=1", "a=2 b=3"], [True], ["True"], [1.0], [0, [1], 0], [{"a": 1}, "x"],
    {}, {"a": 1}, {"a": "1"}, {"a": "x"}, {"a": None}, {"b": 1}, {"b": "yes"}, {"b": "x"}, {"c": 1}, {"a": 1, "b": 2}, {"a": 1, "c": 2}, {"b": 1, "c": 2},
    {"a": {"b": 1}}, {"a": {"b": "x"}}, {"a": {}}, {"a": {"b": 1, "c": 1}}, {"a": "b=1"}, {"a": [{"b": 1}]}, {"a": [{"b": "x"}]}, {"a": ["b=1"]}, {"a": [1]},
]


def taken(spec, value):
    try:
        # As the action validate_argument_spec does.
        result = ArgumentSpecValidator({"v": spec}).validate({"v": value}, validate_role_argument_spec=True)
    except Exception:  # it would fail the task
        return False
    return not result.error_messages


def main():
    specs = [yaml.safe_load(spec) for spec in SPECS]
    table = [[taken(spec, value) for value in VALUES] for spec in specs]
    json.dump({"specs": SPECS, "values": VALUES, "taken": table}, sys.stdout)


main()
