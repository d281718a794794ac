//! `roles`, against a server.

use crate::support::{Site, golden, promansible, run};

#[test]
fn roles_are_listed_and_shown() {
    let site = Site::new().sections(
        "schedules: [{name: nightly, cron: '0 3 * * *', roles: [check_dns], target: {group: web}, vars: {zone: a}}]\n",
    );
    let role = "playbook/routine/roles/check_dns";
    site.write(
        &format!("{role}/meta/argument_specs.yml"),
        "argument_specs:
  main:
    short_description: Asks a resolver.
    description: It asks, and waits.
    options:
      zone: {required: true, description: Which zone.}
      tries: {type: int, default: 3, choices: [1, 3], description: [How often., No more.]}
      servers: {type: list, elements: str}
",
    );
    site.write(
        &format!("{role}/meta/promansible.yml"),
        "checks: {dns_answer_seconds: {help: How long it took.}}",
    );
    site.write(
        &format!("{role}/README.md"),
        "# check_dns\n\nAsks.\u{1b}[31m\n",
    );
    site.write("playbook/alert/roles/fail/meta/argument_specs.yml", "a: [");
    let server = site.start();
    for body in [
        r#"{"roles":["fail"],"target":{"hosts":["web1"]}}"#,
        r#"{"roles":["check_dns"],"target":{"hosts":["web1"]},"vars":{"zone":"a"}}"#,
    ] {
        let id = server.started_run(body);
        server.wait_run(id, "finished");
    }
    let mut shown = String::new();
    for args in [
        &[][..],
        &["list"],
        &["show", "check_dns"],
        &["show", "ok"],
        &["show", "fail"],
        &["show", "chekc_dns"],
    ] {
        let mut command = promansible();
        command
            .arg("roles")
            .arg(format!("--server.url=http://{}", server.address));
        let output = run(command.args(args));
        shown.push_str(&format!(
            "$ promansible roles {}\n{}{}[{}]\n\n",
            args.join(" "),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
            output.status.code().unwrap()
        ));
    }
    let time = regex::Regex::new(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC").unwrap();
    golden("cli/roles.txt", &time.replace_all(&shown, "TIME"));
}
