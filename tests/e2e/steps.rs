//! A role that ends well and does not help is seen as such, and the next step follows: the end of an alert is asked for.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::plan;
use crate::stack::{Failure, World};

const LIMIT: Duration = Duration::from_mins(1);

/// The first role looks at the host and changes nothing, so it cannot help.
const STEPS: &str = "steps:
      - {roles: [handle_cpu_threshold_exceeded], verify_within: 6s}
      - {roles: [start_service], verify_within: 1m}";

/// However busy the machine is.
const VARS: &str =
    "vars: {handle_cpu_threshold_exceeded_ratio: 1, handle_cpu_threshold_exceeded_seconds: 1, ";

#[test]
fn what_does_not_help_is_followed_by_the_next_step() -> Result<(), Failure> {
    // Alertmanager repeats nothing for an hour: whether the alert fires on can only be asked.
    let mut world = World::start(&plan(), |_, _| {})?;
    let file = world.promansible.dir().join("promansible.yml");
    let io = |e: std::io::Error| Failure::new(format!("{}: {e}", file.display()));
    let text = fs::read_to_string(&file).map_err(io)?;
    let stepped = text
        .replace("roles: [start_service]", STEPS)
        .replace("vars: {", VARS);
    assert_ne!(text, stepped);
    fs::write(&file, stepped).map_err(io)?;
    let port = world.alertmanagers[0].port;
    world
        .promansible
        .configure(&format!("alertmanager: {{url: 'http://127.0.0.1:{port}'}}"))?;

    world.sites[0].break_down()?;
    let finished = |world: &World, id: u64| {
        let runs = world.promansible.runs()?;
        let found = runs.into_iter().find(|run| run["id"] == id);
        Ok::<_, Failure>(found.filter(|run| run["state"] == "finished"))
    };
    let first = world.wait(LIMIT, "the first step to end", || finished(&world, 1))?;
    assert_eq!(first["outcome"], "successful", "{first:#}");
    // What is to be seen is not forgotten with the process.
    world.promansible.kill()?;
    world.promansible.start_again()?;

    let second = world.wait(LIMIT, "the second step to end", || finished(&world, 2))?;
    assert_eq!(second["outcome"], "successful", "{second:#}");
    assert_eq!(
        second["work"]["roles"],
        serde_json::json!(["start_service"])
    );
    assert_eq!(second["remedy"]["step"], 2);
    let verdict = |id: u64, verdict: &str| {
        let runs = world.promansible.runs()?;
        let run = runs.into_iter().find(|run| run["id"] == id);
        let of = |run: Value| run["verdicts"][verdict] == 1;
        Ok(run.is_some_and(of).then_some(()))
    };
    world.wait(LIMIT, "the verdict on the first", || {
        verdict(1, "ineffective")
    })?;
    world.wait(LIMIT, "the verdict on the second", || {
        verdict(2, "effective")
    })?;
    let counted = |verdict| {
        let labels = [("binding", "site-down"), ("verdict", verdict)];
        world.promansible.count("remediations_total", &labels)
    };
    assert!((counted("ineffective")? - 1.0).abs() < 0.1);
    assert!((counted("effective")? - 1.0).abs() < 0.1);
    assert_eq!(world.promansible.runs()?.len(), 2);
    Ok(())
}
