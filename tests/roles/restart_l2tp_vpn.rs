//! `restart_l2tp_vpn`: strongSwan and xl2tpd are restarted where they are not well.

use serde_json::json;

use crate::fleet::Fleet;
use crate::host::Host;
use crate::stack::ansible::Release;
use crate::tests;

tests![
    only_what_is_not_well_is_restarted,
    what_a_restart_cannot_help_is_said,
];

const ROLE: &str = "restart_l2tp_vpn";

/// The kernel of a test has no PPP. xl2tpd starts this in the place of pppd, with a session that is otherwise real.
const PPPD: &str = "#!/bin/sh\nsleep 300\n";

const SERVER: &str = "[lns default]
ip range = 192.168.77.10-192.168.77.20
local ip = 192.168.77.1
require authentication = no
pppoptfile = /etc/ppp/options.xl2tpd
";

fn client(server: &str) -> String {
    format!(
        "[lac server]
lns = {server}
autodial = yes
require authentication = no
pppoptfile = /etc/ppp/options.xl2tpd
"
    )
}

fn set_up(host: &Host, config: &str) {
    host.write("/etc/xl2tpd/xl2tpd.conf", config).unwrap();
    host.write("/etc/ppp/options.xl2tpd", "noauth\n").unwrap();
    host.write("/root/pppd", PPPD).unwrap();
    host.sh("rm -f /usr/sbin/pppd && install -m 755 /root/pppd /usr/sbin/pppd")
        .unwrap();
}

fn pids(host: &Host) -> (String, String) {
    let pid = |name: &str| host.sh(&format!("pidof {name} || true")).unwrap();
    (pid("charon"), pid("xl2tpd"))
}

fn only_what_is_not_well_is_restarted() {
    let fleet = Fleet::start(&["vpn1", "client"], "");
    let host = fleet.host("vpn1");
    set_up(host, SERVER);
    set_up(fleet.host("client"), &client(&host.address));
    let up = |service| fleet.gauge("vpn_up", &[("host", "vpn1"), ("service", service)]);

    // Neither was ever started: check mode only tells.
    let told = fleet.check(ROLE, &["vpn1"], &json!({}));
    told.successful().changed(1);
    assert_eq!(pids(host), (String::new(), String::new()));

    let told = fleet.run(ROLE, &["vpn1"], &json!({}));
    told.successful();
    let findings = told.findings(ROLE, "vpn1");
    assert_eq!(
        findings["restarted"],
        json!(["strongswan-starter.service", "xl2tpd.service"])
    );
    assert_eq!((up("ipsec"), up("l2tp")), (Some(1.0), Some(1.0)));
    let well = pids(host);

    // A client comes in, and stays when the role finds all well.
    fleet
        .host("client")
        .sh("systemctl start xl2tpd.service")
        .unwrap();
    host.sh("for i in $(seq 100); do pidof -x pppd && exit 0; sleep 0.2; done; exit 1")
        .unwrap();
    let told = fleet.run(ROLE, &["vpn1"], &json!({}));
    told.successful().changed(0);
    assert_eq!(told.findings(ROLE, "vpn1")["l2tp_sessions"], 1);
    assert_eq!(pids(host), well);

    let told = fleet.run(ROLE, &["vpn1"], &json!({"restart_l2tp_vpn_force": true}));
    told.successful().changed(1);
    let said = told.said("Show the sessions that a restart drops");
    assert!(said[0].contains("1 L2TP sessions"), "{said:?}");
    let forced = pids(host);
    assert!(forced.0 != well.0 && forced.1 != well.1);

    // xl2tpd died. Its unit still calls itself active, as it comes from an init script; the port tells.
    host.sh("kill -KILL $(pidof xl2tpd) && systemctl is-active xl2tpd.service")
        .unwrap();
    let told = fleet.run(ROLE, &["vpn1"], &json!({}));
    told.successful().changed(1);
    assert_eq!(
        told.findings(ROLE, "vpn1")["restarted"],
        json!(["xl2tpd.service"])
    );
    let mended = pids(host);
    assert_eq!(mended.0, forced.0);
    assert!(!mended.1.is_empty());
}

fn what_a_restart_cannot_help_is_said() {
    let fleet = Fleet::with(Release::V2_16, &["vpn1"], "");
    let host = fleet.host("vpn1");
    set_up(host, SERVER);
    host.sh("systemctl start strongswan-starter.service xl2tpd.service")
        .unwrap();
    fleet
        .run(ROLE, &["vpn1"], &json!({}))
        .successful()
        .changed(0);

    // xl2tpd refuses its configuration.
    host.write(
        "/etc/xl2tpd/xl2tpd.conf",
        "[lns default]\nno such option = 1\n",
    )
    .unwrap();
    host.sh("systemctl stop xl2tpd.service").unwrap();
    let told = fleet.run(ROLE, &["vpn1"], &json!({"restart_l2tp_vpn_seconds": 1}));
    told.failed("vpn1: xl2tpd.service was restarted, but after 1 s:");
    // What it last said is there too, if the journal knew whose the words of so short a process were.
    told.failed("nothing listens on UDP 1701");

    // Another has one of the ports: nothing is tried.
    host.write("/etc/xl2tpd/xl2tpd.conf", SERVER).unwrap();
    host.sh("systemctl stop strongswan-starter.service xl2tpd.service")
        .unwrap();
    host.start_unit(
        "other.service",
        "[Service]\nExecStart=/usr/bin/python3 -c 'import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); \
         s.bind((\"\", 4500)); time.sleep(300)'\n",
    )
    .unwrap();
    host.sh("for i in $(seq 100); do ss -Hlun sport = 4500 | grep -q . && exit 0; sleep 0.2; done; exit 1")
        .unwrap();
    let told = fleet.run(ROLE, &["vpn1"], &json!({}));
    told.failed("vpn1: nothing was restarted:").changed(0);
    told.failed("UDP 4500 is in use by python3");
    assert!(told.message().contains("not by strongswan-starter.service"));
    assert_eq!(pids(host), (String::new(), String::new()));

    fleet
        .run(
            ROLE,
            &["vpn1"],
            &json!({"restart_l2tp_vpn_ipsec_unit": "no-such.service"}),
        )
        .failed("unit no-such.service does not exist")
        .changed(0);
}
