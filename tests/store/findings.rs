//! What roles reported: kept for each role and host, whatever became of the run, and shown from there.

use promansible::model::alert::Status;
use promansible::model::findings::{Check, Declared};
use promansible::model::run::{Outcome, Run, RunId};
use promansible::store::{Ended, RoleFindings};
use redb::ReadableTable;
use serde_json::json;

use crate::fixture::{Fixture, alert, at, ended, one_running};

fn declared() -> Declared {
    let check = Check {
        help: "Whether it is up.".to_owned(),
        labels: Vec::new(),
    };
    [("r1".to_owned(), [("up".to_owned(), check)].into())].into()
}

fn found(run: &Run, outcome: Outcome, host: &str, up: u32) -> Ended {
    let findings = json!({"up": up, "note": "n"});
    Ended {
        findings: vec![RoleFindings {
            role: "r1".to_owned(),
            host: host.to_owned(),
            at: at(4),
            findings: findings.as_object().unwrap().clone(),
        }],
        ..ended(run, outcome)
    }
}

/// The hosts that are shown, each with its figure.
fn shown(fixture: &Fixture) -> Vec<(String, f64)> {
    let families = fixture.metrics.gather(0);
    let ups = families
        .iter()
        .filter(|family| family.name() == "promansible_check_up");
    ups.flat_map(prometheus::proto::MetricFamily::get_metric)
        .map(|metric| {
            let host = metric
                .get_label()
                .iter()
                .find(|label| label.name() == "host");
            (
                host.unwrap().value().to_owned(),
                metric.get_gauge().get_value(),
            )
        })
        .collect()
}

async fn finish(fixture: &Fixture, id: RunId, outcome: Outcome, host: &str, up: u32) {
    let run = fixture.store.run(id).await.unwrap();
    let ended = found(&run, outcome, host, up);
    fixture.store.finish(id, ended, at(5)).await.unwrap();
}

#[tokio::test]
async fn the_last_report_is_shown_however_the_run_ended_and_after_a_restart_too() {
    let mut fixture = Fixture::new(10);
    fixture.metrics.declare(&declared());
    let id = one_running(&fixture, 1).await;
    finish(&fixture, id, Outcome::Failed, "h3", 1).await;
    assert_eq!(shown(&fixture), [("h3".to_owned(), 1.0)]);
    let id = one_running(&fixture, 2).await;
    finish(&fixture, id, Outcome::Timeout, "h3", 0).await;
    assert_eq!(shown(&fixture), [("h3".to_owned(), 0.0)]);
    fixture.close_and_reopen(at(9)).await;
    assert!(shown(&fixture).is_empty(), "nothing is declared yet");
    fixture.metrics.declare(&declared());
    assert_eq!(shown(&fixture), [("h3".to_owned(), 0.0)]);
}

#[tokio::test]
async fn a_host_that_left_is_forgotten_and_the_controller_never_leaves() {
    let mut fixture = Fixture::new(10);
    fixture.metrics.declare(&declared());
    for (number, host) in [(1, "h3"), (2, "localhost")] {
        let id = one_running(&fixture, number).await;
        finish(&fixture, id, Outcome::Failed, host, 1).await;
    }
    let both = [("h3".to_owned(), 1.0), ("localhost".to_owned(), 1.0)];
    assert_eq!(shown(&fixture), both);
    let known = ["h3".to_owned()].into();
    fixture.store.forget_hosts_but(known).await.unwrap();
    assert_eq!(shown(&fixture), both);
    let known = ["h1".to_owned()].into();
    fixture.store.forget_hosts_but(known).await.unwrap();
    assert_eq!(shown(&fixture), both[1..]);
    fixture.close_and_reopen(at(9)).await;
    fixture.metrics.declare(&declared());
    assert_eq!(shown(&fixture), both[1..]);
}

#[tokio::test]
async fn a_run_in_check_mode_leaves_the_figures_as_they_are() {
    let mut fixture = Fixture::new(10);
    let firing = alert(1, 0, "a", "h3", Status::Firing);
    fixture.admit(vec![firing], at(0)).await.unwrap();
    fixture.store.close().await;
    // Nothing asks for check mode here but the run itself.
    {
        let database = redb::Database::open(&fixture.path).unwrap();
        let txn = database.begin_write().unwrap();
        let definition: redb::TableDefinition<'_, u64, &[u8]> =
            redb::TableDefinition::new("runs_v1");
        {
            let mut runs = txn.open_table(definition).unwrap();
            let json = runs.get(1).unwrap().unwrap().value().to_vec();
            let mut run: serde_json::Value = serde_json::from_slice(&json).unwrap();
            run["work"]["check"] = true.into();
            let json = serde_json::to_vec(&run).unwrap();
            runs.insert(1, json.as_slice()).unwrap();
        }
        txn.commit().unwrap();
    }
    fixture.close_and_reopen(at(1)).await;
    fixture.metrics.declare(&declared());
    let claimed = fixture.claim(at(2)).await.unwrap();
    assert!(claimed.run.work.check);
    finish(&fixture, claimed.run.id, Outcome::Successful, "h3", 1).await;
    assert!(shown(&fixture).is_empty());
    fixture.close_and_reopen(at(9)).await;
    fixture.metrics.declare(&declared());
    assert!(shown(&fixture).is_empty());
}
