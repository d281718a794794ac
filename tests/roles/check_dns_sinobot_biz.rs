//! `check_dns_sinobot_biz`: names are asked of the host and of resolvers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::dnsmasq;
use crate::fleet::Fleet;
use crate::host::Host;
use crate::stack::ansible::Release;
use crate::stack::wait::wait_until;
use crate::tests;
use crate::told::Told;

tests![
    right_answers_are_told_from_wrong_ones,
    wrong_answers_are_found_on_2_16,
    a_schedule_asks_when_its_minute_comes,
];

const ROLE: &str = "check_dns_sinobot_biz";

/// It hears questions on 127.0.0.4 and says nothing; on 127.0.0.3 it answers what was not asked.
const LIARS: &str = "[Service]
ExecStart=/usr/bin/python3 /root/liars.py
";
const LIARS_PY: &str = "import socket
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(('127.0.0.4', 53))
liar = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
liar.bind(('127.0.0.3', 53))
while True:
    question, whose = liar.recvfrom(512)
    number = bytes([question[0] ^ 1])
    answer = b'\\xc0\\x0c\\0\\x01\\0\\x01\\0\\0\\0\\x3c\\0\\x04\\xcb\\0\\x71\\x07'
    liar.sendto(number + question[1:2] + b'\\x81\\x80\\0\\x01\\0\\x01\\0\\0\\0\\0' + question[12:] + answer, whose)
";

/// The host's own resolver knows the truth, 127.0.0.2 does not.
fn break_some(host: &Host) {
    let mut truth = "--address=/sinobot.biz/203.0.113.7 --address=/none.test/ \
                     --host-record=six.test,2001:db8::6"
        .to_owned();
    for number in 1..=60 {
        truth.push_str(&format!(" --host-record=many.test,192.0.2.{number}"));
    }
    dnsmasq::start(host, "truth", "127.0.0.1", "", &truth);
    let wrong = "--address=/sinobot.biz/10.9.9.9";
    dnsmasq::start(host, "wrong", "127.0.0.2", "", wrong);
    host.write("/root/liars.py", LIARS_PY).unwrap();
    host.start_unit("liars.service", LIARS).unwrap();
    host.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        .unwrap();
    host.sh("ip route add prohibit 192.0.2.9").unwrap();
}

fn wrong_answers(fleet: &Fleet) -> Told {
    let told = fleet.run(
        ROLE,
        &["web1"],
        &json!({
            "check_dns_sinobot_biz_names": ["sinobot.biz", "none.test"],
            "check_dns_sinobot_biz_resolvers":
                ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "192.0.2.9"],
            "check_dns_sinobot_biz_expected": {"sinobot.biz": ["203.0.113.0/24"]},
            "check_dns_sinobot_biz_timeout": 0.5,
            "check_dns_sinobot_biz_tries": 1,
        }),
    );
    told.failed("on web1: sinobot.biz from resolver 127.0.0.2: got 10.9.9.9, expected 203.0.113.0/24;")
        .failed("none.test from resolver system: got no address (getent exited with 2), expected an address")
        .failed("none.test from resolver 127.0.0.1: got NXDOMAIN, expected an address")
        .failed("sinobot.biz from resolver 127.0.0.3: got an invalid message instead of an answer: it answers another question")
        .failed("sinobot.biz from resolver 127.0.0.4: got no answer within 0.5 s")
        .failed("sinobot.biz from resolver 127.0.0.5: got no answer: Connection refused")
        .failed("sinobot.biz from resolver 192.0.2.9: got no answer: Permission denied (a rule on this host)")
        .changed(0);
    assert!(
        !told
            .message()
            .contains("sinobot.biz from resolver 127.0.0.1")
    );
    let up = |resolver| value(&told, "dns_up", "sinobot.biz", resolver);
    assert_eq!((up("system"), up("127.0.0.1")), (Some(1.0), Some(1.0)));
    for resolver in ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"] {
        assert_eq!(up(resolver), Some(0.0), "{resolver}");
    }
    // Who does not answer has no time.
    let seconds = |resolver| value(&told, "dns_answer_seconds", "sinobot.biz", resolver);
    assert!(seconds("127.0.0.2").is_some());
    assert_eq!((seconds("127.0.0.3"), seconds("127.0.0.4")), (None, None));
    told
}

/// A figure of the findings; ansible-core 2.16 may have made text of it.
fn value(told: &Told, figure: &str, name: &str, resolver: &str) -> Option<f64> {
    let findings = told.findings(ROLE, "web1");
    let all = findings[figure].as_array().expect("a list of values");
    let one = all
        .iter()
        .find(|one| one["name"] == name && one["resolver"] == resolver)?;
    match &one["value"] {
        Value::String(text) => text.parse().ok(),
        number => number.as_f64(),
    }
}

fn right_answers_are_told_from_wrong_ones() {
    let fleet = Fleet::start(&["web1"], "");
    let host = fleet.host("web1");
    break_some(host);

    let well = json!({
        "check_dns_sinobot_biz_names": ["sinobot.biz", "many.test", "six.test"],
        "check_dns_sinobot_biz_resolvers": ["127.0.0.1", "127.0.0.1:53"],
        "check_dns_sinobot_biz_expected": {
            "sinobot.biz": ["203.0.113.7"], "many.test": ["192.0.2.0/26"], "six.test": ["2001:db8::/32"],
        },
    });
    let told = fleet.run(ROLE, &["web1"], &well);
    told.successful().changed(0);
    // Sixty addresses have no room in a datagram.
    let got = told.findings(ROLE, "web1")["answers"].to_string();
    assert!(got.contains("and 52 more"), "{got}");
    let labels = [("name", "sinobot.biz"), ("resolver", "127.0.0.1")];
    assert_eq!(fleet.gauge("dns_up", &labels), Some(1.0));
    assert!(fleet.gauge("dns_answer_seconds", &labels) > Some(0.0));

    let told = fleet.check(ROLE, &["web1"], &json!({}));
    told.successful().changed(0);
    assert_eq!(value(&told, "dns_up", "sinobot.biz", "system"), Some(1.0));

    wrong_answers(&fleet);
    let labels = [("name", "sinobot.biz"), ("resolver", "127.0.0.2")];
    assert_eq!(fleet.gauge("dns_up", &labels), Some(0.0));

    for (name, is, why) in [
        ("names", "-rf", "'-rf' is not a host name"),
        (
            "names",
            "a;touch /tmp/x",
            "'a;touch /tmp/x' is not a host name",
        ),
        ("resolvers", "ns1.test", "'ns1.test' is not a resolver"),
    ] {
        let vars = json!({format!("{ROLE}_{name}"): [is]});
        let told = fleet.run(ROLE, &["web1"], &vars);
        told.failed("invalid input: ").failed(why);
        assert_eq!(told.findings(ROLE, "web1"), Value::Null);
    }
    assert!(host.is_so("test ! -e /tmp/x"));
}

fn wrong_answers_are_found_on_2_16() {
    let fleet = Fleet::with(Release::V2_16, &["web1"], "");
    break_some(fleet.host("web1"));
    wrong_answers(&fleet);
}

/// Cron knows no shorter time than a minute.
const A_MINUTE_COMES: Duration = Duration::from_secs(75);

const EVERY_MINUTE: &str = "schedules:
  - name: dns
    cron: '* * * * *'
    timezone: Asia/Shanghai
    roles: [check_dns_sinobot_biz]
    target: {group: servers}
    vars:
      check_dns_sinobot_biz_resolvers: [127.0.0.1]
      check_dns_sinobot_biz_expected: {sinobot.biz: [203.0.113.0/24]}
    gather_facts: false
";

fn a_schedule_asks_when_its_minute_comes() {
    let fleet = Fleet::start(&["web1"], "");
    let host = fleet.host("web1");
    let truth = "--address=/sinobot.biz/203.0.113.7";
    dnsmasq::start(host, "truth", "127.0.0.1", "", truth);
    host.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        .unwrap();
    let promansible = &fleet.promansible;
    promansible.configure(EVERY_MINUTE).unwrap();

    let id = wait_until(A_MINUTE_COMES, "the schedule to come", || {
        let runs = promansible.runs()?;
        Ok(runs.first().and_then(|run| run["id"].as_u64()))
    })
    .unwrap();
    let told = fleet.told(id);
    told.successful().changed(0);
    let run = &told.detail["run"];
    assert_eq!(run["trigger"], "schedule");
    assert_eq!(
        (&run["schedule"], &run["hosts"]),
        (&json!("dns"), &json!(["web1"]))
    );
    let due_at = run["due_at"].as_str().unwrap();
    assert!(due_at.ends_with(":00Z"), "{due_at} is no whole minute");

    for resolver in ["system", "127.0.0.1"] {
        let labels = [("name", "sinobot.biz"), ("resolver", resolver)];
        let labels = [&labels[..], &[("role", ROLE), ("host", "web1")]].concat();
        assert_eq!(fleet.gauge("dns_up", &labels), Some(1.0), "{resolver}");
    }
    let schedule = [("schedule", "dns")];
    let shown = |name: &str| promansible.count(name, &schedule).unwrap();
    let last = shown("schedule_last_run_timestamp_seconds");
    assert!(last > 0.0 && shown("schedule_next_run_timestamp_seconds") > last);
    assert!(shown("schedule_missed_total").abs() < 0.5);
}
