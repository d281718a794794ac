//! One run: its state, its tasks on each host, its output and its trigger.

use askama::Template;
use chrono::{DateTime, Utc};
use hyper::StatusCode;

use super::Answer;
use super::ansi;
use super::components::{Badge, Bytes, Moment, Took, cause, part};
use super::episode;
use super::layout::{self, Frame};
use super::pending;
use super::timeline::{Timeline, timeline};
use crate::config::format_duration;
use crate::http::Context;
use crate::http::core::excerpt;
use crate::model::guards::{ALL, Hold, Holds};
use crate::model::run::{Run, RunId, State, TaskEvent};
use crate::model::verdict::Verdict;
use crate::store::EpisodeOfRun;
use crate::util::clock;

/// The most task events to show; the API has all.
const EVENTS: usize = 2_000;

/// The most output to show, from its end; the API has all. *Units*: bytes.
const OUTPUT: usize = 256 << 10;

/// The most alerts to show.
const ALERTS: usize = 50;

/// The result of a run on a host.
struct HostRow {
    host: String,
    link: String,
    badge: Option<Badge>,
    counts: String,
    message: String,
}

/// A task with its result on each host.
struct TaskRow {
    role: String,
    task: String,
    action: String,
    results: Vec<ResultRow>,
}

struct ResultRow {
    host: String,
    badge: Badge,
    took: Took,
    message: String,
}

/// An alert of the run.
struct AlertRow {
    name: String,
    hosts: String,
    since: Moment,
    badge: Option<Badge>,
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    /// The link to the full texts; empty if none is shortened.
    whole: String,
    decisions: Vec<DecisionRow>,
    left_out: bool,
}

struct DecisionRow {
    binding: String,
    decision: String,
    why: String,
    at: Moment,
    run: Option<u64>,
    verdict: Option<Badge>,
}

/// The reason why a queued run needs a decision before it starts.
struct HeldRow {
    what: &'static str,
    /// Whether the run can be approved or rejected.
    asks: bool,
    until: Option<Moment>,
    release: Option<String>,
}

#[derive(Template)]
#[template(path = "run.html")]
struct Page {
    frame: Frame,
    id: u64,
    badge: Badge,
    roles: String,
    message: String,
    check: bool,
    open: bool,
    /// The label of the button that repeats the run.
    repeats: Option<&'static str>,
    cause: String,
    facts: Vec<(&'static str, String)>,
    created_at: Moment,
    started_at: Option<Moment>,
    finished_at: Option<Moment>,
    due_at: Option<Moment>,
    took: Option<Took>,
    rerun_of: Option<u64>,
    step: String,
    held: Option<HeldRow>,
    approval: Option<(String, Moment)>,
    verdicts: Vec<(Badge, u64)>,
    verify_at: Option<Moment>,
    spared: Vec<(String, String, &'static str, String)>,
    hosts: Vec<HostRow>,
    timeline: Option<Timeline>,
    tasks: Vec<TaskRow>,
    events_cut: bool,
    events_dropped: u64,
    alerts: Vec<AlertRow>,
    more_alerts: usize,
    output: String,
    output_cut: Option<Bytes>,
}

pub(super) async fn page(context: &Context, id: RunId) -> Answer {
    let store = &context.store;
    let run = store.run(id).await?;
    let episodes = store.episodes_of(id).await?;
    let events = store.events_of(id, 0, EVENTS + 1).await?;
    let output = store.output_end_of(id, OUTPUT).await?;
    let held = if run.state == State::Queued {
        held(&store.book().await?, &run)
    } else {
        None
    };
    let (frame, now) = (Frame::new(context, "/runs"), clock::now());
    // A long page is built on a blocking thread, so that it does not hold up other connections.
    let made = tokio::task::spawn_blocking(move || Page {
        held,
        ..build(frame, &run, (episodes, events), output, now)
    });
    let page = made
        .await
        .map_err(|e| super::ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e))?;
    layout::page(StatusCode::OK, page).await
}

fn build(
    frame: Frame,
    run: &Run,
    (mut episodes, mut events): (Vec<EpisodeOfRun>, Vec<TaskEvent>),
    (before, output): (u64, Vec<u8>),
    now: DateTime<Utc>,
) -> Page {
    let events_cut = events.len() > EVENTS;
    events.truncate(EVENTS);
    let end = run.finished_at.unwrap_or(now);
    // Start at the beginning of a line.
    let from = match output.iter().position(|b| *b == b'\n') {
        Some(line) if before > 0 => line + 1,
        _ => 0,
    };
    let cut = before + from as u64;
    Page {
        frame,
        id: run.id.0,
        badge: Badge::of(run),
        roles: run.work.roles.join(", "),
        message: plain(run.message.as_deref()),
        check: run.work.check,
        open: run.state != State::Finished,
        repeats: repeats(run, &episodes),
        cause: cause(run),
        facts: details(run),
        created_at: Moment(run.created_at),
        started_at: run.started_at.map(Moment),
        finished_at: run.finished_at.map(Moment),
        due_at: run.due_at.map(Moment),
        took: run.started_at.map(|from| Took::between(from, end)),
        rerun_of: run.rerun_of.map(|id| id.0),
        step: pending::step(run),
        held: None,
        approval: approval(run),
        verdicts: verdicts(run),
        verify_at: verify_at(run, &episodes),
        spared: run
            .spared
            .iter()
            .map(|of| {
                (
                    of.host.clone(),
                    format!("/hosts/{}", part(&of.host)),
                    of.reason.as_str(),
                    of.why.clone(),
                )
            })
            .collect(),
        hosts: hosts(run),
        timeline: run.started_at.and_then(|from| timeline(&run.hosts, &events, from, end)),
        tasks: tasks(events),
        events_cut,
        events_dropped: run.events_dropped,
        more_alerts: episodes.len().saturating_sub(ALERTS),
        alerts: episodes.iter_mut().take(ALERTS).map(alert).collect(),
        output: ansi::to_html(&output[from..]),
        #[allow(clippy::cast_precision_loss)] // shown rounded
        output_cut: (cut > 0).then_some(Bytes(cut as f64)),
    }
}

/// Returns the label of the button that repeats the run; `None` if the run has not ended, or its alerts are no longer stored.
fn repeats(run: &Run, episodes: &[EpisodeOfRun]) -> Option<&'static str> {
    if run.state != State::Finished {
        return None;
    }
    if run.binding.is_none() {
        return Some("Repeat unchanged");
    }
    let known = episodes.iter().any(|of| of.episode.is_some());
    known.then_some("Repeat for its alerts")
}

/// Returns the hold on a run, if there is one.
fn held(book: &Holds, run: &Run) -> Option<HeldRow> {
    let storm = |binding: &String| {
        let name = if book.storms.contains_key(binding) {
            binding.as_str()
        } else {
            ALL
        };
        name.to_owned()
    };
    Some(match book.hold(run)? {
        Hold::Paused => HeldRow {
            what: "Not started: everything is paused.",
            asks: false,
            until: None,
            release: None,
        },
        Hold::Storm => HeldRow {
            what: "On hold: too many hosts at once.",
            asks: false,
            until: None,
            release: run.binding.as_ref().map(storm),
        },
        Hold::Approval => HeldRow {
            what: "Waiting for approval.",
            asks: true,
            until: run.approval.as_ref().map(|of| Moment(of.until)),
            release: None,
        },
    })
}

/// Returns the author and the time of the approval.
fn approval(run: &Run) -> Option<(String, Moment)> {
    let approval = run.approval.as_ref()?;
    Some((
        approval.by.clone().unwrap_or_default(),
        Moment(approval.at?),
    ))
}

/// Returns each verdict on the episodes of the run, with the number of episodes.
fn verdicts(run: &Run) -> Vec<(Badge, u64)> {
    let of = &run.verdicts;
    [
        (Badge::PENDING, of.pending),
        (Badge::from(Verdict::Effective), of.effective),
        (Badge::from(Verdict::Ineffective), of.ineffective),
        (Badge::from(Verdict::Unknown), of.unknown),
    ]
    .into_iter()
    .filter(|(_, n)| *n > 0)
    .collect()
}

/// Returns the time of the next verdict.
fn verify_at(run: &Run, episodes: &[EpisodeOfRun]) -> Option<Moment> {
    let binding = run.binding.as_ref()?;
    let decided = episodes
        .iter()
        .filter_map(|of| of.episode.as_ref()?.decisions.get(binding));
    let awaited = decided.filter(|of| of.run == Some(run.id) && of.awaits_verdict());
    awaited.filter_map(|of| of.verify_at).min().map(Moment)
}

fn plain(message: Option<&str>) -> String {
    message.map_or_else(String::new, ansi::to_text)
}

/// Describes the settings of the run.
fn details(run: &Run) -> Vec<(&'static str, String)> {
    let work = &run.work;
    let yes = |on: bool| if on { "yes" } else { "no" }.to_owned();
    let mut details = vec![
        ("Time limit", format_duration(work.timeout)),
        ("Become", yes(work.r#become)),
    ];
    if work.gather_facts {
        details.push(("Gathers facts", yes(true)));
    }
    let narrowing = &work.narrowing;
    for (what, tags) in [
        ("Only tasks tagged", &narrowing.tags),
        ("No tasks tagged", &narrowing.skip_tags),
    ] {
        if !tags.is_empty() {
            details.push((what, tags.join(", ")));
        }
    }
    if narrowing.verbosity > 0 {
        details.push(("Verbosity", narrowing.verbosity.to_string()));
    }
    if run.vain_starts > 0 {
        details.push(("Starts without a task", run.vain_starts.to_string()));
    }
    if work.allow_overlap {
        details.push(("Allows overlap", yes(true)));
    }
    if !work.vars.is_empty() {
        // The values may be secrets.
        let names: Vec<&str> = work.vars.keys().map(String::as_str).collect();
        details.push(("Variables", format!("{} (values hidden)", names.join(", "))));
    }
    details
}

fn hosts(run: &Run) -> Vec<HostRow> {
    let mut rows: Vec<HostRow> = run
        .hosts
        .iter()
        .map(|host| {
            let result = run.results.get(host);
            let counts = result.map_or_else(String::new, |of| {
                let all = [
                    (of.ok, "ok"),
                    (of.changed, "changed"),
                    (of.failed, "failed"),
                    (of.unreachable, "unreachable"),
                    (of.skipped, "skipped"),
                ];
                let counts = all.iter().filter(|(n, _)| *n > 0);
                let counts: Vec<String> = counts.map(|(n, word)| format!("{n} {word}")).collect();
                counts.join(", ")
            });
            HostRow {
                host: host.clone(),
                link: format!("/hosts/{}", part(host)),
                badge: result.map(|of| of.outcome.into()),
                counts,
                message: plain(result.and_then(|of| of.message.as_deref())),
            }
        })
        .collect();
    // Hosts with problems come first.
    rows.sort_by_key(|row| row.badge == Some(Badge("successful")));
    rows
}

/// Groups consecutive events of the same task: Ansible runs task by task.
fn tasks(events: Vec<TaskEvent>) -> Vec<TaskRow> {
    let mut rows: Vec<TaskRow> = Vec::new();
    for event in events {
        let role = event.role.unwrap_or_default();
        let result = ResultRow {
            host: event.host,
            badge: event.status.into(),
            took: Took(event.duration_seconds),
            message: plain(event.message.as_deref()),
        };
        match rows.last_mut() {
            Some(last)
                if last.task == event.task && last.role == role && last.action == event.action =>
            {
                last.results.push(result);
            }
            _ => rows.push(TaskRow {
                role,
                task: event.task,
                action: event.action,
                results: vec![result],
            }),
        }
    }
    rows
}

fn alert(of: &mut EpisodeOfRun) -> AlertRow {
    let whole = of.episode.as_mut().and_then(|episode| {
        let key = episode.key();
        excerpt::cut(episode).then(|| episode::whole_of(key))
    });
    let pairs = |set: &crate::model::alert::LabelSet| {
        let pairs = set
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()));
        pairs.collect::<Vec<_>>()
    };
    let episode = of.episode.as_ref();
    AlertRow {
        name: excerpt::name(&of.of_run.alertname).into_owned(),
        whole: whole.unwrap_or_default(),
        hosts: of.of_run.hosts.join(", "),
        since: Moment(of.starts_at),
        badge: episode.map(|episode| episode.status.into()),
        labels: episode
            .map(|episode| pairs(&episode.labels))
            .unwrap_or_default(),
        annotations: episode
            .map(|episode| pairs(&episode.annotations))
            .unwrap_or_default(),
        decisions: episode
            .iter()
            .flat_map(|episode| &episode.decisions)
            .map(|(binding, decided)| DecisionRow {
                binding: binding.clone(),
                decision: decided.decision.clone(),
                why: decided.why.clone().unwrap_or_default(),
                at: Moment(decided.at),
                run: decided.run.map(|id| id.0),
                verdict: episode::verdict(decided),
            })
            .collect(),
        left_out: of.of_run.left_out,
    }
}
