//! Two Alertmanagers deliver everything, and it is run once.

use std::time::Duration;

use crate::plan;
use crate::stack::world::Plan;
use crate::stack::{Failure, World};

#[test]
fn what_a_pair_delivers_twice_runs_once() -> Result<(), Failure> {
    let world = World::start(
        &Plan {
            pair: true,
            ..plan()
        },
        |_, _| {},
    )?;
    assert_eq!(world.alertmanagers.len(), 2);
    world.sites[0].break_down()?;
    world.wait(
        Duration::from_mins(1),
        "both to deliver, and the repair",
        || {
            let mut delivered = true;
            for one in &world.alertmanagers {
                // One notification that it fires, one that it is resolved.
                delivered &= one.delivered()? >= 2.0;
            }
            let done = world
                .promansible
                .runs()?
                .iter()
                .any(|run| run["state"] == "finished");
            Ok((delivered && done).then_some(()))
        },
    )?;

    let runs = world.promansible.runs()?;
    assert_eq!(runs.len(), 1, "{runs:#?}");
    assert_eq!(runs[0]["outcome"], "successful", "{runs:#?}");
    let decided = |decision: &str| {
        let labels = [("binding", "site-down"), ("decision", decision)];
        world.promansible.count("decisions_total", &labels)
    };
    assert!(
        decided("duplicate")? >= 1.0,
        "the second delivery is a duplicate"
    );
    assert!((decided("run")? - 1.0).abs() < 0.5, "one decision to run");
    let resolved = world
        .promansible
        .count("alerts_received_total", &[("status", "resolved")])?;
    assert!(resolved >= 2.0, "both said `resolved`: {resolved}");
    Ok(())
}
