//! The roles: description, users, recent runs and verdicts.

use askama::Template;
use hyper::StatusCode;
use serde_json::Value;

use super::Answer;
use super::components::{Badge, Moment, Row, part};
use super::effectiveness::{Helped, Known};
use super::layout::{self, Frame};
use super::markdown;
use super::pending::CircuitRow;
use crate::config::RoleKind;
use crate::http::Context;
use crate::http::api::roles::{self, RoleAnswer};
use crate::model::argument_spec::Options;
use crate::model::guards::Holds;
use crate::model::run::Outcome;
use crate::util::clock;

struct RoleRow {
    name: String,
    link: String,
    kind: &'static str,
    /// Whether a binding can run it.
    alert: bool,
    short_description: String,
    /// The bindings and schedules that use the role. *Shape*: link, name.
    users: Vec<(String, String)>,
    finished: usize,
    successful: usize,
    last: Option<(u64, Badge, Moment)>,
    warnings: Vec<String>,
    helped: Helped,
    /// Whether its circuit is open.
    open: bool,
}

impl RoleRow {
    fn new(of: &RoleAnswer, known: &Known, book: &Holds) -> Self {
        let bindings = of
            .bindings
            .iter()
            .map(|name| (format!("/bindings/{}", part(name)), name.clone()));
        let schedules = of
            .schedules
            .iter()
            .map(|name| (format!("/schedules/{}", part(name)), name.clone()));
        let runs = &of.last_runs;
        let successful = runs.outcomes.get(Outcome::Successful.as_str());
        let badge = |outcome: Option<Outcome>, state: &'static str| {
            Badge(outcome.map_or(state, Outcome::as_str))
        };
        Self {
            name: of.name.clone(),
            link: format!("/roles/{}", part(&of.name)),
            kind: of.kind.as_str(),
            alert: of.kind != RoleKind::Routine,
            short_description: of.short_description.clone(),
            users: bindings.chain(schedules).collect(),
            finished: runs.finished,
            successful: successful.copied().unwrap_or_default(),
            last: runs.last.as_ref().map(|run| {
                let badge = badge(run.outcome, run.state.as_str());
                (run.id.0, badge, Moment(run.created_at))
            }),
            warnings: of.warnings.clone(),
            helped: Helped::of_role(known, &of.name),
            open: CircuitRow::of(book, &of.name).is_some(),
        }
    }
}

#[derive(Template)]
#[template(path = "roles.html")]
struct Roles {
    frame: Frame,
    rows: Vec<RoleRow>,
}

pub(super) async fn page(context: &Context) -> Answer {
    let roles = roles::list(context).await?;
    let (known, book) = (context.store.verdicts().await?, context.store.book().await?);
    let row = |of| RoleRow::new(of, &known, &book);
    let page = Roles {
        frame: Frame::new(context, "/roles"),
        rows: roles.iter().map(row).collect(),
    };
    layout::page(StatusCode::OK, page).await
}

/// A variable of a role. The keys of a map follow it, with dotted names.
struct OptionRow {
    name: String,
    kind: String,
    required: bool,
    default: String,
    choices: String,
    described: String,
}

#[derive(Template)]
#[template(path = "role.html")]
struct Role {
    frame: Frame,
    of: RoleRow,
    circuit: Option<CircuitRow>,
    helped: Vec<Helped>,
    described: Vec<String>,
    has_spec: bool,
    options: Vec<OptionRow>,
    readme: String,
    readme_is_cut: bool,
    runs: Vec<Row>,
    use_link: String,
    run_link: String,
    runs_link: String,
}

pub(super) async fn one(context: &Context, name: &str) -> Answer {
    let detail = roles::show(context, name).await?;
    let (known, book) = (context.store.verdicts().await?, context.store.book().await?);
    let of = RoleRow::new(&detail.role, &known, &book);
    let mut options = Vec::new();
    if let Some(spec) = &detail.spec {
        add(&mut options, "", &spec.options);
    }
    let (now, role) = (clock::now(), part(name));
    let page = Role {
        frame: Frame::new(context, "/roles"),
        circuit: CircuitRow::of(&book, name),
        helped: Helped::in_bindings(&known, name),
        described: detail
            .spec
            .as_ref()
            .map(|spec| spec.description.clone())
            .unwrap_or_default(),
        has_spec: detail.spec.is_some(),
        options,
        readme: detail
            .readme
            .as_deref()
            .map(markdown::to_html)
            .unwrap_or_default(),
        readme_is_cut: detail.readme_is_cut,
        runs: detail.runs.iter().map(|run| Row::of(run, now)).collect(),
        use_link: if of.alert {
            format!("/binding?role={role}")
        } else {
            format!("/schedule?role={role}")
        },
        run_link: format!("/run?role={role}"),
        runs_link: format!("/runs?role={role}"),
        of,
    };
    layout::page(StatusCode::OK, page).await
}

fn add(rows: &mut Vec<OptionRow>, before: &str, options: &Options) {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for (name, option) in &options.0 {
        let name = format!("{before}{name}");
        let choices = option.choices.iter().flatten().map(text);
        let kind = match &option.elements {
            Some(elements) => format!("{} of {elements}", option.kind),
            None => option.kind.to_string(),
        };
        rows.push(OptionRow {
            kind,
            required: option.required,
            default: option.default.as_ref().map(text).unwrap_or_default(),
            choices: choices.collect::<Vec<_>>().join(", "),
            described: option.description.join("\n"),
            name: name.clone(),
        });
        if let Some(inner) = &option.options {
            add(rows, &format!("{name}."), inner);
        }
    }
}
