//! promansible is stopped while a play is under way.

use std::time::Duration;

use crate::plan;
use crate::stack::leftovers;
use crate::stack::{Failure, World};

#[test]
fn sigterm_ends_the_play_and_everything_that_it_started() -> Result<(), Failure> {
    let mut world = World::start(&plan(), |_, _| {})?;
    let site = &world.sites[0];
    site.make_slow()?;
    site.break_down()?;
    let limit = Duration::from_mins(1);
    world.wait(limit, "the play to call the site's start script", || {
        Ok((!site.processes().is_empty()).then_some(()))
    })?;
    let dir = world.promansible.dir().to_owned();
    let during = leftovers::of_runs(&dir);
    assert!(
        during
            .iter()
            .any(|one| one.command.contains("ansible-playbook")),
        "the play is under way: {during:#?}"
    );

    let status = world.promansible.stop(Duration::from_secs(30))?;
    assert!(status.success(), "{status}");
    let after = leftovers::of_runs(&dir);
    assert!(after.is_empty(), "outlived the run: {after:#?}");

    world.promansible.start_again()?;
    let run = world.promansible.run(1)?["run"].take();
    assert_eq!(run["state"], "finished", "{run:#}");
    assert_eq!(run["outcome"], "interrupted", "{run:#}");
    assert_eq!(run["results"]["web01"]["outcome"], "interrupted", "{run:#}");
    // The alert still fires and is told again, but its binding does not say `on_interrupt: rerun`.
    let runs = world.promansible.runs()?;
    assert_eq!(runs.len(), 1, "{runs:#?}");
    Ok(())
}
