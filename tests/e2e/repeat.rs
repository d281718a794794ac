//! An alert that stays is told again and again, and is run once.

use std::time::Duration;

use crate::plan;
use crate::stack::alertmanager::Timing;
use crate::stack::world::Plan;
use crate::stack::{Failure, World};

#[test]
fn the_repeat_interval_runs_nothing() -> Result<(), Failure> {
    let timing = Timing {
        repeat_interval: Duration::from_secs(1),
        ..Timing::default()
    };
    let world = World::start(&Plan { timing, ..plan() }, |_, _| {})?;
    let site = &world.sites[0];
    // The role cannot repair it, so the alert stays.
    site.block()?;
    site.break_down()?;
    let duplicates = || {
        let labels = [("binding", "site-down"), ("decision", "duplicate")];
        world.promansible.count("decisions_total", &labels)
    };
    let limit = Duration::from_mins(1);
    world.wait(limit, "the run to fail", || {
        let runs = world.promansible.runs()?;
        Ok(runs
            .iter()
            .any(|run| run["outcome"] == "failed")
            .then_some(()))
    })?;
    let before = duplicates()?;
    world.wait(limit, "three repetitions after that", || {
        Ok((duplicates()? >= before + 3.0).then_some(()))
    })?;

    let runs = world.promansible.runs()?;
    assert_eq!(runs.len(), 1, "{runs:#?}");
    let result = &runs[0]["results"]["web01"];
    assert_eq!(result["outcome"], "failed", "{runs:#?}");
    let message = result["message"].as_str().unwrap_or_default();
    assert!(
        !message.is_empty(),
        "the history says what went wrong: {result:#}"
    );
    let output = world.promansible.output(1)?;
    assert!(
        output.contains("the site cannot start: it is blocked"),
        "{output}"
    );
    assert!(!site.answers(), "nothing repaired it in secret");
    Ok(())
}
