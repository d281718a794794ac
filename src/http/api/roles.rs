//! `/api/v1/roles`: the roles, with their metadata, bindings, schedules and last runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::config::{About, Config, RoleKind};
use crate::http::Context;
use crate::http::api::runs::without_values;
use crate::http::api::verdicts::{Known, OfRole};
use crate::http::core::error::ApiError;
use crate::http::core::path;
use crate::http::core::reply::{self, Reply};
use crate::model::argument_spec::Spec;
use crate::model::findings::Checks;
use crate::model::run::{Outcome, Run, RunId, State};
use crate::store::{RunFilter, Store, StoreError};
use crate::util::blocking::in_place;
use crate::util::suggest::did_you_mean;

/// The number of last runs of a role that are counted and shown.
const RUNS: usize = 20;

/// The longest README excerpt. *Units*: bytes.
const README: u64 = 256 << 10;

/// A role in a list.
#[derive(Debug, Serialize)]
pub(crate) struct RoleAnswer {
    pub name: String,
    pub kind: RoleKind,
    /// Empty if its argument spec has none.
    pub short_description: String,
    pub has_readme: bool,
    /// Whether its variables are checked before a manual run.
    pub has_spec: bool,
    /// The parts of the role that cannot be read.
    pub warnings: Vec<String>,
    /// The bindings that run it.
    pub bindings: Vec<String>,
    /// The schedules that run it.
    pub schedules: Vec<String>,
    pub checks: Checks,
    pub last_runs: LastRuns,
    /// How often it helped.
    pub verdicts: OfRole,
}

/// The outcomes of the last runs of a role.
#[derive(Debug, Serialize)]
pub(crate) struct LastRuns {
    /// The number of finished runs, at most twenty.
    pub finished: usize,
    /// Their number by outcome: every outcome, some with 0.
    pub outcomes: BTreeMap<&'static str, usize>,
    /// The newest run, finished or not.
    pub last: Option<LastRun>,
}

#[derive(Debug, Serialize)]
pub(crate) struct LastRun {
    pub id: RunId,
    pub state: State,
    pub outcome: Option<Outcome>,
    pub created_at: DateTime<Utc>,
}

/// A role with all details.
#[derive(Debug, Serialize)]
pub(crate) struct RoleDetail {
    #[serde(flatten)]
    pub role: RoleAnswer,
    /// Markdown; `None` if there is none.
    pub readme: Option<String>,
    /// Whether the README is longer.
    pub readme_is_cut: bool,
    pub spec: Option<Spec>,
    /// The newest twenty runs.
    pub runs: Vec<Run>,
}

#[derive(Serialize)]
struct Roles {
    roles: Vec<RoleAnswer>,
}

/// Handles `roles`; `parts` is the path after it.
pub(crate) async fn answer(context: &Context, method: &Method, parts: &[&str]) -> Reply {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match parts {
        [] | [_] if !reads => reply::method_not_allowed("GET, HEAD"),
        [] => match list(context).await {
            Ok(roles) => reply::success(&Roles { roles }),
            Err(e) => reply::failed(&e),
        },
        [name] => match show(context, &path::decoded(name)).await {
            Ok(detail) => reply::long_success(move || detail).await,
            Err(refusal) => refusal.reply(),
        },
        _ => reply::not_found(&format!("roles/{}", parts.join("/"))),
    }
}

/// Returns all roles, alert roles first.
pub(crate) async fn list(context: &Context) -> Result<Vec<RoleAnswer>, StoreError> {
    let config = Arc::clone(&context.config.borrow());
    let mut last_runs = Vec::with_capacity(config.roles.about.len());
    for about in &config.roles.about {
        last_runs.push(LastRuns::of(&context.store, &about.name).await?);
    }
    let known = Known::read(context).await?;
    // Blocking: it checks for files.
    let list = move || {
        let roles = config.roles.about.iter().zip(last_runs);
        roles
            .map(|(about, last_runs)| RoleAnswer::new(about, &config, last_runs, &known))
            .collect()
    };
    tokio::task::spawn_blocking(list)
        .await
        .map_err(|_| StoreError::Closed)
}

/// Returns one role. *Errors*: there is none, or one of each kind.
pub(crate) async fn show(context: &Context, name: &str) -> Result<RoleDetail, ApiError> {
    let config = Arc::clone(&context.config.borrow());
    let roles = &config.roles;
    let found: Vec<usize> = (0..roles.about.len())
        .filter(|&n| roles.about[n].name == name)
        .collect();
    let &[found] = found.as_slice() else {
        if !found.is_empty() {
            let why = format_args!(
                "{name:?} is in both alert/roles and routine/roles: rename one of them"
            );
            return Err(ApiError::new(StatusCode::CONFLICT, why));
        }
        let names: Vec<&str> = roles.about.iter().map(|a| a.name.as_str()).collect();
        let help = did_you_mean(name, &names, "the roles are");
        let why = format_args!("no role is named {name:?}; {help}");
        return Err(ApiError::new(StatusCode::NOT_FOUND, why));
    };
    let store = &context.store;
    let runs = of_role(store, name, None, RUNS).await?;
    let last_runs = LastRuns::of(store, name).await?;
    let known = Known::read(context).await?;
    let read = move || {
        let about = &config.roles.about[found];
        let (readme, readme_is_cut) = match readme(&about.folder) {
            Ok((text, is_cut)) => (Some(text), is_cut),
            Err(_) => (None, false),
        };
        RoleDetail {
            role: RoleAnswer::new(about, &config, last_runs, &known),
            readme,
            readme_is_cut,
            spec: about.spec.clone(),
            runs: runs.into_iter().map(without_values).collect(),
        }
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e))
}

impl RoleAnswer {
    fn new(about: &About, config: &Config, last_runs: LastRuns, known: &Known) -> Self {
        let runs = |roles: &[String]| roles.contains(&about.name);
        // Bindings run alert roles, schedules routine roles.
        let bindings = config
            .bindings
            .iter()
            .filter(|binding| about.kind != RoleKind::Routine && binding.runs(&about.name));
        let schedules = config
            .schedules
            .iter()
            .filter(|schedule| about.kind != RoleKind::Alert && runs(&schedule.work.roles));
        let spec = about.spec.as_ref();
        Self {
            name: about.name.clone(),
            kind: about.kind,
            short_description: spec.map_or_else(String::new, |spec| spec.short_description.clone()),
            has_readme: in_place(|| readme_file(&about.folder).is_file()),
            has_spec: spec.is_some(),
            warnings: about.warnings.clone(),
            bindings: bindings.map(|binding| binding.name.clone()).collect(),
            schedules: schedules.map(|schedule| schedule.name.clone()).collect(),
            checks: config
                .roles
                .checks
                .get(&about.name)
                .cloned()
                .unwrap_or_default(),
            last_runs,
            verdicts: known.of_role(&about.name),
        }
    }
}

impl LastRuns {
    async fn of(store: &Store, role: &str) -> Result<Self, StoreError> {
        let newest = of_role(store, role, None, 1).await?;
        let finished = of_role(store, role, Some(State::Finished), RUNS).await?;
        let mut outcomes: BTreeMap<&'static str, usize> =
            Outcome::ALL.iter().map(|o| (o.as_str(), 0)).collect();
        for outcome in finished.iter().filter_map(|run| run.outcome) {
            *outcomes.entry(outcome.as_str()).or_default() += 1;
        }
        Ok(Self {
            finished: finished.len(),
            outcomes,
            last: newest.into_iter().next().map(|run| LastRun {
                id: run.id,
                state: run.state,
                outcome: run.outcome,
                created_at: run.created_at,
            }),
        })
    }
}

/// Returns the newest runs of a role.
async fn of_role(
    store: &Store,
    role: &str,
    state: Option<State>,
    limit: usize,
) -> Result<Vec<Run>, StoreError> {
    let filter = RunFilter {
        role: Some(role.to_owned()),
        state,
        ..RunFilter::default()
    };
    let (mut runs, mut cursor) = (Vec::new(), None);
    // A page may be shorter if runs are large.
    while runs.len() < limit {
        let page = store
            .runs(filter.clone(), cursor, limit - runs.len())
            .await?;
        runs.extend(page.runs);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(runs)
}

fn readme_file(folder: &Path) -> std::path::PathBuf {
    folder.join("README.md")
}

/// Reads a role's README. Returns whether it is longer than the limit.
fn readme(folder: &Path) -> io::Result<(String, bool)> {
    let mut bytes = Vec::new();
    let file = File::open(readme_file(folder))?;
    file.take(README + 1).read_to_end(&mut bytes)?;
    let is_cut = bytes.len() as u64 > README;
    if is_cut {
        bytes.pop();
    }
    Ok((String::from_utf8_lossy(&bytes).into_owned(), is_cut))
}
