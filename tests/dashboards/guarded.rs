//! What the dashboards tell of guards and verdicts, made to happen: a run that did not help, and runs that are held.

use std::time::Duration;

use serde_json::Value;

use crate::stack::notification::{alert, notification};
use crate::stack::site::Site;
use crate::stack::wait::now;
use crate::stack::{Failure, World};

/// On a busy machine a site is taken for down now and then, and its repair holds up other runs on its host.
const LIMIT: Duration = Duration::from_mins(3);

/// To be put behind the bindings of the world. One failure opens the circuit of its role.
pub const CONFIGURED: &str = r#"
  - {name: in-vain, matchers: ['alertname = "InVain"'], roles: [start_service], target: {alerting_host: instance},
     vars: {start_service_seconds: 5}, verify_within: 5s}
  - {name: many, matchers: ['alertname = "Many"'], roles: [start_service], target: {alerting_host: instance},
     storm: {max_hosts: 1}}
  - {name: asks, matchers: ['alertname = "Asks"'], roles: [start_service], target: {alerting_host: instance},
     approval: {required: true}}
guards: {verify_within: 1m, circuit: {failures: 1, retry_after: 1h}}
"#;

/// Has a run end well whose alert fires on, and others held: by a storm, and for approval.
///
/// The sites must be up, and `start_service` must not have failed yet.
pub fn happen(world: &World, sites: [&Site; 2]) -> Result<(), Failure> {
    let promansible = &world.promansible;
    let began = now();
    let fires = |number: u64, alertname: &str, site: &Site| {
        let labels = [("alertname", alertname), ("instance", &site.instance())];
        alert(number, began, &labels)
    };
    let tell = |alerts: &[Value]| {
        let answer = promansible.notify(&notification(alerts))?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Ok::<(), Failure>(())
    };
    let counts = |name: &'static str, labels: &'static [(&str, &str)], least: f64| {
        world.wait(LIMIT, &format!("{name}{labels:?}"), || {
            Ok((promansible.count(name, labels)? >= least).then_some(()))
        })
    };
    let [one, other] = sites;
    let in_vain = fires(1, "InVain", one);
    tell(std::slice::from_ref(&in_vain))?;
    world.wait(LIMIT, "the run in vain to end", || {
        let runs = promansible.runs()?;
        let mut runs = runs.iter().filter(|run| run["binding"] == "in-vain");
        Ok(runs.any(|run| run["outcome"] == "successful").then_some(()))
    })?;
    tell(&[in_vain])?;
    tell(&[fires(2, "Many", one), fires(3, "Many", other)])?;
    tell(&[fires(4, "Asks", one)])?;
    // Both hosts share it.
    counts("runs_held", &[("reason", "storm")], 1.0)?;
    counts("runs_held", &[("reason", "approval")], 1.0)?;
    counts(
        "remediations_total",
        &[("binding", "in-vain"), ("verdict", "ineffective")],
        1.0,
    )
}
