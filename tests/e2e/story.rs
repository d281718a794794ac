//! The story of `make demo`, asserted: something breaks, its alert repairs it, and all of it is in the history.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::plan;
use crate::stack::ansible::Release;
use crate::stack::wait::now;
use crate::stack::world::Plan;
use crate::stack::{Failure, World, process};

const LIMIT: Duration = Duration::from_mins(1);

#[test]
fn an_alert_repairs_its_host_and_a_new_episode_runs_again() -> Result<(), Failure> {
    let world = World::start(&plan(), |_, _| {})?;
    let neighbour = world.sites[1].pid();

    let first = repair(&world, 1)?;
    assert_proven(&world, &first, plan().note)?;

    let second = repair(&world, 2)?;
    assert_proven(&world, &second, plan().note)?;
    let fingerprint = |told: &Value| told["episodes"][0]["fingerprint"].clone();
    let starts_at = |told: &Value| told["episodes"][0]["starts_at"].clone();
    assert_eq!(
        fingerprint(&first),
        fingerprint(&second),
        "the alert is the same"
    );
    assert_ne!(
        starts_at(&first),
        starts_at(&second),
        "the episode is another"
    );

    assert_eq!(world.sites[1].pid(), neighbour, "web02 is not touched");
    assert_metrics_are_well_formed(&world)?;
    let left = world.stop();
    assert!(left.is_empty(), "left behind: {left:#?}");
    Ok(())
}

#[test]
fn the_oldest_supported_ansible_repairs_as_well() -> Result<(), Failure> {
    let note = "{ 7 * 7 }";
    let world = World::start(
        &Plan {
            ansible: Release::V2_16,
            note,
            ..plan()
        },
        |_, _| {},
    )?;
    let told = repair(&world, 1)?;
    assert_proven(&world, &told, note)
}

/// It may take such text for a template where a role makes the name of a file of it.
#[test]
fn the_oldest_supported_ansible_is_told_nothing_that_could_be_a_template() -> Result<(), Failure> {
    let world = World::start(
        &Plan {
            ansible: Release::V2_16,
            ..plan()
        },
        |_, _| {},
    )?;
    world.sites[0].break_down()?;
    let labels = [("binding", "site-down"), ("decision", "template_text")];
    world.wait(LIMIT, "the alert to be skipped", || {
        let skipped = world.promansible.count("decisions_total", &labels)?;
        Ok((skipped >= 1.0).then_some(()))
    })?;
    assert!(world.promansible.runs()?.is_empty());
    Ok(())
}

/// Breaks web01 and waits until it answers, its run is finished and its alert is resolved; returns what the API says
/// of the run, `{run, episodes, events}`.
fn repair(world: &World, id: u64) -> Result<Value, Failure> {
    let site = &world.sites[0];
    let began = now();
    site.break_down()?;
    #[allow(clippy::cast_precision_loss)] // a handful
    let episodes = id as f64;
    world.wait(LIMIT, "the run to finish and the alert to resolve", || {
        let finished = world
            .promansible
            .runs()?
            .iter()
            .any(|run| run["id"] == id && run["state"] == "finished");
        let resolved = world
            .promansible
            .count("alerts_received_total", &[("status", "resolved")])?;
        Ok((finished && resolved >= episodes).then_some(()))
    })?;
    assert!(site.answers(), "the site answers again");
    let told = world.promansible.run(id)?;
    for time in ["created_at", "started_at", "finished_at"] {
        let text = told["run"][time].as_str().unwrap_or_default();
        let time: DateTime<Utc> = text.parse().expect("a time in RFC 3339");
        assert!(
            began <= time && time <= now(),
            "{time} is not of this episode"
        );
    }
    Ok(told)
}

/// What the history, the output and the metrics must say of a repair of web01.
fn assert_proven(world: &World, told: &Value, note: &str) -> Result<(), Failure> {
    let run = &told["run"];
    let id = run["id"].as_u64().expect("a run has a number");
    let output = world.promansible.output(id)?;
    let context = format!("{run:#}\n{output}");
    assert_eq!(run["outcome"], "successful", "{context}");
    assert_eq!(run["trigger"], "alert", "{context}");
    assert_eq!(run["binding"], "site-down", "{context}");
    assert_eq!(run["work"]["roles"], json!(["start_service"]), "{context}");
    assert_eq!(run["hosts"], json!(["web01"]), "{context}");
    let result = &run["results"]["web01"];
    assert_eq!(result["outcome"], "successful", "{context}");
    assert_eq!(
        result["changed"], 1,
        "only the start changes something: {context}"
    );
    assert_eq!(result["failed"], 0, "{context}");

    let episodes = told["episodes"].as_array().expect("a run has episodes");
    assert_eq!(episodes.len(), 1, "{told:#}");
    assert_eq!(episodes[0]["alertname"], "SiteDown", "{told:#}");
    assert_eq!(episodes[0]["hosts"], json!(["web01"]), "{told:#}");

    let events = told["events"].as_array().expect("a run has events");
    let started: Vec<&Value> = events
        .iter()
        .filter(|event| event["role"] == "start_service" && event["status"] == "changed")
        .collect();
    assert_eq!(started.len(), 1, "{events:#?}");
    assert_eq!(started[0]["host"], "web01", "{events:#?}");

    // What the alert says reached the role, and as text: braces in it are not a template.
    let instance = world.sites[0].instance();
    assert!(
        output.contains(&format!("The site on {instance} does not answer: {note}.")),
        "{output}"
    );

    #[allow(clippy::cast_precision_loss)] // a handful
    let runs = id as f64;
    let count = |name: &str, labels: &[(&str, &str)]| world.promansible.count(name, labels);
    let role = ("role", "start_service");
    assert_close(
        count(
            "runs_total",
            &[role, ("outcome", "successful"), ("trigger", "alert")],
        )?,
        runs,
    );
    assert_close(
        count("run_hosts_total", &[role, ("outcome", "successful")])?,
        runs,
    );
    assert_close(count("run_duration_seconds_count", &[role])?, runs);
    assert_close(
        count(
            "decisions_total",
            &[("binding", "site-down"), ("decision", "run")],
        )?,
        runs,
    );
    assert_close(count("runs_running", &[])?, 0.0);
    assert_close(count("runs_queued", &[])?, 0.0);
    assert!(count("notifications_total", &[("code", "200")])? >= 2.0 * runs);
    Ok(())
}

fn assert_close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 0.5, "found {found}, want {wanted}");
}

/// `promtool check metrics` has nothing to say, and Prometheus itself can read the page.
fn assert_metrics_are_well_formed(world: &World) -> Result<(), Failure> {
    let page = world.promansible.metrics()?.0;
    let promtool = process::find(&["promtool"])?;
    let said = process::feed(
        process::command(promtool).args(["check", "metrics"]),
        page.as_bytes(),
    )?;
    assert_eq!(said, "", "promtool check metrics");
    world.wait(LIMIT, "Prometheus to scrape promansible", || {
        let up = world.prometheus.value("up{job=\"promansible\"}")?;
        let runs = world
            .prometheus
            .value("sum(promansible_runs_total{outcome=\"successful\"})")?;
        Ok((up == Some(1.0) && runs == Some(2.0)).then_some(()))
    })
}
