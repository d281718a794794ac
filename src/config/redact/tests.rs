use std::path::Path;

use crate::config::Roles;
use crate::config::build;
use crate::config::load;
use crate::config::load_http_client;

const SECRET: &str = "hunter2canary";

/// The defect of each is on the line of a secret, or below it, or is the secret.
const BAD: [&str; 46] = [
    "notifiers: [{name: a, slack: {api_url: 'https://hooks.example/SECRET'}}]",
    "notifiers: [{name: a, slack: {api_url: 'https://hooks.example/SECRET}}]",
    "notifiers: [{name: a, slack: {api_url: [https://hooks.example/SECRET]}}]",
    "notifiers: [{name: a, slack: {api-url: https://hooks.example/SECRET}}]",
    "notifiers: [{name: a, slack: {api_url_file: https://hooks.example/SECRET}, on: [x]}]",
    "notifiers: [{name: a, webhook: {url: 'ftp://hooks.example/SECRET'}}]",
    "notifiers: [{name: a, webhook: {url: 'https://u:SECRET@hooks.example/'}}]",
    "notifiers: [{name: a, webhook: {http_config: {authorization: {type: Bearer SECRET}}}}]",
    "notifiers: [{name: a, webhook: {http_config: {basic_auth: {username: 'a:SECRET'}}}}]",
    "notifiers:\n- name: a\n  email:\n    to: [a@example.org]\n    auth_password: SECRET",
    "notifiers:\n- name: a\n  email:\n    to: [a@example.org]\n    auth_password SECRET",
    "notifiers:\n- name: a\n  email:\n    to: [a@example.org]\n    auth_pasword: SECRET",
    "notifiers:\n- name: a\n  email:\n    smarthost: 'a:SECRET@mail.example.org:25'",
    "web: {tokens: [{name: a, token: SECRET, scopes: [metrics]}]}",
    "web: {tokens: [{name: a, file: SECRET, scopes: [metric]}]}",
    "web: {tokens: [{name: a, SECRET}]}",
    "web: {tokens: [SECRET]}",
    "web: {tokens: SECRET}",
    "web: {tokens: {a: SECRET}}",
    "web:\n  tokens:\n  - name: a\n    token=SECRET",
    "web:\n  tokens:\n  - name: a\n\ttoken: SECRET",
    "web: {users: {alice: SECRET}}",
    "web: {users: {alice: [SECRET]}}",
    "web: {users: {alice: [operate]}, passwords: {alice: SECRET}}",
    "prometheus: {url: 'http://u:SECRET@p:9090'}",
    "prometheus: {url: 'http://p:9090/?token=SECRET'}",
    "prometheus: {url: 'SECRET'}",
    "prometheus: {url: 'http://p', basic_auth: {username: a, password: SECRET}}",
    "prometheus: {url: 'http://p', basic_auth: {password: SECRET}, timout: 5s}",
    "prometheus: {url: 'http://p', authorization: {credentials: SECRET}}",
    "prometheus: {url: 'http://p', authorization: SECRET}",
    "prometheus: {url: 'http://p', basic_auth: [a, SECRET]}",
    "prometheus: {timeout: x, headers: {x-token: SECRET}}",
    "alertmanager: {url: 'http://a', timeout: x, basic_auth: {username: a, password: SECRET}}",
    "alertmanager: {timeout: 5s password: SECRET}",
    "alertmanager: {timeout: 5x} # password: SECRET",
    "bindings:\n- {name: a, matchers: ['a=b'], roles: [nope], vars: {token: SECRET}}",
    "bindings:\n- {name: a, matchers: ['a=b'], roles: [notify], vars: {'a b': SECRET}}",
    "bindings:\n- name: a\n  matchers: ['a=b']\n  roles: [notify]\n  vars:\n    name: SECRET\n    name: x",
    "bindings:\n- name: a\n  matchers: ['a=b']\n  roles: [notify]\n  vars:\n    text: |\n      name: SECRET\n     \tx",
    "bindings:\n- name: a\n  matchers: ['a=b']\n  roles: [notify]\n  vars: {\n    name: [SECRET }",
    "bindings:\n- name: a\n  matchers: ['a=b']\n  roles: [notify]\n  vars:\n    name: \"SECRET\n",
    "bindings:\n- {name: a, matchers: ['a=b'], roles: [notify], vars: {name: *SECRET}}",
    "bindings:\n- {name: a, matchers: ['a=b'], roles: [notify], vars: {name: !SECRET x, name: !SECRET x}}",
    "schedules:\n- {name: a, cron: x, roles: [check_dns], target: controller, vars: {token: SECRET}}",
    "schedules:\n- {name: a, cron: '@daily', roles: [check_dns], target: controller, vars: SECRET}",
];

/// The same under `ansible`.
const BAD_ANSIBLE: [&str; 6] = [
    "environment: {A: SECRET, A: SECRET}",
    "environment: {'A B': SECRET}",
    "environment: {'A=SECRET'}",
    "environment: SECRET",
    "environment: {A: [SECRET]}",
    "ssh_pass: SECRET",
];

fn roles() -> Roles {
    Roles {
        alert: vec!["notify".to_owned()],
        routine: vec!["check_dns".to_owned()],
        ..Roles::default()
    }
}

fn files() -> Vec<String> {
    let ansible = "ansible: {playbook_dir: p, inventory: [i]}\n";
    let bad = BAD.iter().map(|bad| format!("{ansible}{bad}\n"));
    let inside = |bad: &&str| format!("ansible: {{playbook_dir: p, inventory: [i], {bad}}}\n");
    let below = |bad: &&str| format!("ansible:\n  playbook_dir: p\n  inventory: [i]\n  {bad}\n");
    let files = bad
        .chain(BAD_ANSIBLE.iter().map(inside))
        .chain(BAD_ANSIBLE.iter().map(below));
    files.map(|file| file.replace("SECRET", SECRET)).collect()
}

#[test]
fn a_defect_never_shows_a_secret_that_stands_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    for text in files() {
        let errors = build("f.yml", &text, &roles()).expect_err(&text);
        let mut said = vec![errors.to_string(), errors.render(true), errors.first_line()];
        let file = folder.path().join("f.yml");
        std::fs::write(&file, &text).unwrap();
        said.push(load(&file).expect_err(&text).to_string());
        for said in said {
            assert!(!said.contains(SECRET), "{text}\n{said}");
            assert!(said.contains(".yml"), "{said}");
        }
    }
}

#[test]
fn a_file_that_is_no_text_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.yml");
    std::fs::write(
        &file,
        format!("web:\n  token: {SECRET} \u{fc}").into_bytes(),
    )
    .unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.push(0xff);
    std::fs::write(&file, bytes).unwrap();
    let said = load(&file).unwrap_err().to_string();
    assert!(said.contains("f.yml:2:25: this is not UTF-8"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}

#[test]
fn a_file_of_http_config_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("http.yml");
    for text in [
        "basic_auth: {username: a, password: SECRET, x: y}",
        "basic_auth: {username: 'a:SECRET'}",
        "authorization: {type: Bearer SECRET}",
        "authorization: SECRET",
        "bearer_token: SECRET",
        "basic_auth: {username: a, password: 'SECRET}",
    ] {
        std::fs::write(&file, text.replace("SECRET", SECRET)).unwrap();
        let said = load_http_client(&file).expect_err(text).to_string();
        assert!(!said.contains(SECRET), "{text}\n{said}");
    }
}

#[test]
fn what_is_known_to_be_no_secret_is_shown() {
    let shown = |text: &str, shown: &str| {
        let text = format!("ansible: {{playbook_dir: p, inventory: [i]}}\n{text}\n");
        let said = build("f.yml", &text, &roles())
            .expect_err(&text)
            .to_string();
        assert!(said.contains(shown), "{said}\nwant {shown}");
    };
    shown(
        "bindings: [{name: a, matchers: ['a=b'], roles: [notify], timeout: 5x, vars: {a: b}}] # c",
        "2 | bindings: [{name: a, matchers: ['a=b'], roles: [notify], timeout: 5x, vars: {a: *}}] * *\n",
    );
    shown(
        "bindings:\n- name: a\n  matchers: ['a=b']\n  roles:\n  - nope",
        "6 |   - nope\n   |     ^~~~\n",
    );
    shown(
        "web: {tokens: [{name: a, file: /etc/a, scopes: [metric]}]}",
        "scopes: [metric]",
    );
    shown(
        "runs: {timeout: 5m, timout: 1m}",
        "timeout: 5m, timout: **}",
    );
    assert!(Path::new("tests/data/config/bad").is_dir());
}
