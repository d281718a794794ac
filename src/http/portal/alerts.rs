//! Alert types: their sources, firing alerts and bindings.

use askama::Template;
use hyper::StatusCode;

use super::Answer;
use super::chart::{self, Chart};
use super::components::{Badge, Moment, part};
use super::episode::{self, EpisodeRow};
use super::form::Form;
use super::layout::{self, Frame};
use crate::alert_types::{self, AlertType, Rule};
use crate::http::Context;
use crate::http::api::alerts;
use crate::http::core::error::ApiError;
use crate::http::core::excerpt;
use crate::model::guards::Mode;

/// The most episodes of an alert type to show.
const EPISODES: usize = 20;

struct TypeRow {
    name: String,
    link: String,
    firing: u64,
    severities: String,
    summary: String,
    sources: String,
    bindings: Vec<(String, String)>,
    episodes: u64,
    last_seen: Option<Moment>,
}

impl TypeRow {
    fn new(of: AlertType) -> Self {
        let mut sources: Vec<&str> = of
            .sources
            .iter()
            .map(|source| source.kind.as_str())
            .collect();
        sources.dedup();
        let sources = sources.iter().map(|word| match *word {
            "rule_file" => "rule file",
            "prometheus" => "Prometheus",
            _ => "received alerts",
        });
        Self {
            link: format!("/alerts/{}", part(&of.name)),
            firing: of.firing,
            severities: of.severities.join(", "),
            summary: excerpt::beginning(&of.summary.unwrap_or_default()).into_owned(),
            sources: sources.collect::<Vec<_>>().join(", "),
            bindings: of
                .bindings
                .into_iter()
                .map(|name| (format!("/bindings/{}", part(&name)), name))
                .collect(),
            episodes: of.episodes,
            last_seen: of.last_seen.map(Moment),
            name: excerpt::name(&of.name).into_owned(),
        }
    }
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct Alerts {
    frame: Frame,
    rows: Vec<TypeRow>,
    problems: Vec<String>,
    unbound_only: bool,
    unbound: usize,
    bindings: Vec<BindingRow>,
    conflicts: Vec<(String, String, String)>,
}

struct BindingRow {
    name: String,
    link: String,
    matchers: Vec<String>,
    roles: String,
    /// The mode, unless it is `run`.
    mode: Option<&'static str>,
    provisioned: bool,
}

pub(super) async fn page(context: &Context, query: &str) -> Answer {
    use crate::config::{ManagedKind, Origin};
    let unbound_only = Form::parse(query.as_bytes()).is_on("unbound");
    let catalogue = alerts::catalogue(context, None).await?;
    let mut types = catalogue.alert_types;
    let unbound = types.iter().filter(|of| of.bindings.is_empty()).count();
    types.retain(|of| !unbound_only || of.bindings.is_empty());
    // Firing types come first, and among those the types without a binding.
    types.sort_by_key(|of| (of.firing == 0, !of.bindings.is_empty(), of.name.clone()));
    let places = catalogue.places;
    let mut problems: Vec<String> = places
        .problems
        .iter()
        .map(|p| format!("{}: {}", p.file, p.why))
        .collect();
    if let Some(health) = places.prometheus.filter(|health| !health.available) {
        let why = health.why.unwrap_or_default();
        problems.push(format!(
            "cannot read the rules of Prometheus at {}: {why}",
            health.url
        ));
    }
    let config = context.config.borrow().clone();
    let bindings = config.bindings.iter().map(|binding| BindingRow {
        name: binding.name.clone(),
        link: format!("/bindings/{}", part(&binding.name)),
        matchers: binding.matchers.iter().map(ToString::to_string).collect(),
        roles: binding.roles().join(", "),
        mode: match binding.mode {
            Mode::Run => None,
            Mode::Check => Some("check mode"),
            Mode::Observe => Some("observe mode"),
        },
        provisioned: binding.origin == Origin::File,
    });
    let conflicts = config
        .conflicts
        .iter()
        .filter(|of| of.kind == ManagedKind::Binding);
    let page = Alerts {
        frame: Frame::new(context, "/alerts"),
        rows: types.into_iter().map(TypeRow::new).collect(),
        problems,
        unbound_only,
        unbound,
        bindings: bindings.collect(),
        conflicts: conflicts
            .map(|of| {
                (
                    of.name.clone(),
                    of.why.clone(),
                    format!("/bindings/{}", part(&of.name)),
                )
            })
            .collect(),
    };
    layout::page(StatusCode::OK, page).await
}

#[derive(Template)]
#[template(path = "alert.html")]
struct Alert {
    frame: Frame,
    of: TypeRow,
    bind_link: String,
    runbook_url: String,
    rules: Vec<RuleRow>,
    episodes: Vec<EpisodeRow>,
    resolves: Option<Chart>,
}

struct RuleRow {
    place: String,
    expr: String,
    hold: String,
    error: String,
}

pub(super) async fn one(context: &Context, name: &str) -> Answer {
    let known = context.alert_types.look().await;
    let store = &context.store;
    let seen = store.alert_type(name.to_owned()).await?;
    let page = store
        .episodes_of_type(name.to_owned(), None, EPISODES)
        .await?;
    let firing = store.firing_counts().await?;
    let rules: Vec<&Rule> = known
        .rules
        .iter()
        .filter(|rule| rule.name == name)
        .map(|rule| &**rule)
        .collect();
    if rules.is_empty() && seen.is_none() && page.episodes.is_empty() {
        let why = format_args!("no rule and no received alert has the name {name:?}");
        return Err(ApiError::new(StatusCode::NOT_FOUND, why));
    }
    let config = context.config.borrow().clone();
    let firing = firing.get(name).copied().unwrap_or_default();
    let of = alert_types::alert_type(
        name.to_owned(),
        &rules,
        seen.as_ref(),
        firing,
        &config.bindings,
    );
    // Any other scheme (javascript:) would run code of the author of the rule.
    let is_web = |url: &String| url.starts_with("https://") || url.starts_with("http://");
    let episodes = episode::rows(page);
    let took = episodes
        .iter()
        .rev()
        .filter_map(|row| row.took.map(|took| took.0));
    let took: Vec<f64> = took.collect();
    let page = Alert {
        frame: Frame::new(context, "/alerts"),
        bind_link: format!("/binding?alert={}", part(name)),
        runbook_url: of.runbook_url.clone().filter(is_web).unwrap_or_default(),
        rules: rules
            .iter()
            .map(|rule| RuleRow {
                place: match rule.line {
                    Some(line) => format!("{}:{line}", rule.file),
                    None => format!("{}, group {}", rule.file, rule.group),
                },
                expr: rule.expr.clone(),
                hold: rule.hold.clone().unwrap_or_default(),
                error: rule.last_error.clone().unwrap_or_default(),
            })
            .collect(),
        of: TypeRow::new(of),
        episodes,
        resolves: chart::resolves(&took),
    };
    layout::page(StatusCode::OK, page).await
}
