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
    assert!(warned()?, "the overview page says so");
    let before = touched()?;

    let port = world.alertmanagers[0].port;
    let sections = format!(
        "alertmanager: {{url: 'http://127.0.0.1:{port}'}}\nnotifiers: [{{name: am, alertmanager: {{}}}}]"
    );
    world.promansible.configure(&sections)?;
    world.wait(limit, "both hosts to have had their run", || {
        Ok((touched()? == ["web01", "web02"]).then_some(()))
    })?;
    world.wait(
        limit,
        "the warning to go",
        || Ok((!warned()?).then_some(())),
    )?;
    assert_eq!(before.len(), 1);
    // The run that failed after that is told as an alert, which existing routes bring to people.
    world.wait(limit, "the alert on the failed run", || {
        let alerts = http::get(port, "/api/v2/alerts")?.json()?;
        let is_ours = |alert: &serde_json::Value| {
            alert["labels"]["alertname"] == "PromansibleRunFailed"
                && alert["labels"]["binding"] == "site-down"
                && alert["labels"]["host"] != before[0]
        };
        let ours = alerts.as_array().is_some_and(|all| all.iter().any(is_ours));
        Ok(ours.then_some(()))
    })?;
    let counted = unhandled()?;
    let left_out = || world.promansible.count("alerts_truncated_total", &[]);
    let so_far = left_out()?;
    world.wait(limit, "two more notifications", || {
        Ok((left_out()? >= so_far + 2.0).then_some(()))
    })?;
    assert!(unhandled()? <= counted, "what is fetched is not unhandled");
    assert_eq!(touched()?, ["web01", "web02"], "and has one run");
    Ok(())
}
