//! Completions and man pages.

use std::process::Command;

use crate::support::{promansible, run, run_with};

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
    for (words, offered) in [
        ("runs ca", "cancel"),
        ("runs list --state ''", "queued running finished"),
        ("runs list --outcome un", "unreachable"),
        ("help", ""),
    ] {
        let count = words.split(' ').count();
        let (last, before) = {
            let mut words = words.rsplit(' ');
            (words.next().unwrap(), words.next().unwrap_or("promansible"))
        };
        let asked = format!(
            "\nCOMP_WORDS=(promansible {words}) COMP_CWORD={count}\n_promansible promansible {last} {before}\necho \"${{COMPREPLY[@]}}\"\n"
        );
        let asked = [&script[..], asked.as_bytes()].concat();
        let completed = run_with(&mut Command::new("bash"), &asked);
        assert_eq!(
            String::from_utf8_lossy(&completed.stdout),
            format!("{offered}\n"),
            "{words}: {completed:?}"
        );
    }
}

#[test]
fn zsh_and_fish_have_completions_of_every_subcommand() {
    for (shell, mark) in [
        ("zsh", "#compdef promansible"),
        ("fish", "complete -c promansible"),
    ] {
        let script = String::from_utf8(completions(shell)).unwrap();
        assert!(script.contains(mark), "{shell}");
        for verb in [
            "serve",
            "check",
            "explain",
            "run",
            "runs",
            "completions",
            "man",
        ] {
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
    let footer = concat!("\"promansible ", env!("CARGO_PKG_VERSION"), "\"");
    let heading = format!(".TH promansible 1 \" \" {footer} \"User Commands\"\n");
    assert!(page.contains(&heading), "{page}");
    assert!(!page.contains("revision"), "{page}");
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
        assert!(page.contains(footer), "{name}: {page}");
    }
    assert!(!folder.join("promansible-supervise.1").exists());
    // Every page that is referred to is there.
    let refers = regex::Regex::new(r"(?m)^(promansible\S*)\(1\)$").unwrap();
    let mut referred = 0;
    for page in std::fs::read_dir(&folder).unwrap() {
        let text = std::fs::read_to_string(page.unwrap().path()).unwrap();
        for found in refers.captures_iter(&text.replace("\\-", "-")) {
            referred += 1;
            let file = folder.join(format!("{}.1", &found[1]));
            assert!(file.exists(), "{}", file.display());
        }
    }
    assert!(referred >= 11, "{referred}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = |folder: &std::path::Path| {
        let made = run(promansible().arg("man").arg(folder));
        assert_eq!(made.status.code(), Some(1));
        String::from_utf8(made.stderr).unwrap()
    };
    let below = file.join("man");
    assert_eq!(
        refused(&below),
        format!(
            "promansible: cannot create the folder {}: Not a directory (os error 20)\n",
            below.display()
        )
    );
    std::fs::create_dir(folder.path().join("promansible.1")).unwrap();
    let error = refused(folder.path());
    let named = folder.path().join("promansible.1");
    assert!(
        error.contains(&format!("cannot write {}: ", named.display())),
        "{error}"
    );
}

#[test]
fn the_help_of_completions_says_where_shells_look() {
    for ask in ["-h", "--help"] {
        let help = String::from_utf8(run(promansible().args(["completions", ask])).stdout).unwrap();
        for place in [
            "~/.local/share/bash-completion/completions/promansible\n",
            "$fpath",
            "~/.config/fish/completions/promansible.fish\n",
        ] {
            assert!(help.contains(place), "{place} in {help}");
        }
    }
}
