//! One binding: read-only if it comes from the configuration file, a form if it was created in the portal or over the API.

use askama::Template;
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::Answer;
use super::components::{Badge, part};
use super::effectiveness::Helped;
use super::form::Form;
use super::guard_text;
use super::layout::{self, Frame, Wrong};
use super::managed;
use super::run_form::{self, Ask, Offer};
use crate::config::{Binding, Config, ManagedKind, Origin, Target, format_duration};
use crate::http::Context;
use crate::http::core::error::ApiError;
use crate::model::alert::matcher::quoted_value;
use crate::model::guards::Mode;

/// The fields that can have an error.
const FIELDS: [&str; 7] = [
    "name", "matchers", "roles", "target", "vars", "timeout", "mode",
];

#[derive(Template)]
#[template(path = "binding.html")]
struct Page {
    frame: Frame,
    ask: Ask,
    name: String,
    matchers: String,
    mode: String,
    /// The description of the guards; empty for a new binding, as are `steps` and `helped`.
    guards: Vec<(&'static str, String)>,
    steps: Vec<String>,
    helped: Vec<Helped>,
    /// Whether the binding exists already.
    old: bool,
    revision: String,
    action: String,
    conflict: String,
}

#[derive(Template)]
#[template(path = "binding_shown.html")]
struct Shown {
    frame: Frame,
    name: String,
    matchers: Vec<String>,
    facts: Vec<(&'static str, String)>,
    guards: Vec<(&'static str, String)>,
    steps: Vec<String>,
    helped: Vec<Helped>,
}

/// Shows the form for a new binding. The query may name the alert type.
pub(super) async fn new(context: &Context, query: &str) -> Answer {
    let mut form = Form::parse(query.as_bytes());
    let alert = form.text("alert").to_owned();
    if !alert.is_empty() {
        form = Form::of(vec![
            ("name", slug(&alert)),
            ("matchers", format!("alertname = {}", quoted_value(&alert))),
            ("role", form.text("role").to_owned()),
        ]);
    }
    shown(context, &form, Wrong::default(), StatusCode::OK, None).await
}

/// Shows an existing binding.
pub(super) async fn one(context: &Context, name: &str) -> Answer {
    let config = context.config.borrow().clone();
    let mut bindings = config.bindings.iter();
    if let Some(binding) = bindings.find(|b| b.name == name && b.origin == Origin::File) {
        return provisioned(context, &config, binding).await;
    }
    let kept = managed::found(context, ManagedKind::Binding, name).await?;
    let typed = managed::typed(&kept);
    let mut fields = run_form::fields_of(&typed);
    fields.push(("name", kept.name.clone()));
    fields.push(("revision", kept.revision.to_string()));
    let matchers = typed
        .get("matchers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let matchers: Vec<&str> = matchers.filter_map(Value::as_str).collect();
    fields.push(("matchers", matchers.join("\n")));
    let form = Form::of(fields);
    shown(context, &form, Wrong::default(), StatusCode::OK, Some(name)).await
}

async fn provisioned(context: &Context, config: &Config, binding: &Binding) -> Answer {
    let mut facts = vec![
        ("Target", target_in_words(&binding.target)),
        ("Time limit", format_duration(binding.timeout)),
        ("Batch window", format_duration(binding.batch_window)),
    ];
    for (what, names) in [
        ("On resolve", &binding.on_resolved),
        ("Limit", &binding.limit),
        ("Only tasks tagged", &binding.narrowing.tags),
        ("No tasks tagged", &binding.narrowing.skip_tags),
    ] {
        if !names.is_empty() {
            facts.push((what, names.join(", ")));
        }
    }
    if binding.narrowing.verbosity > 0 {
        facts.push(("Verbosity", binding.narrowing.verbosity.to_string()));
    }
    if !binding.vars.is_empty() {
        let names: Vec<&str> = binding.vars.keys().map(String::as_str).collect();
        facts.push(("Variables", format!("{} (values hidden)", names.join(", "))));
    }
    for (on, what) in [
        (binding.stop, "Ends the evaluation (stop)"),
        (binding.allow_overlap, "Allows overlap"),
        (binding.rerun_on_interrupt, "Reruns after an interruption"),
    ] {
        if on {
            facts.push((what, "yes".to_owned()));
        }
    }
    let page = Shown {
        frame: Frame::new(context, "/alerts"),
        name: binding.name.clone(),
        matchers: binding.matchers.iter().map(ToString::to_string).collect(),
        facts,
        guards: guard_text::in_words(binding, &config.guards),
        steps: guard_text::steps(binding),
        helped: Helped::by_role(&context.store.verdicts().await?, &binding.name),
    };
    layout::page(StatusCode::OK, page).await
}

pub(super) fn target_in_words(target: &Target) -> String {
    match target {
        Target::AlertingHost { label } => format!("the alerting host (label {label})"),
        Target::Group(group) => format!("the group {group}"),
        Target::Hosts(hosts) => hosts.join(", "),
        Target::Controller => "the controller".to_owned(),
    }
}

async fn shown(
    context: &Context,
    form: &Form,
    wrong: Wrong,
    status: StatusCode,
    old: Option<&str>,
) -> Answer {
    let config = context.config.borrow().clone();
    let mut conflicts = config
        .conflicts
        .iter()
        .filter(|of| of.kind == ManagedKind::Binding);
    let conflict = conflicts.find(|of| Some(of.name.as_str()) == old);
    let mut bindings = config.bindings.iter();
    let existing = bindings.find(|binding| Some(binding.name.as_str()) == old);
    let helped = match existing {
        Some(binding) => Helped::by_role(&context.store.verdicts().await?, &binding.name),
        None => Vec::new(),
    };
    let page = Page {
        frame: Frame::new(context, "/alerts"),
        mode: form.text("mode").to_owned(),
        guards: existing.map_or_else(Vec::new, |of| guard_text::in_words(of, &config.guards)),
        steps: existing.map_or_else(Vec::new, |of| guard_text::steps(of)),
        helped,
        ask: Ask::new(context, form, wrong, Offer::Alert),
        name: old.unwrap_or(form.text("name")).to_owned(),
        matchers: form.text("matchers").to_owned(),
        old: old.is_some(),
        revision: form.text("revision").to_owned(),
        action: old.map_or("/binding".to_owned(), |name| {
            format!("/bindings/{}", part(name))
        }),
        conflict: conflict.map(|of| of.why.clone()).unwrap_or_default(),
    };
    layout::page(status, page).await
}

/// Saves the form: creates a binding, or changes the binding named `old`.
pub(super) async fn keep(context: &Context, form: Form, old: Option<&str>) -> Answer {
    let saved = async {
        let body = request_body(&form, old)?;
        managed::put(context, ManagedKind::Binding, old, body, &form).await
    };
    match saved.await {
        Ok(name) => Ok(layout::redirect(&format!("/bindings/{}", part(&name)))),
        Err(refusal) => {
            let wrong = Wrong::new(&refusal, &FIELDS);
            shown(context, &form, wrong, refusal.status, old).await
        }
    }
}

/// Converts the form to the body of an API request.
fn request_body(form: &Form, old: Option<&str>) -> Result<Map<String, Value>, ApiError> {
    let matchers = form.text("matchers").lines().map(str::trim);
    let matchers: Vec<&str> = matchers.filter(|line| !line.is_empty()).collect();
    if matchers.is_empty() {
        return Err(ApiError::bad(
            "matchers: expected one per line, such as alertname = \"SiteDown\"",
        ));
    }
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(old.unwrap_or(form.text("name"))));
    body.insert("matchers".to_owned(), json!(matchers));
    body.extend(run_form::request_body(form, Offer::Alert)?);
    let mode = match form.text("mode") {
        "" => Mode::Run.as_str(),
        mode => mode,
    };
    body.insert("mode".to_owned(), json!(mode));
    Ok(body)
}

/// Suggests a binding name for an alert type: `DiskWillFill` → `disk-will-fill`.
fn slug(alert: &str) -> String {
    let mut slug = String::new();
    let mut after_lower = false;
    for c in alert.chars() {
        if c.is_ascii_alphanumeric() {
            if c.is_ascii_uppercase() && after_lower {
                slug.push('-');
            }
            slug.push(c.to_ascii_lowercase());
            after_lower = !c.is_ascii_uppercase();
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
            after_lower = false;
        }
    }
    slug.truncate(64);
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_named_after_its_alert() {
        for (alert, name) in [
            ("DiskWillFillIn4Hours", "disk-will-fill-in4-hours"),
            ("server_down", "server-down"),
            ("HTTPErrors", "httperrors"),
            ("a  b--c ", "a-b-c"),
            ("ä", ""),
        ] {
            assert_eq!(slug(alert), name);
        }
    }

    #[test]
    fn a_value_is_quoted_as_a_matcher_reads_it() {
        for value in ["SiteDown", "a \"b\" \\ c", "x\ny", "é"] {
            let matcher: crate::model::alert::Matcher =
                format!("alertname = {}", quoted_value(value))
                    .parse()
                    .unwrap();
            assert_eq!(
                matcher.to_string(),
                format!("alertname={}", quoted_value(value))
            );
        }
    }
}
