//! Each folder of `src/` is a layer, and a module uses only the layers below its own. The documents name files that exist.
#![allow(
    clippy::unwrap_used,
    reason = "the deny list is for the product: a test may panic"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// From the top. A layer is a folder of `src/`.
const LAYERS: [&str; 14] = [
    "cli",
    "app",
    "http",
    "services",
    "store",
    "ansible",
    "alert_types",
    "plan",
    "auth",
    "clients",
    "config",
    "metrics",
    "model",
    "util",
];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The folders of `src/store/` and `src/http/`, from the top. Their own files (types, errors, the router) may use all.
const STORE: [&str; 4] = ["engine", "views", "ops", "disk"];
const HTTP: [&str; 4] = ["portal", "events", "api", "core"];

/// The layers that a source text names by `crate::`, with the line of each.
fn used_layers(text: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for rest in line.split("crate::").skip(1) {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            used.push((number + 1, name));
        }
    }
    used
}

/// Every use of a layer that is not below the user's own.
fn upward_uses(layer: &str, text: &str) -> Vec<String> {
    let rank = |name: &str| LAYERS.iter().position(|l| *l == name);
    let own = rank(layer).unwrap();
    let mut upward = Vec::new();
    for (line, name) in used_layers(text) {
        match rank(&name) {
            Some(other) if other >= own => {}
            Some(_) => upward.push(format!("line {line} uses {name}")),
            // A grouped or glob import hides what it uses, so there is none of the crate's root.
            None => upward.push(format!("line {line} does not name a layer after crate::")),
        }
    }
    upward
}

#[test]
fn src_holds_the_layers_and_nothing_else() {
    let mut names: Vec<String> = fs::read_dir(src())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut expected: Vec<String> = LAYERS.iter().map(ToString::to_string).collect();
    expected.extend(["lib.rs".to_owned(), "main.rs".to_owned()]);
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn a_layer_uses_only_the_layers_below_it() {
    let mut upward = Vec::new();
    for layer in LAYERS {
        let mut files = Vec::new();
        rust_files(&src().join(layer), &mut files);
        assert!(!files.is_empty(), "{layer} has no source file");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for found in upward_uses(layer, &text) {
                upward.push(format!("{}: {found}", file.display()));
            }
        }
    }
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn inside_the_store_and_the_server_the_same_holds() {
    let mut upward = Vec::new();
    for (layer, folders) in [("store", STORE), ("http", HTTP)] {
        for (own, folder) in folders.iter().enumerate() {
            let mut files = Vec::new();
            rust_files(&src().join(layer).join(folder), &mut files);
            assert!(!files.is_empty(), "{layer}/{folder} has no source file");
            for file in files.iter().filter(|file| !is_test(file)) {
                let text = fs::read_to_string(file).unwrap();
                let product = text.split("#[cfg(test)]").next().unwrap();
                for above in &folders[..own] {
                    if product.contains(&format!("crate::{layer}::{above}::")) {
                        upward.push(format!("{} uses {above}", file.display()));
                    }
                }
            }
        }
    }
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

/// Whether a file holds nothing but tests, which may look at everything.
fn is_test(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "tests.rs")
}

#[test]
fn an_upward_use_is_found() {
    assert_eq!(
        upward_uses(
            "store",
            "use crate::plan::Choice;\nuse crate::http::Context;\n"
        ),
        ["line 2 uses http"]
    );
    assert_eq!(upward_uses("store", "use crate::{http, plan};").len(), 1);
    assert!(upward_uses("cli", "let app = crate::app::App::start();").is_empty());
}

/// The files of this repository that a document names in backticks.
fn named_files(text: &str) -> Vec<&str> {
    let folders = ["src/", "tests/", "rules/", "playbook/", "config/", "docs/"];
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|name| folders.iter().any(|folder| name.starts_with(folder)))
        .filter(|name| {
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        })
        .collect()
}

#[test]
fn documents_name_only_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = vec![root.join("ARCHITECTURE.md"), root.join("README.md")];
    for folder in ["docs", "docs/decisions"] {
        let pages = fs::read_dir(root.join(folder)).unwrap();
        let pages = pages.map(|page| page.unwrap().path());
        documents.extend(pages.filter(|page| page.extension().is_some_and(|e| e == "md")));
    }
    let mut missing = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for name in named_files(&text) {
            if !root.join(name).exists() {
                missing.push(format!("{}: {name}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
