//! The document and the router know the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::site::document;
use crate::support::Site;
use crate::{program, well_done};

const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PUT", "DELETE"];

/// Path → its methods. Whatever is asked for in a path, it is `{}` here.
type Routes = BTreeMap<String, BTreeSet<String>>;

fn in_document(document: &Value) -> Routes {
    let paths = document["paths"].as_object().unwrap();
    let methods = |answers: &Value| {
        let methods = answers.as_object().unwrap().keys();
        let methods = methods.map(|method| method.to_uppercase());
        methods.filter(|m| METHODS.contains(&&**m)).collect()
    };
    let plain = |path: &str| {
        let parts = path.split('/');
        let parts = parts.map(|part| if part.starts_with('{') { "{}" } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    let paths = paths.iter();
    paths
        .map(|(path, answers)| (plain(path), methods(answers)))
        .collect()
}

/// The table above `src/http/mod.rs`, which is what people keep.
fn in_table() -> Routes {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/mod.rs");
    let source = fs::read_to_string(file).unwrap();
    let mut routes = Routes::new();
    let rows = source
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "));
    for row in rows.skip(2) {
        let (methods, rest) = row.split_once(" | ").unwrap();
        let (paths, _) = rest.split_once(" | ").unwrap();
        let paths = paths.split('`').filter(|path| path.starts_with('/'));
        for path in paths {
            let is_name =
                |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_uppercase());
            let parts = path
                .split('/')
                .map(|part| if is_name(part) { "{}" } else { part });
            let methods = methods.split(", ").map(str::to_owned);
            let path = parts.collect::<Vec<_>>().join("/");
            routes.entry(path).or_default().extend(methods);
        }
    }
    routes
}

#[test]
fn the_document_is_valid() {
    let site = Site::new();
    let server = site.start();
    site.write("openapi.json", &document(&server).to_string());
    let file = site.path("openapi.json");
    let said = well_done(Command::new(program("openapi-spec-validator")).arg(file));
    assert!(said.contains("OK"), "{said}");
}

#[test]
fn the_table_of_routes_and_the_document_are_the_same() {
    let server = Site::new().start();
    let (table, document) = (in_table(), in_document(&document(&server)));
    assert!(table.len() > 30, "{table:?}");
    assert_eq!(table, document);
}

#[test]
fn the_router_answers_every_path_of_the_document_with_its_methods_and_no_other() {
    let server = Site::new().start();
    for (path, mut methods) in in_document(&document(&server)) {
        // Events have no length that HEAD could ask for.
        if methods.contains("GET") && !path.ends_with("/events") {
            methods.insert("HEAD".to_owned());
        }
        let path = path.replace("{}", "7");
        let answer = server.request("PATCH", &path, &[], b"");
        assert_eq!(answer.status, 405, "{path}: {}", answer.text());
        let allowed = answer.header("allow").unwrap().split(", ");
        let allowed: BTreeSet<String> = allowed.map(str::to_owned).collect();
        assert_eq!(allowed, methods, "{path}");
        let asked = methods
            .iter()
            .filter(|method| !path.ends_with("/events") || *method != "GET");
        for method in asked {
            let answer = server.request(method, &path, &[], b"");
            let nowhere = format!("there is no {path}");
            let is_there = answer.status != 405 && !answer.text().contains(&nowhere);
            assert!(is_there, "{method} {path}: {}", answer.text());
        }
    }
    for path in [
        "/api/v1/openapi.yaml",
        "/api/v1/runs/7/what",
        "/api/v1/cron/7",
        "/what",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}
