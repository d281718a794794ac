//! Alert text is data: whatever a label or annotation holds, nothing of it is executed and the role reads it as it is.

use std::fs;

use promansible::model::alert::LabelSet;
use promansible::model::run::{Outcome, Trigger};
use serde_json::json;

use crate::harness::{Bench, Version, alert, on_both};

on_both!(
    hostile_text_reaches_the_role_as_it_is,
    variables_of_a_run_by_hand_are_no_templates
);

/// Writes the whole alert down in several of the ways in which roles handle values.
const ROLE: &str = r#"
- name: Show that trusted text is a template, or this test would prove nothing
  ansible.builtin.debug:
    msg: "{{ trusted }}"
- name: "Handle {{ promansible_alert.labels.alertname }}"
  ansible.builtin.copy:
    content: "{{ promansible_alert | to_json | b64encode }}"
    dest: OUT/whole
    mode: '0600'
- name: Take a value into a fact
  ansible.builtin.set_fact:
    handle_taken: "{{ promansible_alert }}"
    handle_one: "{{ promansible_alert.labels.alertname }}"
  when: promansible_alert.labels.alertname != ''
- name: Write the fact down
  ansible.builtin.copy:
    content: "{{ handle_taken | to_json | b64encode }}"
    dest: OUT/taken
    mode: '0600'
- name: Show everything
  ansible.builtin.debug:
    msg: "{{ handle_one }} {{ promansible_alert }} {{ promansible_alerts_by_host }}"
- name: "Go through {{ handle_one }}"
  ansible.builtin.debug:
    msg: "{{ item.key }} is {{ item.value }}"
  loop: "{{ promansible_alert.labels | dict2items + promansible_alert.annotations | dict2items }}"
- name: Hand a value to a program
  ansible.builtin.command:
    argv: [touch, "OUT/argument-{{ handle_one | b64encode | replace('/', '_') }}"]
    creates: "OUT/{{ handle_one }}"
- name: Write one value raw
  ansible.builtin.copy:
    content: "{{ promansible_alert.labels.raw }}"
    dest: OUT/raw
    mode: '0600'
- name: Write a value whose name is hostile
  ansible.builtin.copy:
    content: "{{ promansible_alert.labels | dict2items | map(attribute='key') | join('|') }}"
    dest: OUT/names
    mode: '0600'
"#;

async fn hostile_text_reaches_the_role_as_it_is(version: Version) {
    let mut bench = Bench::new(version);
    bench.role("handle", ROLE);
    let trap = bench.out("TRAP");
    let trap = trap.to_str().unwrap();
    let call = format!("{{{{ lookup('pipe', 'touch {trap}') }}}}");
    let values = hostile(trap, &call);
    let mut labels = LabelSet::new();
    let mut annotations = LabelSet::new();
    labels.insert("alertname".into(), call.clone());
    labels.insert("raw".into(), call.clone());
    for (number, value) in values.iter().enumerate() {
        labels.insert(format!("value_{number}"), value.clone());
        annotations.insert(format!("value_{number}"), value.clone());
    }
    // Names may be any UTF-8 as well.
    for name in [
        call.as_str(),
        "{% raw %}",
        "all",
        "*",
        "!unsafe",
        "a b",
        "ünï",
        "hosts",
        "items",
        "ansible_host",
    ] {
        labels.insert(name.into(), call.clone());
        annotations.insert(name.into(), "x".into());
    }
    let mut data = alert(labels, annotations);
    data.generator_url = call.clone();
    data.fingerprint = call.clone();
    data.starts_at = call.clone();
    bench.alerts.insert("web1".into(), vec![data.clone()]);

    let proof = bench.out("PROOF");
    bench.work.vars.insert(
        "trusted".into(),
        format!("{{{{ lookup('pipe', 'touch {}') }}}}", proof.display()).into(),
    );
    let told = bench.run(&["web1"]).await;
    assert!(proof.exists(), "{}", told.text());
    let judged = told.judged(None);
    assert!(
        !bench.out("TRAP").exists(),
        "alert text was executed:\n{}",
        told.text()
    );
    assert_eq!(judged.outcome, Outcome::Successful, "{:?}", judged.message);
    assert_eq!(judged.results.len(), 1);
    assert_eq!(fs::read_to_string(bench.out("raw")).unwrap(), call);
    let names: Vec<&str> = data.labels.keys().map(String::as_str).collect();
    assert_eq!(
        fs::read_to_string(bench.out("names")).unwrap(),
        names.join("|")
    );
    let sent = serde_json::to_value(&data).unwrap();
    for file in ["whole", "taken"] {
        let bytes = base64(&fs::read_to_string(bench.out(file)).unwrap());
        let read: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        for part in ["labels", "annotations"] {
            for (name, value) in sent[part].as_object().unwrap() {
                assert_eq!(read[part][name], *value, "{file}: {part} {name:?}");
            }
        }
        assert_eq!(read, sent, "{file}");
    }
}

/// Roles like to take a file by the alert's name. An ansible-core before 2.19 takes what is in that name for a template,
/// which is why such alerts are not run there at all: `template_text`.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_named_by_a_label_is_no_template() {
    for (version, executed) in [(Version::New, false), (Version::Old, true)] {
        let mut bench = Bench::new(version);
        let trap = bench.out("TRAP");
        let call = format!("{{{{ lookup('pipe', 'touch {}') }}}}", trap.display());
        bench.role(
            "handle",
            "- ansible.builtin.include_tasks: \"{{ promansible_alert.labels.alertname }}.yml\"\n  ignore_errors: true\n",
        );
        bench.alert("web1", &[("alertname", &call)]);
        let told = bench.run(&["web1"]).await;
        // Were it not executed there either, the skip could go.
        assert_eq!(trap.exists(), executed, "{version:?}: {}", told.text());
    }
}

/// Everything that Ansible, YAML, Jinja, a shell or a path could take for more than text.
fn hostile(trap: &str, call: &str) -> Vec<String> {
    vec![
        call.to_owned(),
        format!("{{{{ lookup(\"ansible.builtin.pipe\", \"touch {trap}\") }}}}"),
        format!("{{% raw %}}{{% endraw %}}{call}"),
        format!("{{% set x = lookup('pipe', 'touch {trap}') %}}{{{{ x }}}}"),
        format!("#jinja2: variable_start_string: '['\n[ lookup('pipe', 'touch {trap}') ]"),
        format!("$(touch {trap}); `touch {trap}`"),
        "{{ 7 * 7 }}".into(),
        "{{ undefined_variable }} {# comment #}".into(),
        "{% raw %}".into(),
        "all".into(),
        "*".into(),
        "~.*".into(),
        "!web1".into(),
        "web1,web2:&web3".into(),
        "../../../etc/passwd".into(),
        "--extra-vars=@/etc/passwd".into(),
        "-e promansible_hosts=all".into(),
        "two\nlines\r\nand a tab\t".into(),
        "  spaces around  ".into(),
        "__ansible_unsafe".into(),
        "__ansible_vault".into(),
        "{\"__ansible_unsafe\": \"x\"}".into(),
        "{\"__ansible_vault\": \"$ANSIBLE_VAULT;1.1;AES256\"}".into(),
        "!unsafe x".into(),
        "!vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  00".into(),
        "[1, 2]".into(),
        "{'a': 1}".into(),
        "yes".into(),
        "0x10".into(),
        String::new(),
        "\u{0}\u{1}\u{7f}\u{85}\u{2028}\u{feff}".into(),
        "grüße 日本 🦀 \u{202e}x".into(),
        "\\{{ x }}\\n'\"".into(),
        format!("{}{call}", "A".repeat(64 * 1024)),
    ]
}

/// Just what Ansible's `b64encode` writes.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text
        .bytes()
        .filter_map(|byte| DIGITS.iter().position(|&digit| digit == byte));
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0, 0_usize);
    for digit in digits {
        held = (held << 6 | digit) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    bytes
}

async fn variables_of_a_run_by_hand_are_no_templates(version: Version) {
    let mut bench = Bench::new(version);
    bench.role(
        "handle",
        "- ansible.builtin.copy: {content: \"{{ given.deep[0] }}\", dest: OUT/deep, mode: '0600'}
- ansible.builtin.copy: {content: \"{{ (count + 1) if on else 0 }}\", dest: OUT/count, mode: '0600'}
- ansible.builtin.include_vars: {file: \"{{ text }}\"}
  ignore_errors: true
",
    );
    let trap = bench.out("TRAP");
    let call = format!("{{{{ lookup('pipe', 'touch {}') }}}}", trap.display());
    bench.trigger = Trigger::Manual;
    let vars = json!({"given": {"deep": [call]}, "text": call, "count": 2, "on": true});
    bench.work.vars = vars.as_object().unwrap().clone();
    let told = bench.run(&["web1"]).await;
    let outcome = told.judged(None).outcome;
    assert_eq!(outcome, Outcome::Successful, "{}", told.text());
    let read = |name: &str| fs::read_to_string(bench.out(name)).unwrap();
    assert_eq!((read("deep"), read("count")), (call, "3".to_owned()));
    assert!(!trap.exists(), "{}", told.text());
}
