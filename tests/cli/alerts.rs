//! `alerts`, against a server.

use regex::Regex;

use crate::support::{Site, alert, golden, promansible, run};

const RULES: &str = "groups:
  - name: sites
    rules:
      - alert: SiteDown
        expr: |
          up{job=\"site\"}
            == 0
        for: 2m
        labels: {severity: critical}
        annotations: {summary: A site is down., runbook_url: 'http://wiki/site-down'}
      - {alert: Quiet, expr: up > 1, labels: {severity: info}}
";

fn without_times(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, instead) in [
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "YYYY-MM-DD hh:mm:ss"),
        (r"\b[0-9a-f]{16}\b", "FINGERPRINT"),
        (r"cursor=\S+", "cursor=CURSOR"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
    ] {
        let pattern = Regex::new(pattern).unwrap();
        text = pattern.replace_all(&text, instead).into_owned();
    }
    text
}

#[test]
fn what_fires_and_the_alert_types_are_shown() {
    // Nobody listens there.
    let site = Site::new()
        .no_bindings()
        .binding("down", "[ok]", "matchers: ['alertname=\"SiteDown\"']")
        .binding("bad", "[fail]", "matchers: ['alertname=~\"Bad.*\"']")
        .sections("prometheus: {url: 'http://127.0.0.1:9', rule_files: [SITE/rules.yml, SITE/none.yml]}\n");
    site.write("rules.yml", RULES);
    let server = site.start();
    let mut shown = String::new();
    let mut say = |args: &[&str]| {
        let output = run(promansible()
            .arg("alerts")
            .arg(format!("--server.url=http://{}", server.address))
            .args(args));
        shown.push_str(&format!(
            "$ promansible alerts {}\n{}{}[{}]\n\n",
            args.join(" "),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
            output.status.code().unwrap()
        ));
    };
    say(&["list"]);
    let on = |name: &str, host: &str| alert(name, host).label("severity", "warning");
    server.deliver(&[on("SiteDown", "web1:80")]);
    server.wait_run(1, "finished");
    server.deliver(&[
        on("SiteDown", "nowhere:80").since(1),
        on("Bad \x1b[31m", "web2").since(2),
        on("Nobody's", "web2").since(3),
        on("Nobody's", "web1").since(4).resolved(),
    ]);
    server.wait_run(2, "finished");
    for args in [
        &["list"][..],
        &["list", "--limit=2"],
        &["list", "--host=web1"],
        &["list", "--alertname=SiteDown", "--limit=1"],
        &["list", "--limit=0"],
        &["list", "--host=web9"],
        &["types"],
        &["types", "--unbound"],
        &["show", "SiteDown"],
        &["show", "Nobody's"],
        &["show", "Quiet"],
        &["show", "No such"],
    ] {
        say(args);
    }
    let site = site.path("").display().to_string();
    golden("cli/alerts.txt", &without_times(&shown.replace(&site, "")));
}
