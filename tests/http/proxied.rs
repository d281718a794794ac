//! promansible behind a reverse proxy: the real nginx, with and without taking the path away, and proxies that are not one.

use std::collections::BTreeSet;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;

use crate::support::{Answer, PATIENCE, Pki, Server, Site, alert, notification};

const HTML: (&str, &str) = ("Accept", "text/html");

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// nginx on a port of its own. Dropping it kills it.
struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Nginx {
    /// It shows what is at `upstream` below `/promansible/`.
    fn start(site: &Site, port: u16, upstream: &str, more: &str) -> Self {
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| {
                format!(
                    "{kind}_temp_path {};\n",
                    site.path(&format!("nginx-{kind}")).display()
                )
            })
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {pid};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temp}server {{\nlisten 127.0.0.1:{port};\nlocation /promansible/ {{ proxy_pass {upstream}; proxy_buffering off; proxy_http_version 1.1; {more} }}\n}}\n}}\n",
            pid = site.path("nginx.pid").display(),
        );
        site.write("nginx.conf", &config);
        let program = if std::path::Path::new("/usr/sbin/nginx").exists() {
            "/usr/sbin/nginx"
        } else {
            "nginx"
        };
        let child = Command::new(program)
            .arg("-c")
            .arg(site.path("nginx.conf"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx, which tests/setup.sh installs");
        let nginx = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        let begin = Instant::now();
        while TcpStream::connect(nginx.address).is_err() {
            assert!(begin.elapsed() < PATIENCE, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks whoever listens there.
fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes()).unwrap();
    Answer::read(&mut BufReader::new(stream), method).expect("an answer")
}

/// A site with something of everything that pages link to, and a user.
fn site() -> Site {
    let hash = bcrypt::hash("hunter2", 4).unwrap();
    let site = Site::new().binding("named", "[ok]", "approval: {required: true, ttl: 1h}").sections(
        "schedules:\n  - {name: nightly, cron: '0 3 * * *', roles: [tidy], target: {group: web}}\n",
    );
    std::fs::create_dir_all(site.path("playbook/routine/roles/tidy")).unwrap();
    site.secret(
        "web.yml",
        &format!("basic_auth_users: {{alice: '{hash}'}}\n"),
    );
    let file = format!("--web.config.file={}", site.path("web.yml").display());
    site.arg(&file)
}

fn start(site: &Site) -> Server {
    let server = site.start_only();
    server.wait_for_log("inventory read");
    server
}

/// Signs in through the proxy as a browser does. Yields the cookie.
fn sign_in(address: SocketAddr) -> String {
    let led = ask(
        address,
        "GET",
        "/promansible/runs?state=queued",
        &[HTML],
        "",
    );
    assert_eq!(led.status, 303, "{}", led.text());
    let location = led.header("location").unwrap();
    assert_eq!(location, "/promansible/login?next=%2Fruns%3Fstate%3Dqueued");
    let form = ask(address, "GET", location, &[HTML], "");
    assert_eq!(form.status, 200);
    assert!(form.text().contains(r#"action="/promansible/login""#));
    let origin = format!("http://{address}");
    let headers = [
        HTML,
        ("Origin", origin.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let filled = "user=alice&password=hunter2&next=%2Fruns%3Fstate%3Dqueued";
    let inside = ask(address, "POST", "/promansible/login", &headers, filled);
    assert_eq!(inside.status, 303, "{}", inside.text());
    assert_eq!(
        inside.header("location"),
        Some("/promansible/runs?state=queued")
    );
    let set = inside.header("set-cookie").unwrap();
    assert!(set.contains("; Path=/promansible;"), "{set}");
    set.split(';').next().unwrap().to_owned()
}

/// Follows every link, asset and form of every page. All stay below the prefix; what can be fetched is there.
fn crawl(address: SocketAddr, cookie: &str) -> BTreeSet<String> {
    let link = Regex::new(r#" (href|src|action|formaction|data-live)="([^"]*)""#).unwrap();
    let mut to_see = vec!["/promansible/".to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(path) = to_see.pop() {
        let path = path.split('#').next().unwrap().replace("&amp;", "&");
        if !seen.insert(path.clone()) {
            continue;
        }
        let answer = ask(address, "GET", &path, &[HTML, ("Cookie", cookie)], "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let is_page = answer.header("content-type") == Some("text/html; charset=utf-8");
        if !is_page {
            continue;
        }
        for found in link.captures_iter(&answer.text()) {
            let (attribute, to) = (&found[1], &found[2]);
            if to.starts_with('#') || to.starts_with("https://") || to.starts_with("http://") {
                continue;
            }
            assert!(to.starts_with("/promansible/"), "{path}: {attribute}={to}");
            // A stream has no end, and a form wants to be sent.
            let is_read = matches!(attribute, "href" | "src");
            if is_read && !to.ends_with("/events") {
                to_see.push(to.to_owned());
            }
        }
    }
    seen
}

/// Everything that people and programs do, by way of a proxy.
fn is_whole(address: SocketAddr, server: &Server, webhook: &str) {
    let cookie = sign_in(address);
    let basic = ("Authorization", "Basic YWxpY2U6aHVudGVyMg==");
    let json = ("Content-Type", "application/json");
    let body = notification(&[
        alert("SiteDown", "web1").annotation("summary", "a href=\"/x\""),
        alert("Other", "web2").label("for", "named"),
    ]);
    let body = String::from_utf8(body).unwrap();
    let posted = ask(server.address, "POST", webhook, &[basic, json], &body);
    assert_eq!(posted.status, 200, "{}", posted.text());
    // Otherwise it could end between its page and the page that cancels it. The run of `named` waits.
    let run = webhook.replace("webhook", "runs/1");
    server.wait("run 1 finished", || {
        let run = ask(server.address, "GET", &run, &[basic], "").text();
        run.contains(r#""state":"finished""#)
    });
    let seen = crawl(address, &cookie);
    for path in [
        "/promansible/runs/1",
        "/promansible/hosts/web1",
        "/promansible/alerts/SiteDown",
        "/promansible/schedules/nightly",
        "/promansible/bindings/named",
        "/promansible/roles/ok",
        "/promansible/audit",
        "/promansible/metrics",
        "/promansible/api/v1/runs",
        "/promansible/pause",
    ] {
        assert!(seen.contains(path), "nothing leads to {path}: {seen:#?}");
    }
    assert!(
        seen.iter()
            .any(|path| path.starts_with("/promansible/assets/portal.css"))
    );
    let cookie = ("Cookie", cookie.as_str());
    let origin = format!("http://{address}");
    let form = [
        ("Origin", origin.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
        cookie,
    ];
    let paused = ask(address, "POST", "/promansible/pause", &form, "why=x");
    assert_eq!(paused.status, 303, "{}", paused.text());
    assert_eq!(paused.header("location"), Some("/promansible/"));
    let evil = [("Origin", "http://evil.example"), form[1], cookie];
    let refused = ask(address, "POST", "/promansible/pause", &evil, "why=x");
    assert_eq!(refused.status, 403);
    let document = ask(
        address,
        "GET",
        "/promansible/api/v1/openapi.json",
        &[cookie],
        "",
    );
    let document: serde_json::Value = serde_json::from_slice(&document.body).unwrap();
    assert_eq!(document["servers"][0]["url"], "/promansible/");
    let stream = events(address, cookie.1);
    assert!(stream.starts_with("HTTP/1.1 200"), "{stream}");
    assert!(stream.contains("text/event-stream"), "{stream}");
}

/// The head of the stream of events.
fn events(address: SocketAddr, cookie: &str) -> String {
    use std::io::Read as _;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET /promansible/api/v1/events HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn below_a_path_that_the_proxy_passes_on() {
    let port = free_port();
    let url = format!("--web.external-url=http://127.0.0.1:{port}/promansible/");
    let site = site().arg(&url);
    let server = start(&site);
    let upstream = format!("http://{}", server.address);
    let nginx = Nginx::start(&site, port, &upstream, "");
    is_whole(nginx.address, &server, "/promansible/api/v1/webhook");

    // What is not below it is not there.
    let basic = [("Authorization", "Basic YWxpY2U6aHVudGVyMg==")];
    for path in [
        "/runs",
        "/api/v1/runs",
        "/metrics",
        "/promansiblex",
        "//promansible/",
    ] {
        let answer = ask(server.address, "GET", path, &basic, "");
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains("everything is below /promansible/"));
    }
    for path in ["/", "/promansible"] {
        let led = ask(server.address, "GET", path, &basic, "");
        assert_eq!(
            (led.status, led.header("location")),
            (302, Some("/promansible/"))
        );
    }
    let ready = ask(server.address, "GET", "/promansible/-/ready", &basic, "");
    assert_eq!(ready.status, 200);
}

#[test]
fn below_a_path_that_the_proxy_takes_away() {
    let port = free_port();
    let url = format!("--web.external-url=http://127.0.0.1:{port}/promansible/");
    let site = site().arg(&url).arg("--web.route-prefix=/");
    let server = start(&site);
    let upstream = format!("http://{}/", server.address);
    let nginx = Nginx::start(&site, port, &upstream, "");
    is_whole(nginx.address, &server, "/api/v1/webhook");
}

#[test]
fn below_a_path_of_which_the_proxy_tells_in_a_header() {
    let site = site();
    let config = "schedules:\n  - {name: nightly, cron: '0 3 * * *', roles: [tidy], target: {group: web}}\nweb: {trusted_proxies: [127.0.0.1]}\n";
    let site = site.sections(config);
    let server = start(&site);
    let upstream = format!("http://{}/", server.address);
    let headers = "proxy_set_header X-Forwarded-Prefix /promansible; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;";
    let nginx = Nginx::start(&site, free_port(), &upstream, headers);
    is_whole(nginx.address, &server, "/api/v1/webhook");
    // Behind TLS the cookie is for TLS alone.
    let origin = format!("http://{}", nginx.address);
    let mut form = vec![
        ("Origin", origin.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", origin.strip_prefix("http://").unwrap()),
    ];
    let filled = "user=alice&password=hunter2";
    let secure = |form: &[(&str, &str)]| {
        let inside = ask(server.address, "POST", "/login", form, filled);
        assert_eq!(inside.status, 303, "{}", inside.text());
        inside.header("set-cookie").unwrap().ends_with("; Secure")
    };
    assert!(secure(&form));
    form.remove(2);
    assert!(!secure(&form));
}

const PROXY: &str = "web:\n  trusted_proxies: [TRUSTED]\n  proxy_user: {header: X-Forwarded-User, scopes: [operate], users: {scraper: [metrics], nobody: []}}\n";

#[test]
fn a_proxys_user_and_address_are_taken_from_trusted_proxies_alone() {
    let site = Site::new().sections(&PROXY.replace("TRUSTED", "127.0.0.1, 10.0.0.0/8"));
    let server = start(&site);
    let get = |path: &str, headers: &[(&str, &str)]| server.request("GET", path, headers, b"");
    for (user, runs, metrics) in [
        ("alice", 200, 200),
        ("scraper", 403, 200),
        ("nobody", 403, 403),
    ] {
        let header = [("X-Forwarded-User", user)];
        assert_eq!(get("/api/v1/runs", &header).status, runs, "{user}");
        assert_eq!(get("/metrics", &header).status, metrics, "{user}");
    }
    // Who says nothing, or two names, is nobody.
    assert_eq!(get("/api/v1/runs", &[]).status, 401);
    let two = [("X-Forwarded-User", "alice"), ("X-Forwarded-User", "root")];
    assert_eq!(get("/api/v1/runs", &two).status, 401);
    let headers = [
        ("X-Forwarded-User", "alice"),
        ("X-Forwarded-For", "6.6.6.6, 192.0.2.7, 10.0.0.9"),
        ("Content-Type", "application/json"),
    ];
    let asked = server.request("POST", "/api/v1/pause", &headers, br#"{"why":"x"}"#);
    assert_eq!(asked.status, 200, "{}", asked.text());
    let audit = get("/api/v1/audit", &headers).text();
    assert!(
        audit.contains(r#""who":"alice","proof":"proxy","address":"192.0.2.7""#),
        "{audit}"
    );
}

#[test]
fn what_a_stranger_says_of_itself_is_not_believed() {
    let site = Site::new().sections(&PROXY.replace("TRUSTED", "192.0.2.1"));
    let hash = bcrypt::hash("hunter2", 4).unwrap();
    site.secret(
        "web.yml",
        &format!("basic_auth_users: {{alice: '{hash}'}}\n"),
    );
    let file = format!("--web.config.file={}", site.path("web.yml").display());
    let server = start(&site.arg(&file));
    let spoofed = [
        ("X-Forwarded-User", "root"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("Forwarded", "for=192.0.2.1"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("Accept", "text/html"),
    ];
    let led = server.request("GET", "/runs", &spoofed, b"");
    assert_eq!(
        (led.status, led.header("location")),
        (303, Some("/login?next=%2Fruns"))
    );
    assert_eq!(
        server
            .request("GET", "/api/v1/runs", &spoofed[..6], b"")
            .status,
        401
    );
    let basic = ("Authorization", "Basic YWxpY2U6aHVudGVyMg==");
    let json = ("Content-Type", "application/json");
    let headers = [&spoofed[..6], &[basic, json]].concat();
    let asked = server.request("POST", "/api/v1/pause", &headers, br#"{"why":"x"}"#);
    assert_eq!(asked.status, 200, "{}", asked.text());
    let audit = server.request("GET", "/api/v1/audit", &headers, b"").text();
    let entry = r#""who":"alice","proof":"password","address":"127.0.0.1:"#;
    assert!(
        audit.contains(entry) && !audit.contains("192.0.2.1"),
        "{audit}"
    );
}

#[test]
fn certificates_of_others_than_the_proxy_count_no_less() {
    // A proxy's word comes with its TCP connection, not with TLS: both ways in stand beside each other.
    let site = Site::new().sections(&PROXY.replace("TRUSTED", "127.0.0.1"));
    let pki = Pki::new(&site.path("pki"), "authority");
    pki.issue("server", &["127.0.0.1"]);
    pki.issue("client", &["client.example"]);
    site.secret(
        "web.yml",
        "tls_server_config: {cert_file: pki/server.pem, key_file: pki/server.key, client_auth_type: VerifyClientCertIfGiven, client_ca_file: pki/ca.pem}\n",
    );
    let file = format!("--web.config.file={}", site.path("web.yml").display());
    let server = start(&site.arg(&file));
    let path = |file: &str| pki.path(file).display().to_string();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let with = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    // Where somebody has to say who it is, a certificate that nobody named says nothing.
    assert_eq!(server.curl_tls("/api/v1/runs", &with).status, 401);
    let user = [&with[..], &["-H", "X-Forwarded-User: alice"]].concat();
    assert_eq!(server.curl_tls("/api/v1/runs", &user).status, 200);
}
