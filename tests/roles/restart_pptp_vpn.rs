//! `restart_pptp_vpn`: pptpd is restarted where it is not well.

use serde_json::json;

use crate::fleet::Fleet;
use crate::stack::ansible::Release;
use crate::tests;

tests![
    pptpd_is_restarted_only_where_it_is_not_well,
    what_a_restart_cannot_help_is_said,
];

/// Connects to TCP 1723 of the host itself and asks for a control connection, as a client does, and stays.
const CLIENT: &str = r#"systemd-run -q --unit=client python3 -c '
import socket, struct, time
link = socket.create_connection(("127.0.0.1", 1723))
link.sendall(struct.pack(">HHIHHHHIIHH64s64s", 156, 1, 0x1A2B3C4D, 1, 0, 0x0100, 0, 1, 1, 0, 0, b"", b""))
link.recv(156)
open("/run/connected", "w").close()
time.sleep(300)'
for i in $(seq 100); do [ -e /run/connected ] && exit 0; sleep 0.2; done; exit 1"#;

const ROLE: &str = "restart_pptp_vpn";

fn pptpd_is_restarted_only_where_it_is_not_well() {
    let fleet = Fleet::start(&["vpn1"], "");
    let host = fleet.host("vpn1");
    let pid = || {
        host.sh("systemctl show --property=MainPID --value pptpd.service")
            .unwrap()
    };
    let up = || fleet.gauge("vpn_up", &[("host", "vpn1"), ("service", "pptp")]);

    // It was never started: check mode only tells.
    fleet
        .check(ROLE, &["vpn1"], &json!({}))
        .successful()
        .changed(1);
    assert!(!host.is_so("systemctl is-active pptpd.service"));

    let told = fleet.run(ROLE, &["vpn1"], &json!({}));
    told.successful().changed(1);
    let findings = told.findings(ROLE, "vpn1");
    assert_eq!(findings["restarted"], json!(["pptpd.service"]));
    assert!(host.is_so("ss -Hltn sport = 1723 | grep -q LISTEN"));
    assert_eq!(up(), Some(1.0));

    // Well: it is left alone, unless told otherwise, and then it is said who is thrown out.
    let before = pid();
    fleet
        .run(ROLE, &["vpn1"], &json!({}))
        .successful()
        .changed(0);
    assert_eq!(pid(), before);
    host.sh(CLIENT).unwrap();
    let told = fleet.run(ROLE, &["vpn1"], &json!({"restart_pptp_vpn_force": true}));
    told.successful().changed(1);
    assert_ne!(pid(), before);
    // The client is this host's too, so both ends of its connection are here: one is to the port.
    assert_eq!(told.findings(ROLE, "vpn1")["pptp_sessions"], 1);
    let said = told.said("Show the sessions that a restart drops");
    assert!(said[0].contains("1 PPTP sessions"), "{said:?}");

    // systemd does not do it: that it is as well as before is no success.
    host.write(
        "/etc/systemd/system/pptpd.service.d/stay.conf",
        "[Unit]\nRefuseManualStop=yes\n",
    )
    .unwrap();
    host.sh("systemctl daemon-reload").unwrap();
    let before = pid();
    fleet
        .run(ROLE, &["vpn1"], &json!({"restart_pptp_vpn_force": true}))
        .failed("vpn1: pptpd.service was not restarted: Unable to restart service pptpd.service");
    assert_eq!(pid(), before);
}

fn what_a_restart_cannot_help_is_said() {
    let fleet = Fleet::with(Release::V2_16, &["vpn1"], "");
    let host = fleet.host("vpn1");
    let config = host.sh("cat /etc/pptpd.conf").unwrap();
    host.sh("systemctl start pptpd.service").unwrap();
    fleet
        .run(ROLE, &["vpn1"], &json!({}))
        .successful()
        .changed(0);

    // An address that the host does not have: the restart does not help.
    host.write("/etc/pptpd.conf", "listen 192.0.2.1\n").unwrap();
    host.sh("systemctl stop pptpd.service").unwrap();
    let told = fleet.run(ROLE, &["vpn1"], &json!({"restart_pptp_vpn_seconds": 1}));
    told.failed("vpn1: pptpd.service was restarted, but after 1 s:");
    told.failed("nothing listens on TCP 1723");
    let up = fleet.gauge("vpn_up", &[("host", "vpn1"), ("service", "pptp")]);
    assert_eq!(up, Some(0.0));

    // A user's own service of the same name has the port.
    host.sh("mkdir -p /sys/fs/cgroup/user.slice/user@1.service/pptpd.service
        (echo 0 >/sys/fs/cgroup/user.slice/user@1.service/pptpd.service/cgroup.procs
         exec setpriv --reuid=nobody --clear-groups python3 -m http.server 1723 >/dev/null 2>&1 & echo $! >/run/impostor)
        for i in $(seq 100); do ss -Hltn sport = 1723 | grep -q . && exit 0; sleep 0.2; done; exit 1")
        .unwrap();
    host.write(
        "/etc/systemd/system/pptpd.service.d/waits.conf",
        "[Service]\nExecStart=\nExecStart=sleep infinity\nType=simple\n",
    )
    .unwrap();
    host.sh("systemctl daemon-reload && systemctl start pptpd.service")
        .unwrap();
    fleet
        .run(ROLE, &["vpn1"], &json!({}))
        .failed("TCP 1723 is in use by python3")
        .changed(0);
    host.sh("kill $(cat /run/impostor)
        rm -r /etc/systemd/system/pptpd.service.d
        systemctl daemon-reload")
        .unwrap();

    // Another has the port: nothing is tried.
    host.write("/etc/pptpd.conf", &config).unwrap();
    host.sh("systemctl stop pptpd.service").unwrap();
    host.start_unit(
        "other.service",
        "[Service]\nExecStart=/usr/bin/python3 -m http.server 1723\n",
    )
    .unwrap();
    host.sh("for i in $(seq 100); do ss -Hltn sport = 1723 | grep -q . && exit 0; sleep 0.2; done; exit 1")
        .unwrap();
    let told = fleet.run(ROLE, &["vpn1"], &json!({}));
    told.failed("vpn1: nothing was restarted:").changed(0);
    told.failed("TCP 1723 is in use by python3");

    fleet
        .run(
            ROLE,
            &["vpn1"],
            &json!({"restart_pptp_vpn_unit": "--no-such.service"}),
        )
        .failed("unit --no-such.service does not exist")
        .changed(0);
}
