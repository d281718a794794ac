//! Alertmanager leaves alerts out of a notification, and they are fetched from it.

use std::time::Duration;

use crate::plan;
use crate::stack::alertmanager::Timing;
use crate::stack::world::Plan;
use crate::stack::{Failure, World, http};

#[test]
fn what_a_notification_lacks_is_fetched_or_said() -> Result<(), Failure> {
    let timing = Timing {
        repeat_interval: Duration::from_secs(1),
        max_alerts: 1,
        ..Timing::default()
    };
    let world = World::start(&Plan { timing, ..plan() }, |_, _| {})?;
    // No role can repair them: both alerts stay, and each notification has the same one of them.
    for site in &world.sites {
        site.block()?;
        site.break_down()?;
    }
    let touched = || {
        let runs = world.promansible.runs()?;
        let ended = runs.iter().filter(|run| run["state"] == "finished");
        let mut hosts: Vec<String> = ended
            .filter_map(|run| run["hosts"][0].as_str().map(str::to_owned))
            .collect();
        hosts.sort();
        Ok::<_, Failure>(hosts)
    };
    let unhandled = || world.promansible.count("alerts_unhandled_total", &[]);
    let warned = || {
        let page = http::get(world.promansible.port, "/")?;
        Ok::<_, Failure>(page.body.contains("Alerts were not handled"))
    };
    let limit = Duration::from_mins(1);
    world.wait(limit, "an alert that is left out twice", || {
        Ok((unhandled()? >= 2.0 && touched()?.len() == 1).then_some(()))
    })?;
    assert!(warned()?, "the page Now says so");
    let before = touched()?;

    let port = world.alertmanagers[0].port;
    let url = format!("alertmanager: {{url: 'http://127.0.0.1:{port}'}}");
    world.promansible.configure(&url)?;
    world.wait(limit, "both hosts to have had their run", || {
        Ok((touched()? == ["web01", "web02"]).then_some(()))
    })?;
    world.wait(
        limit,
        "the warning to go",
        || Ok((!warned()?).then_some(())),
    )?;
    assert_eq!(before.len(), 1);
    let counted = unhandled()?;
    let left_out = || world.promansible.count("alerts_truncated_total", &[]);
    let told = left_out()?;
    world.wait(limit, "two more notifications", || {
        Ok((left_out()? >= told + 2.0).then_some(()))
    })?;
    assert_eq!(unhandled()?, counted, "what is fetched is not unhandled");
    assert_eq!(touched()?, ["web01", "web02"], "and has one run");
    Ok(())
}
