//! `handle_HighErrorRate`: a service that answers with errors is restarted, one host at a time.

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::host::Host;
use crate::stack::ansible::Release;
use crate::tests;

tests![
    a_service_is_restarted_until_well_and_never_two_at_once,
    it_does_so_on_ansible_core_2_16,
];

const ROLE: &str = "handle_HighErrorRate";
const HOSTS: [&str; 2] = ["web1", "web2"];
const BINDINGS: &str = r#"
  - name: high-error-rate
    matchers: ['alertname = "HighErrorRate"']
    roles: [handle_HighErrorRate]
    target: {alerting_host: instance}
    vars: {high_error_rate_url: "http://127.0.0.1/", high_error_rate_restart_units: [site.service]}
"#;

/// It answers 500 while `/run/ill` is there.
const NGINX: &str = "daemon off;
pid /run/site.pid;
error_log stderr;
events {}
http {
  log_format moments '$msec $status';
  access_log /run/site.log moments;
  server {
    listen 127.0.0.1:80;
    location / {
      if (-f /run/ill) { return 500; }
      return 200;
    }
  }
}
";

/// It is well again only after it has been probed, so that who does not wait for that is caught.
const UNIT: &str = "[Service]
ExecStartPre=/bin/sh -c 'date +%%s.%%N >>/run/site.starts'
ExecStart=/usr/sbin/nginx -c /etc/nginx/site.conf
ExecStartPost=/run/recover
";

const RECOVER: &str = "#!/bin/sh
errors() { grep -c ' 500$' /run/site.log; }
[ -e /run/ill ] && [ ! -e /run/hopeless ] || exit 0
before=$(errors)
(while [ \"$(errors)\" = \"$before\" ]; do sleep 0.1; done; rm /run/ill) &
";

fn fleet(release: Release) -> Fleet {
    let fleet = Fleet::with(release, &HOSTS, BINDINGS);
    for host in &fleet.hosts {
        host.write("/etc/nginx/site.conf", NGINX).unwrap();
        host.write("/run/recover", RECOVER).unwrap();
        host.sh("chmod +x /run/recover").unwrap();
        host.start_unit("site.service", UNIT).unwrap();
    }
    fleet
}

fn vars(more: &Value) -> Value {
    let mut vars = json!({
        "high_error_rate_url": "http://127.0.0.1/",
        "high_error_rate_restart_units": ["site.service"],
        "high_error_rate_probes": 2,
        "high_error_rate_seconds": 60,
    });
    let all = vars.as_object_mut().unwrap();
    all.extend(more.as_object().unwrap().clone());
    vars
}

/// When the service was started on a host.
fn starts(host: &Host) -> Vec<f64> {
    moments(&host.sh("cat /run/site.starts").unwrap(), "")
}

/// When it answered with this status.
fn answers(host: &Host, status: &str) -> Vec<f64> {
    moments(&host.sh("cat /run/site.log").unwrap(), status)
}

fn moments(lines: &str, end: &str) -> Vec<f64> {
    let lines = lines.lines().filter(|line| line.ends_with(end));
    lines
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

fn make_ill(fleet: &Fleet) {
    for host in &fleet.hosts {
        host.sh("touch /run/ill").unwrap();
    }
}

fn a_service_is_restarted_until_well_and_never_two_at_once() {
    let fleet = fleet(Release::V2_19);
    let web1 = fleet.host("web1");
    let alert = [("alertname", "HighErrorRate"), ("instance", "web1:9100")];

    // Well: nothing is done.
    fleet.alert(&alert).successful().changed(0);
    assert_eq!(starts(web1).len(), 1);

    // Nothing may be restarted.
    web1.sh("touch /run/ill").unwrap();
    let none = vars(&json!({"high_error_rate_restart_units": []}));
    fleet
        .run(ROLE, &["web1"], &none)
        .failed("http://127.0.0.1/ failed 2 of 2 probes on web1 (500)")
        .changed(0);
    // What is no HTTP is told in a line, however much of it there is: the findings are kept.
    web1.write(
        "/root/talker.py",
        "import socket
listener = socket.create_server(('', 82))
while True:
    link = listener.accept()[0]
    link.recv(999)
    link.sendall(60000 * b'{')
    link.close()
",
    )
    .unwrap();
    web1.start_unit(
        "talker.service",
        "[Service]\nExecStart=/usr/bin/python3 /root/talker.py\n",
    )
    .unwrap();
    web1.sh("for n in $(seq 100); do ss -Hltn sport = 82 | grep -q . && exit 0; sleep 0.1; done; exit 1")
        .unwrap();
    let told = fleet.run(
        ROLE,
        &["web1"],
        &vars(&json!({"high_error_rate_url": "http://127.0.0.1:82/", "high_error_rate_restart_units": []})),
    );
    told.failed("http://127.0.0.1:82/ failed 2 of 2 probes on web1 ({{{{");
    assert_eq!(
        told.findings(ROLE, "web1")["before"]["failures"]
            .to_string()
            .trim_matches('"'),
        "2"
    );
    fleet
        .run(
            ROLE,
            &["web1"],
            &vars(&json!({"high_error_rate_url": "http://me:secret@127.0.0.1/"})),
        )
        .failed("without user and password");
    let url = vars(&json!({"high_error_rate_url": "file:///etc/passwd"}));
    fleet
        .run(ROLE, &["web1"], &url)
        .failed("high_error_rate_url must be an http or https URL");

    // Check mode shows the restart alone.
    let told = fleet.check(ROLE, &["web1"], &vars(&json!({})));
    told.successful().changed(1);
    assert!(web1.is_so("test -e /run/ill"));
    assert_eq!(starts(web1).len(), 1);

    let told = fleet.alert(&alert);
    told.successful().changed(1);
    let findings = told.findings(ROLE, "web1");
    assert_eq!(findings["before"]["answers"], json!({"500": 5}));
    assert_eq!(findings["after"]["answers"], json!({"200": 5}));
    assert_eq!(findings["restarted"], json!(["site.service"]));
    assert_eq!(starts(web1).len(), 2);

    one_after_the_other(&fleet);

    // Whoever has the first turn does not come back. The other stays as it is.
    let before = fleet
        .hosts
        .iter()
        .map(|host| starts(host).len())
        .sum::<usize>();
    make_ill(&fleet);
    for host in &fleet.hosts {
        host.sh("touch /run/hopeless").unwrap();
    }
    let told = fleet.run(ROLE, &HOSTS, &vars(&json!({"high_error_rate_seconds": 2})));
    assert_eq!(told.outcome(), "failed", "{}", told.text());
    told.quiet().changed(1);
    let after = fleet
        .hosts
        .iter()
        .map(|host| starts(host).len())
        .sum::<usize>();
    assert_eq!(after, before + 1, "{}", told.text());
    let said = |host: &str| told.detail["run"]["results"][host]["message"].to_string();
    let (lost, spared) = if said("web1").contains("is not healthy on web1") {
        ("web1", "web2")
    } else {
        ("web2", "web1")
    };
    let sentence = "s after site.service was restarted: 2 of 2 probes failed (500)";
    assert!(said(lost).contains(sentence), "{}", told.text());
    let sentence = format!("{spared} was not restarted: {lost} was restarted and is not healthy");
    assert!(said(spared).contains(&sentence), "{}", told.text());
}

fn it_does_so_on_ansible_core_2_16() {
    one_after_the_other(&fleet(Release::V2_16));
}

/// Both are ill: one is restarted and has proved that it is well before the other is restarted.
fn one_after_the_other(fleet: &Fleet) {
    make_ill(fleet);
    fleet
        .run(ROLE, &HOSTS, &vars(&json!({})))
        .successful()
        .changed(2);
    let mut hosts: Vec<&Host> = fleet.hosts.iter().collect();
    let last = |moments: &[f64]| moments.last().copied().unwrap();
    hosts.sort_by(|a, b| last(&starts(a)).total_cmp(&last(&starts(b))));
    let begin = last(&starts(hosts[0]));
    let proved = last(&answers(hosts[0], " 200"));
    let next = last(&starts(hosts[1]));
    let errors = answers(hosts[0], " 500");
    assert!(
        begin < last(&errors),
        "it was probed while it was still ill"
    );
    assert!(last(&errors) < proved, "probed until well");
    assert!(proved < next, "{} was restarted early", hosts[1].name);
}
