//! Completions and man pages.

use std::process::Command;

use crate::bench::{promansible, run, run_with};

fn completions(shell: &str) -> Vec<u8> {
    let made = run(promansible().args(["completions", shell]));
    assert!(made.status.success(), "{made:?}");
    assert!(
        made.stdout.len() > 1000,
        "{shell}: {} bytes",
        made.stdout.len()
    );
    made.stdout
}

#[test]
fn bash_understands_its_completions() {
    let script = completions("bash");
    let checked = run_with(Command::new("bash").arg("-n"), &script);
    assert!(
        checked.status.success() && checked.stderr.is_empty(),
        "{checked:?}"
    );
    // And completes with them.
    let asked = [&script[..], b"\nCOMP_WORDS=(promansible runs ca) COMP_CWORD=2\n_promansible promansible ca runs\necho \"${COMPREPLY[@]}\"\n"].concat();
    let completed = run_with(&mut Command::new("bash"), &asked);
    assert_eq!(
        String::from_utf8_lossy(&completed.stdout),
        "cancel\n",
        "{completed:?}"
    );
}

#[test]
fn zsh_and_fish_have_completions_of_every_subcommand() {
    for (shell, mark) in [
        ("zsh", "#compdef promansible"),
        ("fish", "complete -c promansible"),
    ] {
        let script = String::from_utf8(completions(shell)).unwrap();
        assert!(script.contains(mark), "{shell}");
        for verb in ["serve", "check", "explain", "runs", "completions", "man"] {
            assert!(script.contains(verb), "{verb} in {shell}");
        }
        assert!(
            !script.contains("supervise"),
            "what only promansible starts is not shown"
        );
    }
}

#[test]
fn man_pages_are_written_for_every_subcommand() {
    let page = String::from_utf8(run(promansible().arg("man")).stdout).unwrap();
    assert!(page.contains(".TH promansible 1"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("new");
    assert!(run(promansible().arg("man").arg(&folder)).status.success());
    for name in [
        "promansible.1",
        "promansible-serve.1",
        "promansible-runs-list.1",
        "promansible-check-config.1",
    ] {
        let page =
            std::fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(page.contains(".TH "), "{name}");
    }
    assert!(!folder.join("promansible-supervise.1").exists());
}
