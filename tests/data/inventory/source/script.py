#!/usr/bin/env python3
import json

print(json.dumps({
    "_meta": {"hostvars": {"s1": {"ansible_host": "203.0.113.1"}, "onlymeta": {"ansible_host": "203.0.113.9"}}},
    "g": {"hosts": ["s1", "s2"], "vars": {"x": "y"}},
    "listy": ["s3"],
    "all": {"children": ["g", "ungrouped"]},
    "ungrouped": {"hosts": ["s4"]},
}))
