//! An option of a shipped role that is, or leads to, a program is not taken over the API: its role's own
//! `meta/promansible.yml` says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Modules that run what they are given.
const RUNNERS: [&str; 6] = ["command", "shell", "script", "raw", "expect", "apt_key"];

/// What names a file of tasks, a role, or variables.
const INCLUDES: [&str; 5] = [
    "include_tasks",
    "import_tasks",
    "include_role",
    "import_role",
    "include_vars",
];

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_default();
    if text.trim().is_empty() {
        return Value::Null;
    }
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn shipped() -> Vec<PathBuf> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbook");
    let kinds = ["alert/roles", "routine/roles"];
    kinds
        .iter()
        .flat_map(|kind| entries(&tree.join(kind)))
        .collect()
}

/// What a role runs, and what its variables are made of.
#[derive(Default)]
struct Found {
    /// The texts of programs.
    programs: Vec<String>,
    /// Name → the texts that a variable is made of.
    made_of: BTreeMap<String, Vec<String>>,
}

impl Found {
    fn define(&mut self, vars: &Value) {
        for (name, value) in vars.as_object().into_iter().flatten() {
            self.made_of
                .entry(name.clone())
                .or_default()
                .push(value.to_string());
        }
    }

    fn tasks(&mut self, tasks: &Value) {
        for task in tasks.as_array().into_iter().flatten() {
            let task = task.as_object().unwrap();
            for part in ["block", "rescue", "always"] {
                self.tasks(task.get(part).unwrap_or(&Value::Null));
            }
            self.define(task.get("vars").unwrap_or(&Value::Null));
            self.task(task);
        }
    }

    fn task(&mut self, task: &Map<String, Value>) {
        for (key, args) in task {
            match key.rsplit('.').next().unwrap() {
                "set_fact" => self.define(args),
                runner if RUNNERS.contains(&runner) => self.runner(args),
                include if INCLUDES.contains(&include) => self.programs.push(args.to_string()),
                "environment" | "become_user" | "become_exe" => {
                    self.programs.push(args.to_string());
                }
                _ => {}
            }
            // A lookup reads or runs on the controller.
            let text = args.to_string();
            let lookups = text.split("lookup(").skip(1);
            self.programs
                .extend(lookups.filter_map(|call| Some(call.split_once(')')?.0.to_owned())));
        }
    }

    fn runner(&mut self, args: &Value) {
        let Some(command) = args.get("argv") else {
            self.programs.push(args.to_string());
            return;
        };
        let words = command.as_array().map_or(&[][..], Vec::as_slice);
        let Some(first) = words.first() else {
            // All of it is a template. What a list is lengthened by are arguments.
            let text = command.to_string();
            let program = text.split(" + ").next().unwrap_or_default();
            self.programs.push(program.to_owned());
            return;
        };
        self.programs.push(first.to_string());
        let code = words.iter().position(|word| word == "-c");
        self.programs
            .extend(code.map(|at| words[at + 1].to_string()));
        if words.iter().any(|word| word == "-") {
            self.programs.push(args["stdin"].to_string());
        }
        let places = ["chdir", "executable"].map(|key| args.get(key).map(Value::to_string));
        self.programs.extend(places.into_iter().flatten());
    }

    /// The names that programs are made of, however far away.
    fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut texts: Vec<&str> = self.programs.iter().map(String::as_str).collect();
        while let Some(text) = texts.pop() {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for word in words.filter(|word| !word.is_empty()) {
                if names.insert(word.to_owned()) {
                    let made_of = self.made_of.get(word).into_iter().flatten();
                    texts.extend(made_of.map(String::as_str));
                }
            }
        }
        names
    }
}

#[test]
fn every_option_that_is_a_program_is_marked() {
    let mut marked = 0;
    for role in shipped() {
        let mut found = Found::default();
        found.define(&yaml(&role.join("vars/main.yml")));
        for file in entries(&role.join("tasks"))
            .iter()
            .chain(&entries(&role.join("handlers")))
        {
            found.tasks(&yaml(file));
        }
        let spec = yaml(&role.join("meta/argument_specs.yml"));
        let points = spec["argument_specs"].as_object().unwrap().values();
        let options = points.filter_map(|point| point["options"].as_object());
        let options: BTreeSet<&String> = options.flat_map(Map::keys).collect();
        let says = yaml(&role.join("meta/promansible.yml"));
        let marks = says["not_over_api"].as_array().cloned().unwrap_or_default();
        let names = found.names();
        let programs = options.into_iter().filter(|option| names.contains(*option));
        let programs: Vec<Value> = programs.map(|name| name.as_str().into()).collect();
        assert_eq!(programs, marks, "{}", role.display());
        marked += marks.len();
    }
    assert!(marked >= 2, "{marked}");
}
