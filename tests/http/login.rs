//! Signing in to the portal, with the real curl as a browser.

use std::time::{Duration, Instant};

use crate::support::{Got, Pki, Server, Site};

const HTML: [&str; 2] = ["-H", "Accept: text/html"];
const OWN: [&str; 2] = ["-H", "Sec-Fetch-Site: same-origin"];

fn users() -> String {
    let hash = bcrypt::hash(" hunter 2", 4).unwrap();
    format!("basic_auth_users: {{alice: '{hash}', bob: '{hash}'}}\n")
}

fn site(more: &str) -> Site {
    let site = Site::new().sections("web: {users: {bob: [metrics]}}\n");
    site.secret("web.yml", &format!("{}{more}", users()));
    let file = format!("--web.config.file={}", site.path("web.yml").display());
    site.arg(&file)
}

fn start(site: &Site) -> Server {
    let server = site.start_only();
    server.wait_for_log("inventory read");
    server
}

fn sign_in(server: &Server, user: &str, password: &str, next: &str) -> Got {
    let user = format!("user={user}");
    let password = format!("password={password}");
    let next = format!("next={next}");
    let form = [
        "--data-urlencode",
        &user,
        "--data-urlencode",
        &password,
        "--data-urlencode",
        &next,
    ];
    server.curl("/login", &[&form[..], &OWN[..]].concat())
}

/// The cookie as a browser sends it back.
fn cookie(got: &Got) -> String {
    let set = got.header("set-cookie").unwrap();
    format!("Cookie: {}", set.split(';').next().unwrap())
}

#[test]
fn a_user_signs_in_by_the_form_looks_and_signs_out() {
    let site = site("");
    let server = start(&site);
    let led = server.curl("/runs?state=queued", &HTML);
    assert_eq!(led.status, 303);
    assert_eq!(
        led.header("location"),
        Some("/login?next=%2Fruns%3Fstate%3Dqueued")
    );
    let form = server.curl("/login?next=%2Fruns%3Fstate%3Dqueued", &HTML);
    assert_eq!(form.status, 200);
    assert!(
        form.text
            .contains(r#"name="next" value="/runs?state=queued""#),
        "{}",
        form.text
    );
    // Nothing of what is inside is on it.
    assert!(!form.text.contains("/hosts"), "{}", form.text);
    assert_eq!(server.curl("/assets/portal.css", &[]).status, 200);
    let inside = sign_in(&server, "alice", " hunter 2", "/runs?state=queued");
    assert_eq!(inside.status, 303);
    assert_eq!(inside.header("location"), Some("/runs?state=queued"));
    let set = inside.header("set-cookie").unwrap();
    assert!(
        set.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"),
        "{set}"
    );
    let cookie = cookie(&inside);
    let with =
        |path: &str, more: &[&str]| server.curl(path, &[&["-H", &cookie][..], more].concat());
    let page = with("/", &HTML);
    assert_eq!(page.status, 200);
    assert!(
        page.text.contains(r#"<span id="who">alice</span>"#),
        "{}",
        page.text
    );
    assert_eq!(with("/api/v1/runs", &[]).status, 200);
    // The cookie alone changes nothing for a page of another site.
    for foreign in ["Sec-Fetch-Site: cross-site", "Origin: http://evil.example"] {
        assert_eq!(
            with("/run", &["-H", foreign, "-d", "role=ok"]).status,
            403,
            "{foreign}"
        );
        assert_eq!(
            with("/logout", &["-H", foreign, "-X", "POST"]).status,
            403,
            "{foreign}"
        );
    }
    let listed = with("/api/v1/audit", &[]).text;
    assert!(
        listed.contains(r#""who":"alice","proof":"password""#) && listed.contains("/login"),
        "{listed}"
    );
    let type_of_form = [
        "-H",
        "Content-Type: application/x-www-form-urlencoded",
        "-X",
        "POST",
    ];
    let out = with("/logout", &[&OWN[..], &type_of_form[..]].concat());
    assert_eq!(out.status, 303, "{}", out.text);
    assert!(
        out.header("set-cookie")
            .unwrap()
            .starts_with("promansible_session=; Path=/; Max-Age=0;")
    );
    assert_eq!(with("/api/v1/runs", &[]).status, 401);
    assert!(!server.log().contains("hunter"), "{}", server.log());
}

#[test]
fn who_may_not_come_in_does_not_and_has_to_wait() {
    let site = site("");
    let server = start(&site);
    for (user, password, said) in [
        ("alice", "wrong", "The user name or the password is wrong."),
        (
            "alice",
            "hunter 2",
            "The user name or the password is wrong.",
        ),
        (
            "nobody",
            " hunter 2",
            "The user name or the password is wrong.",
        ),
        (
            "bob",
            " hunter 2",
            "This account has no access to the portal: it lacks the scope operate.",
        ),
    ] {
        let begin = Instant::now();
        let got = sign_in(&server, user, password, "/");
        assert_eq!(got.status, 403, "{user}");
        assert!(got.text.contains(said), "{}", got.text);
        assert_eq!(got.header("set-cookie"), None);
        assert!(user == "bob" || begin.elapsed() >= Duration::from_secs(1));
    }
    // A form of another site, a place elsewhere, a cookie of our own making.
    let form = ["-d", "user=alice", "--data-urlencode", "password= hunter 2"];
    assert_eq!(server.curl("/login", &form).status, 403);
    let elsewhere = sign_in(&server, "alice", " hunter 2", "//evil.example/");
    assert_eq!(elsewhere.header("location"), Some("/"));
    let forged = cookie(&elsewhere).replace("promansible_session=Y", "promansible_session=Z");
    assert_eq!(server.curl("/api/v1/runs", &["-H", &forged]).status, 401);
    // A session ends with the password, and with the process.
    let cookie = cookie(&elsewhere);
    let status = |server: &Server| server.curl("/api/v1/runs", &["-H", &cookie]).status;
    assert_eq!(status(&server), 200);
    let other = bcrypt::hash("other", 4).unwrap();
    let kept = std::fs::read_to_string(site.path("web.yml")).unwrap();
    site.secret(
        "web.yml",
        &format!("basic_auth_users: {{alice: '{other}', bob: '{other}'}}\n"),
    );
    assert_eq!(status(&server), 401);
    site.secret("web.yml", &kept);
    assert_eq!(status(&server), 200);
    drop(server);
    assert_eq!(status(&start(&site)), 401);
}

#[test]
fn through_tls_the_cookie_is_for_tls_alone() {
    let site = site("tls_server_config: {cert_file: pki/server.pem, key_file: pki/server.key}\n");
    let pki = Pki::new(&site.path("pki"), "authority");
    pki.issue("server", &["127.0.0.1"]);
    let server = start(&site);
    let ca = pki.path("ca.pem").display().to_string();
    let form = [
        "-d",
        "user=alice",
        "--data-urlencode",
        "password= hunter 2",
        "--cacert",
        &ca,
    ];
    let got = server.curl_tls("/login", &[&form[..], &OWN[..]].concat());
    assert!(
        got.header("set-cookie")
            .unwrap()
            .ends_with("SameSite=Strict; Secure")
    );
}

#[test]
fn a_link_on_another_site_leads_in_by_a_page_of_ours() {
    let server = start(&site(""));
    let link = ["-H", "Sec-Fetch-Site: cross-site"];
    let got = server.curl("/runs/7", &[&HTML[..], &link[..]].concat());
    assert_eq!(got.status, 200);
    assert!(
        got.text
            .contains(r#"<meta http-equiv="refresh" content="0; url=/runs/7">"#),
        "{}",
        got.text
    );
}
