//! TLS and client certificates, asked by the real curl.

use std::io::{BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{Answer, Pki, Server, Site, promansible, run};

/// A site with an authority, a server's certificate of it for 127.0.0.1, and two clients'.
fn site(more: &str) -> (Site, Pki) {
    let site = Site::new();
    let pki = Pki::new(&site.path("pki"), "authority");
    pki.issue("server", &["127.0.0.1", "localhost"]);
    pki.issue("prom", &["prom.example"]);
    pki.issue("other", &["other.example"]);
    write(&site, more);
    let file = format!("--web.config.file={}", site.path("web.yml").display());
    (site.arg(&file), pki)
}

/// Relative paths start at the file's folder.
fn write(site: &Site, more: &str) {
    site.secret(
        "web.yml",
        &format!(
            "tls_server_config: {{cert_file: pki/server.pem, key_file: pki/server.key{more}}}\n"
        ),
    );
}

fn start(site: &Site) -> Server {
    let server = site.start_only();
    server.wait_for_log("inventory read");
    server
}

/// Options of curl's for a client with this certificate.
fn with(pki: &Pki, name: &str) -> Vec<String> {
    let path = |file: &str| pki.path(file).display().to_string();
    let mut options = vec!["--cacert".to_owned(), path("ca.pem")];
    if !name.is_empty() {
        options.extend(["--cert".to_owned(), path(&format!("{name}.pem"))]);
        options.extend(["--key".to_owned(), path(&format!("{name}.key"))]);
    }
    options
}

fn status(server: &Server, path: &str, options: &[String], more: &[&str]) -> u16 {
    let options: Vec<&str> = options
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    server.curl_tls(path, &options).status
}

#[test]
fn tls_is_spoken_with_what_was_chosen_and_nothing_else() {
    let (site, pki) = site(
        ", min_version: TLS12, max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256], curve_preferences: [CurveP256]",
    );
    let server = start(&site);
    let curl = with(&pki, "");
    let ask = |more: &[&str]| status(&server, "/-/healthy", &curl, more);
    assert_eq!(ask(&[]), 200);
    assert_eq!(
        ask(&["--tlsv1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"]),
        200
    );
    assert_eq!(ask(&["--tlsv1.3"]), 0);
    assert_eq!(ask(&["--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"]), 0);
    assert_eq!(ask(&["--curves", "X25519"]), 0);
    assert_eq!(server.curl("/-/healthy", &["--http0.9"]).status, 0);
    // Nobody is who he is not.
    assert_eq!(server.curl_tls("/-/healthy", &[]).status, 0);
}

#[test]
fn certificates_are_read_again_and_broken_ones_are_not_taken() {
    let (site, pki) = site("");
    let server = start(&site);
    let curl = with(&pki, "");
    let serial = || {
        let verbose: Vec<&str> = curl
            .iter()
            .map(String::as_str)
            .chain(["-w", "%{certs}"])
            .collect();
        let output = run(Command::new("curl")
            .arg("-sS")
            .args(["-o", "/dev/null"])
            .args(verbose)
            .arg(format!("https://{}/-/healthy", server.address)));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let first = serial();
    assert!(first.contains("BEGIN CERTIFICATE"), "{first}");
    assert_eq!(serial(), first);
    pki.issue("server", &["127.0.0.1"]);
    let second = serial();
    assert!(second.contains("BEGIN CERTIFICATE") && second != first);
    // A key of another certificate, as between the two writes of a renewal.
    site.secret(
        "pki/server.key",
        &std::fs::read_to_string(pki.path("prom.key")).unwrap(),
    );
    assert_eq!(serial(), second);
    server.wait_for_log("the old one stays in force");
    site.write("pki/server.pem", "junk");
    assert_eq!(serial(), second);
    pki.issue("server", &["127.0.0.1"]);
    assert!(serial().contains("BEGIN CERTIFICATE") && serial() != second);
}

#[test]
fn each_type_of_client_authentication_asks_for_what_it_says() {
    let (site, pki) = site("");
    let strangers = Pki::new(&site.path("strangers"), "somebody else");
    strangers.issue("stranger", &["prom.example"]);
    let server = start(&site);
    let ca = pki.path("ca.pem").display().to_string();
    let mut stranger = with(&strangers, "stranger");
    stranger[1].clone_from(&ca);
    for (more, [none, known, other, strange]) in [
        ("", [200, 200, 200, 200]),
        (
            ", client_auth_type: RequestClientCert",
            [200, 200, 200, 200],
        ),
        (
            ", client_auth_type: RequireAnyClientCert",
            [0, 200, 200, 200],
        ),
        (
            ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: pki/ca.pem",
            [200, 200, 200, 0],
        ),
        (
            ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: pki/ca.pem",
            [0, 200, 200, 0],
        ),
        (
            ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: pki/ca.pem, client_allowed_sans: [prom.example]",
            [0, 200, 0, 0],
        ),
    ] {
        write(&site, more);
        let found = [
            status(&server, "/metrics", &with(&pki, ""), &[]),
            status(&server, "/metrics", &with(&pki, "prom"), &[]),
            status(&server, "/metrics", &with(&pki, "other"), &[]),
            status(&server, "/metrics", &stranger, &[]),
        ];
        assert_eq!(
            found,
            [none, known, other, strange],
            "{more}\n{}",
            server.log()
        );
    }
}

#[test]
fn a_certificate_may_have_scopes_of_its_own() {
    let (site, pki) =
        site(", client_auth_type: VerifyClientCertIfGiven, client_ca_file: pki/ca.pem");
    let site = site.sections("web: {certificates: {prom.example: [metrics]}}\n");
    let server = start(&site);
    for (name, metrics, runs) in [("", 401, 401), ("prom", 200, 403), ("other", 401, 401)] {
        let options = with(&pki, name);
        assert_eq!(
            status(&server, "/metrics", &options, &[]),
            metrics,
            "{name}"
        );
        assert_eq!(
            status(&server, "/api/v1/runs", &options, &[]),
            runs,
            "{name}"
        );
    }
}

#[test]
fn a_certificate_does_not_stand_for_a_password() {
    let (site, pki) =
        site(", client_auth_type: RequireAndVerifyClientCert, client_ca_file: pki/ca.pem");
    let web = std::fs::read_to_string(site.path("web.yml")).unwrap();
    let hash = bcrypt::hash("hunter2", 4).unwrap();
    site.secret(
        "web.yml",
        &format!("{web}basic_auth_users: {{alice: '{hash}'}}\n"),
    );
    let server = start(&site);
    let prom = with(&pki, "prom");
    assert_eq!(status(&server, "/metrics", &prom, &[]), 401);
    assert_eq!(
        status(&server, "/metrics", &prom, &["-u", "alice:hunter2"]),
        200
    );
    assert_eq!(
        status(
            &server,
            "/metrics",
            &with(&pki, ""),
            &["-u", "alice:hunter2"]
        ),
        0
    );
}

#[test]
fn http2_is_spoken_where_it_is_offered() {
    let (site, pki) = site("");
    let server = start(&site);
    let curl = with(&pki, "");
    let got = |path: &str, more: &[&str]| {
        let options: Vec<&str> = curl.iter().map(String::as_str).collect();
        server.curl_tls(path, &[&options[..], more].concat())
    };
    let page = got("/", &["--http2"]);
    assert!(page.text.starts_with("HTTP/2 200"), "{}", page.text);
    assert!(page.text.contains("</html>"));
    let old = got("/-/healthy", &["--http1.1"]);
    assert!(old.text.starts_with("HTTP/1.1 200"), "{}", old.text);
    // No body, and its length.
    let head = got("/metrics", &["--http2", "-I"]);
    assert!(head.text.starts_with("HTTP/2 200"), "{}", head.text);
    assert!(head.text.contains("content-length: "), "{}", head.text);
    // A form proves by the host where it comes from.
    let form = ["--http2", "-X", "POST", "-d", "why=x"];
    let of = |origin: &str| {
        let header = format!("Origin: {origin}");
        got("/pause", &[&form[..], &["-H", &header]].concat()).status
    };
    assert_eq!(of("https://evil.example"), 403);
    assert_eq!(of(&format!("https://{}", server.address)), 303);
    // A large body, in frames, and one that is larger than may be.
    site.write(
        "large.json",
        &format!("{{\"x\": \"{}\"}}", "x".repeat(9 << 20)),
    );
    let large = format!("@{}", site.path("large.json").display());
    let json = "Content-Type: application/json";
    let posted = got(
        "/api/v1/webhook",
        &["--http2", "-H", json, "--data-binary", &large],
    );
    assert_eq!(posted.status, 413, "{}", posted.text);
    assert_eq!(got("/-/healthy", &["--http2"]).status, 200);

    // Where it is not wanted, it is not offered.
    let web = std::fs::read_to_string(site.path("web.yml")).unwrap();
    site.secret(
        "web.yml",
        &format!("{web}http_server_config: {{http2: false}}\n"),
    );
    let plain = got("/-/healthy", &["--http2"]);
    assert!(plain.text.starts_with("HTTP/1.1 200"), "{}", plain.text);
    server.stop();
}

/// What `openssl req -x509` makes of these options: `NAME.pem` and `NAME.key`.
fn self_signed(pki: &Pki, name: &str, options: &[&str]) {
    let key = pki.path(&format!("{name}.key"));
    let output = run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", &format!("/CN={name}")])
        .args(options)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(pki.path(&format!("{name}.pem"))));
    assert!(output.status.success(), "{output:?}");
}

const FOR_LOOPBACK: [&str; 2] = ["-addext", "subjectAltName=IP:127.0.0.1"];

/// `runs list` of the command line, which trusts this file.
fn command_line(site: &Site, server: &Server, tls: &str) -> (bool, String) {
    site.secret("http.yml", &format!("tls_config: {{{tls}}}\n"));
    let output = run(promansible()
        .args(["runs", "list"])
        .arg(format!("--server.url=https://{}", server.address))
        .arg(format!(
            "--http.config.file={}",
            site.path("http.yml").display()
        )));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

#[test]
fn a_self_signed_certificate_is_trusted_as_itself_by_the_command_line() {
    let (site, pki) = site("");
    self_signed(&pki, "server", &FOR_LOOPBACK);
    let server = start(&site);
    let ca = pki.path("server.pem").display().to_string();
    assert_eq!(
        server.curl_tls("/-/healthy", &["--cacert", &ca]).status,
        200
    );
    let told = |tls: &str| command_line(&site, &server, tls);
    assert_eq!(told("ca_file: pki/server.pem"), (true, String::new()));
    // Another of the same names is another.
    self_signed(
        &pki,
        "twin",
        &[&FOR_LOOPBACK[..], &["-subj", "/CN=server"]].concat(),
    );
    let (taken, why) = told("ca_file: pki/twin.pem");
    assert!(!taken, "{why}");
    // Its name, its time and its purpose count as of any other.
    let no_name: &[&str] = &["-addext", "subjectAltName=DNS:elsewhere.example"];
    let for_clients = [
        &FOR_LOOPBACK[..],
        &["-addext", "extendedKeyUsage=clientAuth"],
    ]
    .concat();
    let for_servers = [
        &FOR_LOOPBACK[..],
        &["-addext", "extendedKeyUsage=serverAuth"],
    ]
    .concat();
    let signs_others = [
        &FOR_LOOPBACK[..],
        &["-addext", "keyUsage=critical,keyCertSign"],
    ]
    .concat();
    for (options, good, because) in [
        (no_name, false, "not valid for"),
        (&for_clients, false, "purpose"),
        (&signs_others, false, "purpose"),
        (&for_servers, true, ""),
    ] {
        self_signed(&pki, "server", options);
        let (taken, why) = told("ca_file: pki/server.pem");
        assert_eq!(taken, good, "{options:?}: {why}");
        assert!(why.to_lowercase().contains(because), "{options:?}: {why}");
    }
    ended(&pki, "server");
    let (taken, why) = told("ca_file: pki/server.pem");
    assert!(!taken && why.to_lowercase().contains("expired"), "{why}");
}

/// Makes a self-signed certificate of a time that is over.
fn ended(pki: &Pki, name: &str) {
    lasting(pki, name, Duration::from_secs(1_600_000_000));
}

/// Makes a self-signed certificate that ends so long after 1970.
fn lasting(pki: &Pki, name: &str, until: Duration) {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + until;
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    std::fs::write(pki.path(&format!("{name}.pem")), cert.pem()).unwrap();
    std::fs::write(pki.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
}

#[test]
fn a_self_signed_certificate_of_a_client_is_trusted_as_itself_and_others_are_told_why_not() {
    let (site, pki) =
        site(", client_auth_type: RequireAndVerifyClientCert, client_ca_file: pki/client.pem");
    let client: &[&str] = &["-addext", "subjectAltName=DNS:client.example"];
    self_signed(&pki, "client", client);
    self_signed(&pki, "stranger", client);
    let site = site.sections("web: {certificates: {'DNS:client.example': [metrics]}}\n");
    let server = start(&site);
    let by = |name: &str| status(&server, "/metrics", &with(&pki, name), &[]);
    assert_eq!((by("client"), by("stranger"), by("")), (200, 0, 0));
    server.wait_for_log("client certificate rejected");
    let log = server.log();
    let refused: Vec<_> = log
        .lines()
        .filter(|line| line.contains("client certificate rejected"))
        .collect();
    assert!(refused[0].contains("level=warn"), "{refused:?}");
    let why = "the certificate is a CA certificate";
    assert!(refused[0].contains(why), "{refused:?}");
    // Whoever comes over and over fills no log.
    for _ in 0..20 {
        assert_eq!(by("stranger"), 0);
    }
    let log = server.log();
    let times = log.matches("client certificate rejected").count();
    assert!(times <= 12, "{log}");
    // One that is not for clients, and one that has ended.
    self_signed(
        &pki,
        "client",
        &[client, &["-addext", "extendedKeyUsage=serverAuth"]].concat(),
    );
    assert_eq!(by("client"), 0);
    ended(&pki, "client");
    assert_eq!(by("client"), 0);
}

#[test]
fn names_of_certificates_count_by_their_type() {
    let (mut site, pki) =
        site(", client_auth_type: VerifyClientCertIfGiven, client_ca_file: pki/clients.pem");
    let sans = [
        ("dns", "DNS:name.example"),
        ("uri", "URI:name.example"),
        ("email", "email:a@name.example"),
        ("spiffe", "URI:spiffe://name.example/a"),
        ("ip", "IP:192.0.2.7"),
    ];
    let mut clients = String::new();
    for (name, san) in sans {
        self_signed(&pki, name, &["-addext", &format!("subjectAltName={san}")]);
        clients += &std::fs::read_to_string(pki.path(&format!("{name}.pem"))).unwrap();
    }
    site.write("pki/clients.pem", &clients);
    for (wanted, found) in [
        ("name.example", &["dns"][..]),
        ("DNS:name.example", &["dns"]),
        ("URI:name.example", &["uri"]),
        ("email:a@name.example", &["email"]),
        ("a@name.example", &["email"]),
        ("spiffe://name.example/a", &["spiffe"]),
        ("192.0.2.7", &["ip"]),
        ("DNS:192.0.2.7", &[]),
        ("CN:dns", &["dns"]),
        ("dns", &[]),
    ] {
        site = site.sections(&format!(
            "web: {{certificates: {{'{wanted}': [metrics]}}}}\n"
        ));
        let server = start(&site);
        let names = sans.iter().map(|(name, _)| *name);
        let let_in: Vec<_> = names
            .filter(|name| status(&server, "/metrics", &with(&pki, name), &[]) == 200)
            .collect();
        assert_eq!(let_in, found, "{wanted}");
    }
}

/// A connection with a client's certificate that stays open: the real `openssl s_client`.
struct Open {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Open {
    fn connect(server: &Server, pki: &Pki, client: &str, more: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-no_ign_eof", "-connect"])
            .arg(server.address.to_string())
            .arg("-cert")
            .arg(pki.path(&format!("{client}.pem")))
            .arg("-key")
            .arg(pki.path(&format!("{client}.key")))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    /// The status of the answer; 0 where there is none.
    fn ask(&mut self, path: &str) -> u16 {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        let stdin = self.child.stdin.as_mut().unwrap();
        let _ = stdin.write_all(request.as_bytes());
        let _ = stdin.flush();
        Answer::read(&mut self.answers, "GET").map_or(0, |answer| answer.status)
    }

    /// Waits until the server has ended it.
    fn is_ended(&mut self) {
        let mut rest = Vec::new();
        self.answers.read_to_end(&mut rest).unwrap();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long it is since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[test]
fn an_open_connection_ends_when_the_authority_of_its_certificate_leaves() {
    let (site, pki) =
        site(", client_auth_type: RequireAndVerifyClientCert, client_ca_file: pki/ca.pem");
    let server = start(&site);
    let mut open = Open::connect(&server, &pki, "prom", &[]);
    assert_eq!(open.ask("/metrics"), 200);
    assert_eq!(open.ask("/metrics"), 200);
    let mut stream = Open::connect(&server, &pki, "prom", &[]);
    let mut idle = Open::connect(&server, &pki, "prom", &[]);
    assert_eq!(idle.ask("/metrics"), 200);
    let follow = "GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let events = stream.child.stdin.as_mut().unwrap();
    events.write_all(follow.as_bytes()).unwrap();
    // Another authority takes its place.
    let other = Pki::new(&site.path("other"), "another authority");
    other.issue("prom", &["prom.example"]);
    std::fs::copy(other.path("ca.pem"), site.path("pki/ca2.pem")).unwrap();
    write(
        &site,
        ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: pki/ca2.pem",
    );
    assert_eq!(open.ask("/metrics"), 401);
    open.is_ended();
    // What asks for nothing more, or goes on for ever, ends soon.
    stream.is_ended();
    idle.is_ended();
    let ca = pki.path("ca.pem").display().to_string();
    let mut new = with(&other, "prom");
    new[1].clone_from(&ca);
    assert_eq!(status(&server, "/metrics", &new, &[]), 200);
    assert_eq!(status(&server, "/metrics", &with(&pki, "prom"), &[]), 0);
}

#[test]
fn a_certificate_that_ends_is_neither_resumed_nor_goes_on() {
    let (site, pki) =
        site(", client_auth_type: RequireAndVerifyClientCert, client_ca_file: pki/short.pem");
    lasting(&pki, "short", Duration::from_secs(4_000_000_000));
    let server = start(&site);
    // Long enough that a busy machine gets its connections.
    let until = now() + Duration::from_secs(30);
    lasting(&pki, "short", until);
    let mut open = Open::connect(&server, &pki, "short", &[]);
    assert_eq!(open.ask("/metrics"), 200);
    for version in ["-tls1_2", "-tls1_3"] {
        let session = site
            .path(&format!("session{version}"))
            .display()
            .to_string();
        let mut first = Open::connect(&server, &pki, "short", &[version, "-sess_out", &session]);
        assert_eq!(first.ask("/metrics"), 200);
        drop(first);
        let file = site.path(&format!("session{version}"));
        if !file.exists() {
            // There is nothing that could be resumed.
            continue;
        }
        let output = run(Command::new("openssl")
            .args(["s_client", version, "-sess_in", &session, "-connect"])
            .arg(server.address.to_string())
            .arg("-cert")
            .arg(pki.path("short.pem"))
            .arg("-key")
            .arg(pki.path("short.key")));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!said.contains("Reused, TLS"), "{version}: {said}");
    }
    while now() <= until + Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_ne!(open.ask("/metrics"), 200);
    open.is_ended();
    assert_eq!(status(&server, "/metrics", &with(&pki, "short"), &[]), 0);
}
