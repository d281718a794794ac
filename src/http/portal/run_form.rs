//! The common part of the forms that select roles, a target and variables.

use serde_json::{Map, Value, json};

use crate::config::{self, Config};
use crate::http::Context;
use crate::http::core::error::ApiError;
use crate::http::portal::form::Form;
use crate::http::portal::layout::Wrong;

/// The number of roles that a form has room for.
const ROLES: usize = 6;

/// The fields that can have an error, apart from the form's own.
pub(super) const FIELDS: [&str; 4] = ["roles", "target", "vars", "timeout"];

/// The values of the field `target`.
const HOSTS: &str = "hosts";
const GROUP: &str = "group";
const CONTROLLER: &str = "controller";
const ALERTING: &str = "alerting_host";

/// The roles that a form offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// All roles, for a manual run.
    All,
    /// Roles for alerts; here the alert can also select the host.
    Alert,
    /// Routine roles.
    Routine,
}

/// The fields, as a form shows them.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub wrong: Wrong,
    pub offer: Offer,
    pub routine: Vec<String>,
    pub alert: Vec<String>,
    pub collection: Vec<String>,
    pub chosen: Vec<String>,
    pub target: &'static str,
    pub label: String,
    pub host_names: Vec<String>,
    pub hosts: String,
    pub groups: Vec<(String, usize)>,
    pub group: String,
    pub no_inventory: String,
    pub vars: String,
    pub check: bool,
    pub timeout: String,
    pub default_timeout: String,
}

impl Ask {
    pub(super) fn new(context: &Context, form: &Form, wrong: Wrong, offer: Offer) -> Self {
        let config = context.config.borrow().clone();
        let inventory = context.inventory.latest();
        let (mut host_names, mut groups) = (Vec::new(), Vec::new());
        if let Ok(inventory) = &inventory {
            host_names = inventory
                .hosts()
                .map(|host| host.name().to_owned())
                .collect();
            let sized = |name: &str| {
                let hosts = inventory.group_hosts(name).map_or(0, |of| of.len());
                (name.to_owned(), hosts)
            };
            groups = inventory
                .groups()
                .map(sized)
                .filter(|(_, n)| *n > 0)
                .collect();
        }
        let mut chosen: Vec<String> = form.all("role").map(str::to_owned).collect();
        chosen.truncate(ROLES);
        chosen.resize(ROLES, String::new());
        let (routine, alert) = offered(&config, offer);
        Self {
            wrong,
            offer,
            routine,
            alert,
            collection: config.roles.collection.clone(),
            chosen,
            target: target(form, offer),
            label: match form.text("label") {
                "" => "instance".to_owned(),
                label => label.to_owned(),
            },
            host_names,
            hosts: form.names("hosts").join(", "),
            groups,
            group: form.text("group").to_owned(),
            no_inventory: inventory
                .err()
                .map_or_else(String::new, |why| why.to_string()),
            vars: form.text("vars").to_owned(),
            check: form.is_on("check"),
            timeout: form.text("timeout").to_owned(),
            default_timeout: config::format_duration(config.runs.timeout),
        }
    }

    /// Whether there is no role to select.
    pub(super) fn is_empty(&self) -> bool {
        self.routine.is_empty() && self.alert.is_empty() && self.collection.is_empty()
    }

    /// Whether the target can be the alerting host.
    pub(super) fn by_alert(&self) -> bool {
        self.offer == Offer::Alert
    }
}

fn offered(config: &Config, offer: Offer) -> (Vec<String>, Vec<String>) {
    let roles = &config.roles;
    match offer {
        Offer::All => (roles.routine.clone(), roles.alert.clone()),
        Offer::Alert => (Vec::new(), roles.alert.clone()),
        Offer::Routine => (roles.routine.clone(), Vec::new()),
    }
}

fn target(form: &Form, offer: Offer) -> &'static str {
    match form.text("target") {
        GROUP => GROUP,
        CONTROLLER => CONTROLLER,
        HOSTS => HOSTS,
        _ if !form.text("group").is_empty() => GROUP,
        _ if offer == Offer::Alert && form.names("hosts").is_empty() => ALERTING,
        _ => HOSTS,
    }
}

/// Converts the form to `roles`, `target`, `vars` and `timeout` of the API and the configuration.
pub(super) fn request_body(form: &Form, offer: Offer) -> Result<Map<String, Value>, ApiError> {
    let hosts = form.names("hosts");
    let target = match target(form, offer) {
        GROUP if form.text("group").is_empty() => {
            return Err(ApiError::bad("target: choose a group"));
        }
        GROUP => json!({"group": form.text("group")}),
        CONTROLLER => json!("controller"),
        ALERTING => json!({"alerting_host": form.text("label")}),
        _ if hosts.is_empty() => {
            return Err(ApiError::bad(
                "target: name a host, or choose a group or the controller",
            ));
        }
        _ => json!({"hosts": hosts}),
    };
    let roles: Vec<&str> = form.all("role").collect();
    if roles.is_empty() {
        return Err(ApiError::bad("roles: choose one"));
    }
    let vars = config::parse_vars(form.text("vars"));
    let vars = vars.map_err(|why| ApiError::bad(format_args!("vars: {why}")))?;
    let mut asked = Map::new();
    asked.insert("roles".to_owned(), json!(roles));
    asked.insert("target".to_owned(), target);
    asked.insert("vars".to_owned(), Value::Object(vars));
    if !form.text("timeout").is_empty() {
        asked.insert("timeout".to_owned(), json!(form.text("timeout")));
    }
    Ok(asked)
}

/// Returns the fields of a form for a stored object.
pub(super) fn fields_of(typed: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let first = typed
        .get("steps")
        .and_then(|steps| steps.get(0)?.get("roles"));
    if let Some(roles) = typed.get("roles").or(first) {
        fields.extend(texts(roles).into_iter().map(|role| ("role", role)));
    }
    match typed.get("target") {
        Some(Value::String(_)) => fields.push(("target", CONTROLLER.to_owned())),
        Some(target) => {
            if let Some(group) = target.get(GROUP).and_then(Value::as_str) {
                fields.push(("target", GROUP.to_owned()));
                fields.push(("group", group.to_owned()));
            }
            if let Some(hosts) = target.get(HOSTS) {
                fields.push(("target", HOSTS.to_owned()));
                fields.push(("hosts", texts(hosts).join(", ")));
            }
            if let Some(label) = target.get(ALERTING).and_then(Value::as_str) {
                fields.push(("target", ALERTING.to_owned()));
                fields.push(("label", label.to_owned()));
            }
        }
        None => {}
    }
    if let Some(vars) = typed.get("vars").filter(|vars| **vars != json!({})) {
        let text = serde_json::to_string_pretty(vars).expect("JSON is JSON");
        fields.push(("vars", text));
    }
    if let Some(timeout) = typed.get("timeout").and_then(Value::as_str) {
        fields.push(("timeout", timeout.to_owned()));
    }
    if let Some(mode) = typed.get("mode").and_then(Value::as_str) {
        fields.push(("mode", mode.to_owned()));
        if mode == "check" {
            fields.push(("check", "on".to_owned()));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: &str, offer: Offer) -> Result<String, String> {
        let asked = request_body(&Form::parse(form.as_bytes()), offer);
        asked
            .map(|map| Value::Object(map).to_string())
            .map_err(|e| e.why)
    }

    #[test]
    fn fields_become_what_the_api_takes() {
        for (form, offer, json) in [
            (
                "role=ok&role=&role=flood&target=hosts&hosts=web1%2C+web2&group=web&vars=a%3A+1&timeout=90s",
                Offer::All,
                r#"{"roles":["ok","flood"],"target":{"hosts":["web1","web2"]},"vars":{"a":1},"timeout":"90s"}"#,
            ),
            (
                "role=ok&target=group&group=web&hosts=x&vars=%23+a%3A+x",
                Offer::All,
                r#"{"roles":["ok"],"target":{"group":"web"},"vars":{}}"#,
            ),
            (
                "role=ok&target=controller",
                Offer::Routine,
                r#"{"roles":["ok"],"target":"controller","vars":{}}"#,
            ),
            (
                "role=ok&target=alerting_host&label=instance",
                Offer::Alert,
                r#"{"roles":["ok"],"target":{"alerting_host":"instance"},"vars":{}}"#,
            ),
        ] {
            assert_eq!(read(form, offer).as_deref(), Ok(json));
        }
    }

    #[test]
    fn what_is_missing_is_said_at_its_field() {
        for (form, why) in [
            ("target=hosts&hosts=a", "roles: choose one"),
            ("role=a&target=group", "target: choose a group"),
            (
                "role=a",
                "target: name a host, or choose a group or the controller",
            ),
            (
                "role=a&target=alerting_host",
                "target: name a host, or choose a group or the controller",
            ),
            (
                "role=a&target=controller&vars=1",
                "vars: expected variables, as NAME: VALUE",
            ),
        ] {
            assert_eq!(read(form, Offer::All), Err(why.to_owned()), "{form}");
        }
    }

    #[test]
    fn what_was_typed_comes_back_into_the_form() {
        for json in [
            r#"{"roles":["ok","flood"],"target":{"hosts":["web1","web2"]},"vars":{"a":{"b":[1]}},"timeout":"90s"}"#,
            r#"{"roles":["ok"],"target":{"group":"web"},"vars":{}}"#,
            r#"{"roles":["ok"],"target":"controller","vars":{}}"#,
            r#"{"roles":["ok"],"target":{"alerting_host":"node"},"vars":{}}"#,
        ] {
            let Value::Object(typed) = serde_json::from_str(json).unwrap() else {
                panic!()
            };
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(fields_of(&typed));
            assert_eq!(read(&query.finish(), Offer::Alert).as_deref(), Ok(json));
        }
    }
}
