//! `start_service`: a service that does not answer is started.

use crate::fleet::Fleet;
use crate::tests;

tests![a_dead_unit_is_started_and_a_live_one_left_alone];

const BINDINGS: &str = r#"
  - name: site-down
    matchers: ['alertname = "SiteDown"']
    roles: [start_service]
    target: {alerting_host: instance}
    vars: {start_service_url: "http://127.0.0.1/", start_service_command: [systemctl, start, site.service]}
"#;

const SITE: &str = "[Service]
ExecStart=/usr/bin/python3 -m http.server 80 --directory /usr/share/doc
";

fn a_dead_unit_is_started_and_a_live_one_left_alone() {
    let fleet = Fleet::start(&["web1"], BINDINGS);
    let host = fleet.host("web1");
    host.write("/etc/systemd/system/site.service", SITE)
        .unwrap();
    host.sh("systemctl daemon-reload").unwrap();
    let alert = [("alertname", "SiteDown"), ("instance", "web1:9100")];

    fleet.alert(&alert).successful().changed(1);
    assert!(host.is_so("systemctl is-active --quiet site.service"));

    fleet.alert(&alert).successful().changed(0);

    // A proxy that everything else there goes through does not know the host's own page.
    host.write("/etc/environment", "http_proxy=http://127.0.0.1:9/\n")
        .unwrap();
    fleet.alert(&alert).successful().changed(0);
}
