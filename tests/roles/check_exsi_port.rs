//! `check_EXSi_port`: ports 443 and 902 of `ESXi` hosts.

use serde_json::json;

use crate::fleet::Fleet;
use crate::host::Host;
use crate::stack::ansible::Release;
use crate::tests;

tests![
    ports_that_answer_are_told_from_others,
    ports_that_do_not_answer_are_found_on_2_16,
];

const ROLE: &str = "check_EXSi_port";

/// What a real one says.
const BANNER: &str =
    "220 VMware Authentication Daemon Version 1.10: SSL Required, ServerDaemonProtocol:SOAP";

/// 127.0.0.2 is well; 127.0.0.3 accepts, but is something else; 127.0.0.4 accepts and hangs; 127.0.0.5 is not there.
fn build(host: &Host) {
    let script = format!(
        "import socket, threading
def serve(address, port, said):
    listener = socket.create_server((address, port))
    while True:
        link = listener.accept()[0]
        if said is None:
            held.append(link)
        else:
            link.sendall(said)
            link.close()
held = []
for place in [('127.0.0.2', 902, b'{BANNER}\\r\\n'), ('127.0.0.3', 902, b'220 {{{{ 7*7 }}}} FTP\\r\\n'),
              ('127.0.0.3', 443, b'HTTP/1.1 400 Bad Request\\r\\n\\r\\n'),
              ('127.0.0.4', 443, None), ('127.0.0.4', 902, None)]:
    threading.Thread(target=serve, args=place).start()
"
    );
    host.write("/root/esxi.py", &script).unwrap();
    host.start_unit(
        "esxi.service",
        "[Service]\nExecStart=/usr/bin/python3 /root/esxi.py\n",
    )
    .unwrap();
    host.sh("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=esxi1 -keyout /root/key -out /root/cert 2>/dev/null")
        .unwrap();
    host.start_unit(
        "https.service",
        "[Service]\nExecStart=/usr/bin/openssl s_server -accept 127.0.0.2:443 -cert /root/cert -key /root/key -www\n",
    )
    .unwrap();
    host.sh("for port in 127.0.0.2:443 127.0.0.2:902 127.0.0.3:443 127.0.0.3:902 127.0.0.4:443 127.0.0.4:902; do
            for n in $(seq 100); do ss -Hltn | grep -qF \" $port \" && break; sleep 0.1; done
        done")
        .unwrap();
}

fn find_faults(fleet: &Fleet) {
    let told = fleet.run(
        ROLE,
        &["node"],
        &json!({
            "check_exsi_port_targets": ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"],
            "check_exsi_port_timeout": 1,
        }),
    );
    told.failed("from node: port 443 of 127.0.0.3: the TLS handshake failed: ")
        .failed("port 902 of 127.0.0.3: the banner is '220 {{ 7*7 }} FTP', expected '220 VMware'…")
        .failed("port 443 of 127.0.0.4: the TLS handshake failed: no answer within 1 s")
        .failed("port 902 of 127.0.0.4: reading the banner failed: no answer within 1 s")
        .failed("port 443 of 127.0.0.5: no connection: Connection refused")
        .failed("port 902 of 127.0.0.5: no connection: Connection refused")
        .changed(0);
    assert!(!told.message().contains("127.0.0.2"), "{}", told.text());
    let answers = told.findings(ROLE, "node")["answers"].to_string();
    assert!(answers.contains("220 {{ 7*7 }} FTP"), "{answers}");
    let of = |target, port| [("target", target), ("port", port)];
    for port in ["443", "902"] {
        assert_eq!(
            fleet.gauge("tcp_port_up", &of("127.0.0.2", port)),
            Some(1.0)
        );
        for target in ["127.0.0.3", "127.0.0.4", "127.0.0.5"] {
            assert_eq!(fleet.gauge("tcp_port_up", &of(target, port)), Some(0.0));
        }
    }
    let seconds = |target| fleet.gauge("tcp_port_connect_seconds", &of(target, "443"));
    assert!(seconds("127.0.0.4").is_some());
    assert_eq!(seconds("127.0.0.5"), None);
}

fn ports_that_answer_are_told_from_others() {
    let fleet = Fleet::start(&["node"], "");
    build(fleet.host("node"));

    let well = json!({"check_exsi_port_targets": ["127.0.0.2"]});
    for told in [
        fleet.run(ROLE, &["node"], &well),
        fleet.check(ROLE, &["node"], &well),
    ] {
        told.successful().changed(0);
        let answers = &told.findings(ROLE, "node")["answers"];
        assert_eq!(answers[0]["said"], "TLSv1.3", "{answers}");
        assert_eq!(answers[1]["said"], BANNER, "{answers}");
    }

    find_faults(&fleet);

    // What accepts is enough, where no more is asked for.
    let connect = json!({
        "check_exsi_port_targets": ["127.0.0.3", "127.0.0.4"],
        "check_exsi_port_tls": false,
        "check_exsi_port_banner": "",
    });
    fleet.run(ROLE, &["node"], &connect).successful().changed(0);

    fleet
        .run(
            ROLE,
            &["node"],
            &json!({"check_exsi_port_targets": ["-rf"]}),
        )
        .failed("invalid input: '-rf' is neither a host name nor an address");
    let said = fleet.not_taken(ROLE, &["node"], &json!({}));
    assert!(said.contains("check_exsi_port_targets"), "{said}");
}

fn ports_that_do_not_answer_are_found_on_2_16() {
    let fleet = Fleet::with(Release::V2_16, &["node"], "");
    build(fleet.host("node"));
    find_faults(&fleet);
}
