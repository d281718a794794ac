//! `check config`, and what is the same for all subcommands.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use regex::Regex;

use crate::support::{Pki, Site, promansible, run};

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let site = Site::new();
    let file = site.config_file();
    let checked = run(promansible().args(["check", "config"]).arg(&file));
    assert_eq!(checked.status.code(), Some(0));
    let said = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(
        said,
        format!(
            "{}: good (1 binding, 4 alert roles, 0 routine roles)\n",
            file.display()
        )
    );
    assert!(checked.stderr.is_empty());
}

#[test]
fn without_alertmanager_a_binding_that_waits_for_a_verdict_is_a_warning() {
    let check_file = |file: &Path| {
        let checked = run(promansible().args(["check", "config"]).arg(file));
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
        String::from_utf8(checked.stderr).unwrap()
    };
    let check = |site: &Site| check_file(&site.config_file());
    let site = || Site::new().binding("slow", "[ok]", "verify_within: 20m");
    assert_eq!(
        check(&site()),
        "warning: alertmanager is not configured, but bindings depend on whether their alerts resolved (slow): a verdict may \
         stay unknown, and a next step waits for the next notification: set alertmanager: {url: http://127.0.0.1:9093}\n"
    );
    let asks = site().sections("alertmanager: {url: 'http://127.0.0.1:9093'}\n");
    assert_eq!(check(&asks), "");
    let stepped = Site::new();
    let file = stepped.config_file();
    let text = fs::read_to_string(&file).unwrap();
    let steps = "steps: [{roles: [ok]}, {roles: [wait]}]";
    fs::write(&file, text.replace("roles: [ok]", steps)).unwrap();
    let said = check_file(&file);
    assert!(said.contains("their alerts resolved (all): "), "{said}");
}

#[test]
fn what_is_not_in_path_is_a_warning_and_no_defect() {
    let site = Site::new();
    let file = site.config_file();
    let bin_dir = format!("bin_dir: {}, ", site.path("bin").display());
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(&bin_dir, "")).unwrap();
    let check = |path: &std::path::Path| {
        let checked = run(promansible()
            .args(["check", "config"])
            .arg(&file)
            .env("PATH", path));
        assert_eq!(checked.status.code(), Some(0));
        assert!(
            String::from_utf8(checked.stdout)
                .unwrap()
                .contains(": good (")
        );
        String::from_utf8(checked.stderr).unwrap()
    };
    assert_eq!(check(&site.path("bin")), "");
    site.remove("bin/ansible-playbook");
    assert_eq!(
        check(&site.path("bin")),
        "warning: ansible-playbook not found in PATH: set ansible.bin_dir to the folder that contains Ansible's programs\n"
    );
    assert_eq!(
        check(&site.path("nowhere")),
        "warning: ansible-playbook and ansible-inventory not found in PATH: set ansible.bin_dir to the folder that contains Ansible's programs\n"
    );
    // A run gets the configuration's PATH.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::create_dir(site.path("both")).unwrap();
    site.write("both/ansible-playbook", "");
    site.write("both/ansible-inventory", "");
    let own = format!(
        "ansible: {{environment: {{PATH: {}}}, ",
        site.path("both").display()
    );
    std::fs::write(&file, text.replace("ansible: {", &own)).unwrap();
    assert_eq!(check(&site.path("nowhere")), "");
}

#[test]
fn a_bad_one_is_shown_with_its_line_underlined() {
    let site = Site::new().binding("b", "[okey]", "tiemout: 5s");
    let file = site.config_file();
    let checked = run(promansible().args(["check", "config"]).arg(&file));
    assert_eq!(checked.status.code(), Some(1));
    assert!(checked.stdout.is_empty());
    let error = String::from_utf8(checked.stderr).unwrap();
    let wanted = format!("{}:12:5: ", file.display());
    assert!(error.starts_with(&wanted), "{error}");
    assert!(
        error.contains("\n 12 |     tiemout: **\n    |     ^~~~~~~\n"),
        "{error}"
    );
    assert!(error.contains("timeout"), "what would be right: {error}");
    assert!(!error.contains('\x1b'), "colours in a pipe");
}

#[test]
fn every_defect_of_meaning_is_told_at_once_and_serve_says_the_same() {
    let site = Site::new()
        .binding("b", "[okey]", "timeout: 5")
        .binding("all", "[ok]", "");
    let file = site.config_file();
    let checked = run(promansible().args(["check", "config"]).arg(&file));
    let error = String::from_utf8(checked.stderr).unwrap();
    for defect in ["unknown role \"okey\"", "timeout", "\"all\""] {
        assert!(error.contains(defect), "{defect} in {error}");
    }
    let (code, served) = site.refused();
    assert_eq!(code, 1);
    assert!(served.contains(error.trim_end()), "{served}");
    assert!(!site.store().exists());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let checked = run(promansible().args(["check", "config", "/nowhere/promansible.yml"]));
    assert_eq!(checked.status.code(), Some(1));
    let error = String::from_utf8(checked.stderr).unwrap();
    assert!(
        error.contains("/nowhere/promansible.yml") && error.contains("No such file"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_typed_is_code_two() {
    for args in [
        &["nonsense"][..],
        &["serve", "--web.listen-address=here"],
        &["runs", "show", "x"],
        &["serve", "--web.telemetry-path=/api/x"],
        &[],
    ] {
        assert_eq!(
            run(promansible().args(args)).status.code(),
            Some(2),
            "{args:?}"
        );
    }
}

#[test]
fn what_cannot_be_typed_is_told_with_what_would_be_right() {
    for (args, wanted) in [
        (
            &["serve", "--web.listen-address=here"][..],
            "expected ADDRESS:PORT, such as 127.0.0.1:10942",
        ),
        (
            &["runs", "show", "abc"],
            "\"abc\" is not the number of a run",
        ),
        (
            &["runs", "list", "--cursor=-1"],
            "\"-1\" is not the number of a run",
        ),
        (
            &["runs", "list", "--state=done"],
            "[possible values: queued, running, finished]",
        ),
        (
            &["runs", "list", "--outcome=bad"],
            "[possible values: successful, failed, unreachable, timeout, canceled, interrupted]",
        ),
        (&["help"], "unrecognized subcommand 'help'"),
    ] {
        let typed = run(promansible().args(args));
        assert_eq!(typed.status.code(), Some(2), "{args:?}");
        let error = String::from_utf8(typed.stderr).unwrap();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn every_address_is_an_address_that_others_can_reach() {
    let (code, error) = Site::new().arg("--web.listen-address=:0").refused();
    assert_eq!(code, 1);
    assert!(
        error.contains("[::]:0 can be reached from other machines"),
        "{error}"
    );
    let server = Site::new()
        .arg("--web.listen-address=localhost:0")
        .start_only();
    assert_eq!(server.address.ip().to_string(), "127.0.0.1");
    let site = Site::new()
        .arg("--web.listen-address=:0")
        .arg("--web.allow-remote-without-authentication");
    let server = site.start_only();
    assert!(server.address.ip().is_unspecified());
    let over_ipv4 = std::net::TcpStream::connect(("127.0.0.1", server.address.port()));
    assert!(over_ipv4.is_ok(), "{over_ipv4:?}");
}

#[test]
fn no_line_of_help_is_wider_than_a_terminal() {
    for verb in [
        "",
        "serve",
        "check",
        "check config",
        "doctor",
        "explain",
        "runs",
        "runs list",
        "runs show",
        "runs output",
        "runs cancel",
        "completions",
        "man",
    ] {
        let asked = run(promansible()
            .args(verb.split_whitespace())
            .arg("--help")
            .env("COLUMNS", "80"));
        assert_eq!(asked.status.code(), Some(0));
        let help = String::from_utf8(asked.stdout).unwrap();
        let wide: Vec<&str> = help.lines().filter(|l| l.chars().count() > 80).collect();
        assert_eq!(wide, [""; 0], "{verb}");
    }
}

#[test]
fn the_version_says_of_which_revision_it_is() {
    let said = String::from_utf8(run(promansible().arg("--version")).stdout).unwrap();
    let revision = said.split_once("revision ").map(|(_, rest)| rest);
    let revision = revision.unwrap_or_else(|| panic!("no revision in {said}"));
    let revision: String = revision
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    assert!(
        revision == "unknown"
            || revision.len() >= 7 && revision.chars().all(|c| c.is_ascii_hexdigit()),
        "{said}"
    );
    assert!(
        said.starts_with(concat!("promansible ", env!("CARGO_PKG_VERSION"))),
        "{said}"
    );
}

#[test]
fn a_defect_of_a_role_is_shown_with_the_role_s_own_file() {
    let site = Site::new()
        .looking("checks:\n  dns_up: {help: Whether it is up., label: [name]}\n")
        .binding("b", "[ok]", "timeout: 5");
    let file = site.config_file();
    let checked = run(promansible().args(["check", "config"]).arg(&file));
    assert_eq!(checked.status.code(), Some(1));
    let error = String::from_utf8(checked.stderr).unwrap();
    let (own, role) = error.split_once("\n\n").expect("two defects");
    assert!(
        own.starts_with(&format!("{}:12:14: ", file.display())),
        "{error}"
    );
    let role_file = site.path("playbook/alert/roles/look/meta/promansible.yml");
    let wanted = format!(
        "{}:2:37: unknown key \"label\"\n 2 |   dns_up: {{help: Whether it is up., label: [name]}}\n",
        role_file.display()
    );
    assert!(role.starts_with(&wanted), "{error}");
    assert!(role.contains("did you mean \"labels\"?"), "{error}");
}

/// The example with every comment that is a line of YAML made one, and files for those that it names.
#[test]
fn a_web_configuration_is_checked_with_the_files_that_it_names() {
    let site = Site::new();
    let pki = Pki::new(&site.path("web"), "authority");
    pki.issue("promansible", &["promansible.example.org"]);
    for (from, to) in [
        ("promansible.pem", "promansible.crt"),
        ("ca.pem", "clients-ca.crt"),
    ] {
        fs::rename(pki.path(from), pki.path(to)).unwrap();
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/web.yml");
    let check = |file: &Path| {
        let output = run(promansible().args(["check", "web-config"]).arg(file));
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    assert!(check(&example).0);
    let text = fs::read_to_string(&example).unwrap();
    let key = Regex::new("^# (  .*|[a-z_]+:.*)$").unwrap();
    let lines = text.lines().filter_map(|line| key.captures(line)?.get(1));
    let lines: Vec<&str> = lines.map(|line| line.as_str()).collect();
    assert!(lines.len() > 25, "{lines:?}");
    let text = lines.join("\n");
    site.secret("web/web.yml", &text);
    let file = site.path("web/web.yml");
    let (is_good, said) = check(&file);
    assert!(is_good, "{text}\n{said}");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let (is_good, said) = check(&file);
    assert!(
        !is_good && said.contains("everyone on this machine can read it: chmod o= "),
        "{said}"
    );
    site.secret(
        "web/web.yml",
        &text.replace("promansible.key", "nowhere.key"),
    );
    let (is_good, said) = check(&file);
    assert!(
        !is_good && said.contains("nowhere.key cannot be read"),
        "{said}"
    );
}

#[test]
fn what_will_not_do_what_it_seems_to_is_a_warning() {
    let site = Site::new().binding("quoted", "[ok]", "");
    let file = site.config_file();
    let text = fs::read_to_string(&file).unwrap();
    let at = text.find("name: quoted").unwrap();
    let (before, after) = text.split_at(at);
    let start = after.find("matchers: [").unwrap() + "matchers: [".len();
    let end = start + after[start..].find(']').unwrap();
    let quoted = format!(
        "{before}{}\"alertname = 'Down'\"{}",
        &after[..start],
        &after[end..]
    );
    fs::write(&file, quoted).unwrap();
    site.write(
        "playbook/ansible.cfg",
        "[defaults]\nforks = 3\ntimeout = 9\n[ssh_connection]\nhost_key_checking=False\n",
    );
    fs::create_dir_all(site.path("playbook/alert/roles/ok/meta")).unwrap();
    site.write(
        "playbook/alert/roles/ok/meta/main.yml",
        "dependencies: [gone]\n",
    );
    fs::set_permissions(&file, Permissions::from_mode(0o602)).unwrap();
    let checked = run(promansible().args(["check", "config"]).arg(&file));
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let said = String::from_utf8(checked.stderr).unwrap();
    for want in [
        "warning: the binding quoted: the single quotes around the value of alertname are part of the value, as in \
         Alertmanager: use double quotes, as in alertname=\"Down\"\n",
        "roles/ok/meta/main.yml: the role \"gone\" is not in any role folder: ",
        "playbook/ansible.cfg:2: [defaults] forks has no effect, because the argument --forks overrides it: set ansible.forks\n",
        "playbook/ansible.cfg:5: [ssh_connection] host_key_checking has no effect, because ANSIBLE_HOST_KEY_CHECKING in the \
         environment of each run overrides it: to override it, set the variable in ansible.environment\n",
        "promansible.yml: everyone on this machine can write it: chmod o= ",
    ] {
        assert!(said.contains(want), "{said}\nwant {want}");
    }
    assert_eq!(said.matches("warning: ").count(), 5, "{said}");
}
