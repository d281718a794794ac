//! `check_vpn_website_abroad_connect`: which sites are reachable.

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::host::Host;
use crate::stack::ansible::Release;
use crate::tests;

tests![what_is_reachable_and_what_not, a_fault_is_found_on_2_16];

const ROLE: &str = "check_vpn_website_abroad_connect";

const NGINX: &str = r#"events {}
http {
  access_log off;
  server {
    listen 80;
    listen 443 ssl;
    ssl_certificate /root/site.crt;
    ssl_certificate_key /root/site.key;
    location / { return 200 "welcome abroad"; }
    location /moved { return 302 /; }
    location /broken { return 500; }
  }
}
"#;

fn serve(host: &Host) {
    host.sh(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=site.example \
         -addext subjectAltName=DNS:site.example -keyout /root/site.key -out /root/site.crt 2>/dev/null",
    )
    .unwrap();
    host.write("/root/nginx.conf", NGINX).unwrap();
    host.start_unit(
        "site.service",
        "[Service]\nType=forking\nExecStart=/usr/sbin/nginx -c /root/nginx.conf\n",
    )
    .unwrap();
}

fn vars(urls: &[&str], more: &[(&str, Value)]) -> Value {
    let mut vars = json!({"check_vpn_website_abroad_connect_urls": urls,
                          "check_vpn_website_abroad_connect_timeout": 5});
    for (name, value) in more {
        vars[format!("{ROLE}_{name}")] = value.clone();
    }
    vars
}

fn what_is_reachable_and_what_not() {
    let fleet = Fleet::start(&["gateway", "site"], "");
    let (gateway, site) = (fleet.host("gateway"), fleet.host("site"));
    serve(site);
    gateway
        .write(
            "/etc/hosts",
            &format!(
                "127.0.0.1 localhost\n{} site.example other.example\n",
                site.address
            ),
        )
        .unwrap();
    gateway
        .write("/root/ca.crt", &site.sh("cat /root/site.crt").unwrap())
        .unwrap();
    let run = |vars: &Value| fleet.run(ROLE, &["gateway"], vars);
    let up = |url| fleet.gauge("web_up", &[("host", "gateway"), ("url", url)]);
    let (http, https) = ("http://site.example/", "https://site.example/");
    let ca = ("ca_file", json!("/root/ca.crt"));

    // All are well, through the device too; check mode asks as well.
    let well = vars(
        &[http, https, "http://site.example/moved"],
        &[ca.clone(), ("device", json!("eth0"))],
    );
    let told = run(&well);
    told.successful().changed(0);
    assert_eq!((up(http), up(https)), (Some(1.0), Some(1.0)));
    let seconds = fleet.gauge("web_seconds", &[("host", "gateway"), ("url", https)]);
    assert!(seconds.is_some_and(|seconds| seconds > 0.0), "{seconds:?}");
    let sites = &told.findings(ROLE, "gateway")["sites"];
    assert_eq!(sites[1]["status"], 200);
    assert_eq!(sites[2]["status"], 302);
    fleet
        .check(ROLE, &["gateway"], &well)
        .successful()
        .changed(0);

    // A certificate that nobody vouches for, a name that it does not have, a status, a port without a server.
    let told = run(&vars(&[http, https], &[]));
    told.failed("gateway cannot reach https://site.example/ (its certificate is not valid");
    told.failed("reachable: http://site.example/");
    assert_eq!((up(http), up(https)), (Some(1.0), Some(0.0)));
    let told = run(&vars(
        &[
            "https://other.example/",
            "http://site.example/broken",
            "http://site.example:81/",
        ],
        &[ca],
    ));
    told.failed("https://other.example/ (its certificate is not valid");
    told.failed("http://site.example/broken (status 500)");
    told.failed("Connection refused").failed("reachable: none");

    run(&vars(&[http], &[("text", json!("welcome abroad"))])).successful();
    run(&vars(&[http], &[("text", json!("{{ 7*7 }}"))]))
        .failed(r#"status 200, without the text "{{ 7*7 }}""#);

    // Through a device that leads nowhere, and through none.
    gateway
        .sh("ip link add ppp0 type veth peer name ppp0-end && ip link set ppp0 up && ip link set ppp0-end up")
        .unwrap();
    run(&vars(&[http], &[("device", json!("ppp0"))]))
        .failed("gateway cannot reach http://site.example/ (");
    run(&vars(&[http], &[("device", json!("ppp1"))]))
        .failed("gateway cannot reach http://site.example/ (network device ppp1 does not exist: is the VPN up?)");
    // The alert on it must not go by how it was before.
    assert_eq!(up(http), Some(0.0));

    // What is no HTTP, and does not end.
    site.write(
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
    site.start_unit(
        "talker.service",
        "[Service]\nExecStart=/usr/bin/python3 /root/talker.py\n",
    )
    .unwrap();
    site.sh("for n in $(seq 100); do ss -Hltn sport = 82 | grep -q . && exit 0; sleep 0.1; done; exit 1")
        .unwrap();
    let talker = "http://site.example:82/";
    let told = run(&vars(&[talker], &[]));
    told.failed("gateway cannot reach http://site.example:82/ ({{{{");
    assert!(told.findings(ROLE, "gateway")["web_up"].is_array());
    assert_eq!(up(talker), Some(0.0));

    // Through a proxy: only it knows the name. Nginx answers whoever asks it for a whole address.
    let proxy = ("proxy", json!(format!("http://me:secret@{}", site.address)));
    let told = run(&vars(&["http://far.example/"], &[proxy]));
    told.successful();
    assert!(!told.output.contains("secret"), "{}", told.text());

    for url in [
        "ftp://site.example/",
        "-rf",
        "http://me:pw@site.example/",
        "http://a b/",
    ] {
        run(&vars(&[url], &[])).failed("must be a list of http:// and https:// URLs");
    }
}

fn a_fault_is_found_on_2_16() {
    let fleet = Fleet::with(Release::V2_16, &["site"], "");
    serve(fleet.host("site"));
    let (http, https) = ("http://localhost/", "https://localhost/");
    fleet
        .run(ROLE, &["site"], &vars(&[http], &[]))
        .successful()
        .changed(0);
    fleet
        .run(ROLE, &["site"], &vars(&[http, https], &[]))
        .failed("site cannot reach https://localhost/ (its certificate is not valid");
    let up = |url| fleet.gauge("web_up", &[("host", "site"), ("url", url)]);
    assert_eq!((up(http), up(https)), (Some(1.0), Some(0.0)));
}
