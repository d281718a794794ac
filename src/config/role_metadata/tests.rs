use std::fs;

use serde_json::json;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn about(&self, name: &str) -> About {
        about(RoleKind::Routine, name, self.0.path().join(name))
    }

    fn check(&self, roles: &[&str], vars: &Value) -> Result<(), String> {
        let names: Vec<String> = roles.iter().map(|&role| role.to_owned()).collect();
        let roles = Roles {
            about: names.iter().map(|name| self.about(name)).collect(),
            ..Roles::default()
        };
        let inventory = |name: &str| name == "of_inventory";
        let checked = roles.check_vars(&names, vars.as_object().unwrap(), &inventory);
        checked.map_err(|e| e.to_string())
    }
}

const SPEC: &str =
    "argument_specs: {main: {options: {dns_name: {required: true}, dns_tries: {type: int}}}}";

#[test]
fn a_variable_that_no_role_knows_is_refused_where_all_say_what_they_know() {
    let folder = Folder::new(&[
        ("dns/meta/argument_specs.yml", SPEC),
        ("dns/defaults/main.yml", "dns_name: a\ndns_port: 53\n"),
        (
            "ping/meta/main.yml",
            "argument_specs: {main: {short_description: Pings.}}",
        ),
        (
            "ping/meta/argument_specs.yaml",
            "argument_specs:\n  main: {}\n  more: {options: {ping_count: {}}}",
        ),
        ("bare/tasks/main.yml", "[]"),
    ]);
    assert_eq!(folder.check(&["dns"], &json!({"dns_tries": 3})), Ok(()));
    assert_eq!(
        folder
            .check(&["dns"], &json!({"dns_treis": 3, "dns_tries": "x"}))
            .unwrap_err(),
        "vars.dns_tries: found \"x\"; want a whole number; vars.dns_treis: dns has no such variable; did you mean \
         \"dns_tries\"? the variables are dns_name, dns_tries"
    );
    // The file of its own is taken alone.
    assert_eq!(folder.about("ping").spec.unwrap().short_description, "");
    // What only its defaults or another entry point name is nothing to give.
    for name in ["ping_count", "dns_port"] {
        assert!(folder.check(&["dns", "ping"], &json!({name: 1})).is_err());
    }
    let both = folder
        .check(&["dns", "ping"], &json!({"tries": 3}))
        .unwrap_err();
    assert!(
        both.starts_with("vars.tries: none of these roles has such a variable; the variables are "),
        "{both}"
    );
    // A role that does not say what it knows may know all.
    assert_eq!(folder.check(&["dns", "bare"], &json!({"tries": 3})), Ok(()));
    assert_eq!(folder.check(&["bare"], &json!({"tries": 3})), Ok(()));
}

#[test]
fn what_is_set_elsewhere_is_not_missing() {
    let spec = "argument_specs: {main: {options: {of_inventory: {required: true}, mine: {required: true}, given: {required: true}}}}";
    let folder = Folder::new(&[
        ("r/meta/argument_specs.yml", spec),
        ("r/vars/main.yml", "mine: 1"),
        ("needy/meta/argument_specs.yml", spec),
        ("needy/meta/main.yml", "dependencies: [other]"),
        ("split/meta/argument_specs.yml", spec),
        ("split/defaults/main/a.yml", "given: 1"),
    ]);
    assert_eq!(
        folder.check(&["r"], &json!({})).unwrap_err(),
        "vars.given: it is required but missing; want a text"
    );
    assert_eq!(folder.check(&["r"], &json!({"given": 1})), Ok(()));
    // The source of other variables is unknown, but the accepted names are known.
    for role in ["needy", "split"] {
        assert_eq!(folder.check(&[role], &json!({})), Ok(()));
        assert!(folder.check(&[role], &json!({"others": 1})).is_err());
    }
    let roles = Roles {
        about: vec![folder.about("r")],
        ..Roles::default()
    };
    assert_eq!(roles.required_vars(), ["given", "of_inventory"]);
}

#[test]
fn what_cannot_be_read_is_a_warning_and_checks_nothing() {
    let long = format!("# {}\n", "x".repeat(2 << 20));
    let folder = Folder::new(&[
        (
            "tabs/meta/argument_specs.yml",
            "argument_specs:\n\tmain: {}\n",
        ),
        ("tabs/meta/main.yml", SPEC),
        ("long/meta/argument_specs.yml", &long),
        ("twice/meta/argument_specs.yml", SPEC),
        ("twice/defaults/main.yml", "a: 1\na: 2\n"),
        ("plain/tasks/main.yml", "[]"),
        ("empty/meta/argument_specs.yml", ""),
        ("vault/meta/argument_specs.yml", SPEC),
        (
            "vault/defaults/main.yml",
            "dns_name: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  61\n",
        ),
    ]);
    for (role, warning) in [
        (
            "tabs",
            "meta/argument_specs.yml:2:1: this line is indented with a tab",
        ),
        (
            "long",
            "meta/argument_specs.yml cannot be read: it is larger than 1 MiB",
        ),
        ("twice", "defaults/main.yml:2:1: duplicate key \"a\""),
    ] {
        assert_eq!(folder.about(role).warnings, [warning]);
        assert_eq!(
            folder.check(&[role], &json!({"dns_tries": 1})),
            Ok(()),
            "{role}"
        );
    }
    for role in ["plain", "empty", "missing"] {
        assert_eq!(folder.about(role).warnings, [""; 0]);
        assert_eq!(folder.about(role).spec, None);
    }
    assert_eq!(folder.about("vault").warnings, [""; 0]);
    assert_eq!(folder.check(&["vault"], &json!({})), Ok(()));
    // A wrong value is still reported if the spec itself can be read.
    assert!(
        folder
            .check(&["twice"], &json!({"dns_tries": "x"}))
            .is_err()
    );
}

#[test]
fn what_a_role_keeps_for_itself_is_not_taken() {
    let folder = Folder::new(&[
        ("bare/vars/main.yml", "bare_script: x"),
        ("dns/meta/argument_specs.yml", SPEC),
        ("dns/vars/main.yml", "dns_script: x\ndns_tries: 3\n"),
        (
            "needy/meta/argument_specs.yml",
            "argument_specs: {main: {}}",
        ),
        (
            "needy/meta/main.yml",
            "dependencies: [{role: dns}, dns, name]",
        ),
    ]);
    let refused = |roles: &[&str], name: &str| {
        let vars = json!({name: 1, "dns_name": "a"});
        folder.check(roles, &vars).unwrap_err()
    };
    assert_eq!(
        refused(&["bare"], "bare_script"),
        "vars.bare_script: bare sets it in its own vars, so it cannot be changed; leave it out"
    );
    assert!(refused(&["dns"], "dns_script").starts_with("vars.dns_script: dns sets it"));
    assert_eq!(
        folder.check(&["dns"], &json!({"dns_name": "a", "dns_tries": 1})),
        Ok(())
    );

    let mut roles = Roles {
        about: vec![folder.about("needy"), folder.about("dns")],
        ..Roles::default()
    };
    let needy = ["needy".to_owned()];
    let check = |roles: &Roles, vars: Value| {
        let checked = roles.check_vars(&needy, vars.as_object().unwrap(), &|_| true);
        checked.map_err(|e| e.to_string())
    };
    assert_eq!(check(&roles, json!({"dns_name": "a"})), Ok(()));
    let mark = ("dns_name".to_owned(), "dns".to_owned());
    roles.not_over_api = [mark].into();
    assert_eq!(
        check(&roles, json!({"dns_name": "a"})).unwrap_err(),
        "vars.dns_name: dns does not accept it over the API (not_over_api in its meta/promansible.yml); set it in the \
         configuration file or the inventory"
    );
    let of_dependency = check(&roles, json!({"dns_nam": "a"})).unwrap_err();
    assert!(of_dependency.ends_with("the variables are dns_tries"));
}
