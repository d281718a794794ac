//! `check_ftp_connect`: banner, login and a list; and nobody sees the password.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::host::Host;
use crate::stack::ansible::Release;
use crate::tests;
use crate::told::Told;

tests![
    logins_are_tried_and_the_password_is_not_seen,
    a_refused_login_is_found_on_2_16,
];

const ROLE: &str = "check_ftp_connect";
const PASSWORD: &str = "korrekt'Pferd;Batterie";
/// What every writing of it holds: quoted, escaped or not.
const SECRET: &str = "Pferd;Batterie";

/// vsftpd lets `carrier` in: on port 21 as it is, on port 2121 by TLS alone. On port 2122 is one that repeats passwords.
fn build(fleet: &Fleet) {
    let host = fleet.host("store");
    host.write("/root/password", &format!("carrier:{PASSWORD}\n"))
        .unwrap();
    host.sh("useradd --create-home --shell /bin/sh carrier
        chpasswd </root/password
        rm /root/password
        install -d -o carrier /home/carrier/incoming
        touch /home/carrier/incoming/a /home/carrier/incoming/b
        mkdir -p /run/vsftpd/empty
        openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=store -keyout /root/key -out /root/cert 2>/dev/null")
        .unwrap();
    start_vsftpd(
        host,
        "plain",
        "listen_port=21\nanonymous_enable=YES\nanon_root=/home/carrier/incoming\n",
    );
    start_vsftpd(
        host,
        "tls",
        "listen_port=2121\nanonymous_enable=NO\nssl_enable=YES\nforce_local_logins_ssl=YES\nforce_local_data_ssl=YES\n\
         rsa_cert_file=/root/cert\nrsa_private_key_file=/root/key\n",
    );
    host.write(
        "/root/parrot.py",
        "import socket
listener = socket.create_server(('127.0.0.1', 2122))
while True:
    link = listener.accept()[0]
    link.sendall(b'220 {{ 7*7 }} \\xb9\\xab\\r\\n')
    said = link.makefile('rb')
    said.readline()
    link.sendall(b'331 which password?\\r\\n')
    link.sendall(b'530 not with ' + said.readline())
    link.close()
",
    )
    .unwrap();
    host.start_unit(
        "parrot.service",
        "[Service]\nExecStart=/usr/bin/python3 /root/parrot.py\n",
    )
    .unwrap();
    host.sh("for port in 21 2121 2122; do
            for n in $(seq 100); do ss -Hltn \"sport = $port\" | grep -q . && break; sleep 0.1; done
        done")
        .unwrap();
    // Beside the inventory, as the README has it.
    let vars = fleet.dir().join("group_vars");
    fs::create_dir(&vars).unwrap();
    let text = json!({"check_ftp_connect_user": "carrier", "check_ftp_connect_password": PASSWORD});
    fs::write(vars.join("servers.yml"), text.to_string()).unwrap();
}

fn start_vsftpd(host: &Host, name: &str, settings: &str) {
    let path = format!("/etc/vsftpd-{name}.conf");
    let common = "listen=YES\nlisten_ipv6=NO\nbackground=NO\nlocal_enable=YES\npam_service_name=vsftpd\n\
                  secure_chroot_dir=/run/vsftpd/empty\nseccomp_sandbox=NO\n";
    host.write(&path, &format!("{common}{settings}")).unwrap();
    host.start_unit(
        &format!("vsftpd-{name}.service"),
        &format!("[Service]\nExecStart=/usr/sbin/vsftpd {path}\n"),
    )
    .unwrap();
}

/// Runs the role, and looks at the arguments of every process meanwhile, the hosts' too: they are below us.
fn watched(fleet: &Fleet, vars: &Value) -> Told {
    let over = AtomicBool::new(false);
    let told = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut is_seen = false;
            while !over.load(Ordering::Relaxed) {
                for process in fs::read_dir("/proc").unwrap().flatten() {
                    // Most of what is listed there is no process, and processes end.
                    let Ok(arguments) = fs::read(process.path().join("cmdline")) else {
                        continue;
                    };
                    let arguments = String::from_utf8_lossy(&arguments);
                    assert!(!arguments.contains(SECRET), "{arguments}");
                    is_seen |= arguments.contains("import ftplib");
                }
                thread::sleep(Duration::from_millis(2));
            }
            is_seen
        });
        let told = fleet.run(ROLE, &["store"], vars);
        over.store(true, Ordering::Relaxed);
        assert!(watch.join().unwrap(), "the check itself was not seen");
        told
    });
    unseen(fleet, &told);
    told
}

/// Nothing that is kept of a run holds the password, here or in the host's journal, where modules log their arguments.
fn unseen(fleet: &Fleet, told: &Told) {
    for kept in [&told.output, &told.detail.to_string()] {
        assert!(!kept.contains(SECRET), "{kept}");
    }
    let journal = fleet.host("store").sh("journalctl --no-pager").unwrap();
    assert!(journal.contains("Accepted publickey"), "{journal}");
    assert!(!journal.contains(SECRET), "{journal}");
}

fn refused_login(fleet: &Fleet) {
    let told = watched(
        fleet,
        &json!({"check_ftp_connect_servers": ["127.0.0.1:2122", "127.0.0.1:2123", "127.0.0.1"]}),
    );
    told.failed(
        "from store: 127.0.0.1:2122: logging in as carrier failed: 530 not with PASS (password);",
    )
    .failed("127.0.0.1:2123: connecting failed: Connection refused")
    .changed(0);
    let answers = &told.findings(ROLE, "store")["answers"];
    assert_eq!(answers[0]["banner"], "220 {{ 7*7 }} ��", "{answers}");
    for (server, up) in [
        ("127.0.0.1:2122", 0.0),
        ("127.0.0.1:2123", 0.0),
        ("127.0.0.1", 1.0),
    ] {
        let labels = [("server", server)];
        assert_eq!(fleet.gauge("ftp_up", &labels), Some(up), "{server}");
        let seconds = |figure| fleet.gauge(figure, &labels).is_some();
        assert_eq!(seconds("ftp_banner_seconds"), server != "127.0.0.1:2123");
        assert_eq!(seconds("ftp_login_seconds"), server == "127.0.0.1");
    }
}

fn logins_are_tried_and_the_password_is_not_seen() {
    let fleet = Fleet::start(&["store"], "");
    build(&fleet);

    let list = |directory: &str| {
        json!({
            "check_ftp_connect_servers": ["127.0.0.1", "localhost:21"],
            "check_ftp_connect_directory": directory,
        })
    };
    let told = fleet.run(ROLE, &["store"], &list("incoming"));
    told.successful().changed(0);
    unseen(&fleet, &told);
    let answers = &told.findings(ROLE, "store")["answers"];
    assert_eq!(answers[0]["entries"], 2, "{answers}");
    assert!(answers[0]["banner"].as_str().unwrap().starts_with("220 "));
    fleet
        .check(ROLE, &["store"], &list("incoming"))
        .successful()
        .changed(0);
    fleet
        .run(ROLE, &["store"], &list("-la"))
        .failed("127.0.0.1: listing -la failed: 550 ");

    let anonymous = json!({
        "check_ftp_connect_servers": ["127.0.0.1"],
        "check_ftp_connect_user": "anonymous",
        "check_ftp_connect_password": "",
    });
    fleet.run(ROLE, &["store"], &anonymous).successful();

    refused_login(&fleet);
    tls(&fleet);
    endless_answers(&fleet);

    // Neither is it shown when the variables are judged.
    let mut wrong = list("");
    wrong["check_ftp_connect_timeout"] = json!("soon");
    let said = fleet.not_taken(ROLE, &["store"], &wrong);
    assert!(said.contains("check_ftp_connect_timeout"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    let told = fleet.run(ROLE, &["store"], &list("a\nDELE b"));
    told.failed("invalid input: the directory has more than one line");
    assert!(
        fleet
            .host("store")
            .is_so("test -e /home/carrier/incoming/b")
    );
    let hostile = json!({"check_ftp_connect_servers": ["-rf"]});
    fleet
        .run(ROLE, &["store"], &hostile)
        .failed("invalid input: '-rf' is not a server");
}

/// One answers without an end, quickly, and one slowly.
fn endless_answers(fleet: &Fleet) {
    let host = fleet.host("store");
    host.write(
        "/root/talker.py",
        "import socket, threading, time
def talk(port, pause):
    listener = socket.create_server(('127.0.0.1', port))
    while True:
        link = listener.accept()[0]
        try:
            while True:
                link.sendall(b'220-{{ 7*7 }}\\r\\n' if not pause else b'2')
                time.sleep(pause)
        except OSError:
            pass
threading.Thread(target=talk, args=(2124, 0)).start()
talk(2125, 0.3)
",
    )
    .unwrap();
    host.start_unit(
        "talker.service",
        "[Service]\nExecStart=/usr/bin/python3 /root/talker.py\n",
    )
    .unwrap();
    host.sh("for port in 2124 2125; do
            for n in $(seq 100); do ss -Hltn \"sport = $port\" | grep -q . && break; sleep 0.1; done
        done")
        .unwrap();
    let talkers = json!({
        "check_ftp_connect_servers": ["127.0.0.1:2124", "127.0.0.1:2125", "127.0.0.1"],
        "check_ftp_connect_timeout": 1,
    });
    let told = fleet.run(ROLE, &["store"], &talkers);
    told.failed("127.0.0.1:2124: connecting failed: its responses have more than 1000 lines;")
        .failed("127.0.0.1:2125: connecting failed: not finished after 10 s");
    for (server, up) in [
        ("127.0.0.1:2124", 0.0),
        ("127.0.0.1:2125", 0.0),
        ("127.0.0.1", 1.0),
    ] {
        let gauge = fleet.gauge("ftp_up", &[("server", server)]);
        assert_eq!(gauge, Some(up), "{server}");
    }
}

fn tls(fleet: &Fleet) {
    let run = |vars: &[(&str, Value)]| {
        let mut all = json!({
            "check_ftp_connect_servers": ["127.0.0.1:2121"],
            "check_ftp_connect_directory": "incoming",
        });
        for (name, value) in vars {
            all[format!("{ROLE}_{name}")] = value.clone();
        }
        fleet.run(ROLE, &["store"], &all)
    };
    let (yes, no) = (json!(true), json!(false));
    run(&[]).failed("127.0.0.1:2121: logging in as carrier failed: 530 ");
    run(&[("tls", yes.clone())]).failed(
        "127.0.0.1:2121: TLS failed: the certificate is not valid: self-signed certificate",
    );
    let told = run(&[("tls", yes), ("tls_verify", no)]);
    told.successful().changed(0);
    let answers = &told.findings(ROLE, "store")["answers"];
    assert_eq!(answers[0]["entries"], 2, "{answers}");
}

fn a_refused_login_is_found_on_2_16() {
    let fleet = Fleet::with(Release::V2_16, &["store"], "");
    build(&fleet);
    refused_login(&fleet);
}
