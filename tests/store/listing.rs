//! Lists of runs beside what a look at every run finds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use promansible::config::Storage;
use promansible::model::alert::{Alert, Status};
use promansible::model::run::{Outcome, Run, RunId, State, Trigger};
use promansible::plan;
use promansible::store::{Order, RunFilter, Store, Text};
use tokio::task::JoinSet;

use crate::fixture::{Fixture, HOSTS, alert, at, ended};

/// A run, the alert types that it is about, and its output.
struct Known {
    run: Run,
    alertnames: BTreeSet<String>,
    output: Vec<u8>,
}

/// Whether it is listed, told without any index.
fn takes(filter: &RunFilter, known: &Known) -> bool {
    fn is<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
        wanted.is_none() || wanted == found
    }
    let run = &known.run;
    let output = String::from_utf8_lossy(&known.output).to_lowercase();
    is(filter.state.as_ref(), Some(&run.state))
        && is(filter.outcome.as_ref(), run.outcome.as_ref())
        && is(filter.trigger.as_ref(), Some(&run.trigger))
        && is(filter.binding.as_ref(), run.binding.as_ref())
        && filter.role.iter().all(|r| run.work.roles.contains(r))
        && filter.host.iter().all(|h| run.hosts.contains(h))
        && filter
            .alertname
            .iter()
            .all(|a| known.alertnames.contains(a))
        && filter.since.is_none_or(|since| run.created_at >= since)
        && filter.until.is_none_or(|until| run.created_at <= until)
        && (filter.text.is_none() || output.contains(&TEXT.to_lowercase()))
}

/// Looked for by those filters that look for a text.
const TEXT: &str = "said RUN";

fn filters(known: &[Known], now: DateTime<Utc>) -> Vec<RunFilter> {
    let mut filters = by_what_is_fixed();
    let any = RunFilter::default;
    for name in ["one", "batched", "group", "overlap", "none"] {
        filters.push(RunFilter {
            binding: Some(name.to_owned()),
            ..any()
        });
        let (binding, role) = (Some(name.to_owned()), Some("r2".to_owned()));
        filters.push(RunFilter {
            binding,
            role,
            ..any()
        });
    }
    for name in ["A", "B", "C"] {
        filters.push(RunFilter {
            alertname: Some(name.to_owned()),
            ..any()
        });
        let (alertname, state) = (Some(name.to_owned()), Some(State::Finished));
        filters.push(RunFilter {
            alertname,
            state,
            ..any()
        });
        let (alertname, host) = (Some(name.to_owned()), Some(HOSTS[1].to_owned()));
        filters.push(RunFilter {
            alertname,
            host,
            ..any()
        });
    }
    let made: Vec<DateTime<Utc>> = known.iter().map(|known| known.run.created_at).collect();
    if let (Some(newest), Some(oldest)) = (made.first(), made.last()) {
        let middle = *oldest + (*newest - *oldest) / 2;
        let role = Some("r2".to_owned());
        filters.push(RunFilter {
            since: Some(middle),
            ..any()
        });
        filters.push(RunFilter {
            until: Some(middle),
            ..any()
        });
        filters.push(RunFilter {
            since: Some(*oldest),
            until: Some(*oldest),
            ..any()
        });
        filters.push(RunFilter {
            since: Some(middle),
            role,
            ..any()
        });
        filters.push(RunFilter {
            since: Some(now + Duration::from_secs(1)),
            ..any()
        });
    }
    let found = Some(Text::new(TEXT).unwrap());
    filters.push(RunFilter {
        text: found.clone(),
        ..any()
    });
    filters.push(RunFilter {
        text: found,
        binding: Some("one".to_owned()),
        ..any()
    });
    filters
}

fn by_what_is_fixed() -> Vec<RunFilter> {
    let mut filters = Vec::new();
    let any = RunFilter::default;
    for state in [State::Queued, State::Running, State::Finished] {
        filters.push(RunFilter {
            state: Some(state),
            ..any()
        });
        let host = Some(HOSTS[2].to_owned());
        filters.push(RunFilter {
            state: Some(state),
            host,
            ..any()
        });
    }
    for outcome in Outcome::ALL {
        filters.push(RunFilter {
            outcome: Some(outcome),
            ..any()
        });
        let host = Some(HOSTS[0].to_owned());
        filters.push(RunFilter {
            outcome: Some(outcome),
            host,
            ..any()
        });
    }
    for trigger in Trigger::ALL {
        filters.push(RunFilter {
            trigger: Some(trigger),
            ..any()
        });
    }
    filters
}

/// Every filter on one field, some on several, and each in both orders and in pages of several sizes.
pub async fn agrees(store: &Store, now: DateTime<Utc>) {
    let all = store.runs(RunFilter::default(), None, 100_000).await;
    let mut known = Vec::new();
    for run in all.unwrap().runs {
        let episodes = store.episodes_of(run.id).await.unwrap();
        known.push(Known {
            alertnames: episodes.into_iter().map(|e| e.of_run.alertname).collect(),
            output: store.output_of(run.id).await.unwrap(),
            run,
        });
    }
    for filter in filters(&known, now) {
        for (order, limit) in [
            (Order::Newest, 3),
            (Order::Oldest, 2),
            (Order::Oldest, 1000),
        ] {
            let mut wanted: Vec<RunId> = known
                .iter()
                .filter(|known| takes(&filter, known))
                .map(|known| known.run.id)
                .collect();
            if order == Order::Oldest {
                wanted.reverse();
            }
            let filter = RunFilter {
                order,
                ..filter.clone()
            };
            assert_eq!(listed(store, &filter, limit).await, wanted, "{filter:?}");
        }
    }
    ends_agree(store, &known).await;
}

async fn listed(store: &Store, filter: &RunFilter, limit: usize) -> Vec<RunId> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.runs(filter.clone(), cursor, limit).await.unwrap();
        assert!(page.runs.len() <= limit);
        found.extend(page.runs.iter().map(|run| run.id));
        cursor = page.next;
        if cursor.is_none() {
            return found;
        }
    }
}

/// How many ended how in each minute, counted from the runs themselves.
async fn ends_agree(store: &Store, known: &[Known]) {
    let since = at(30);
    let mut wanted: BTreeMap<i64, BTreeMap<Outcome, u64>> = BTreeMap::new();
    for run in known.iter().map(|known| &known.run) {
        if let (Some(end), Some(outcome)) = (run.finished_at, run.outcome)
            && end >= since
        {
            let minute = (end - since).num_seconds() / 60;
            *wanted
                .entry(minute)
                .or_default()
                .entry(outcome)
                .or_default() += 1;
        }
    }
    let ends = store.outcomes_since(since, Duration::from_mins(1)).await;
    let found: BTreeMap<_, _> = ends
        .unwrap()
        .into_iter()
        .map(|ends| ((ends.from - since).num_seconds() / 60, ends.outcomes))
        .collect();
    assert_eq!(found, wanted);
}

/// An alert of one of two types.
pub fn of_a_type(mut alert: Alert) -> Alert {
    let name = if alert.fingerprint.0.is_multiple_of(2) {
        "A"
    } else {
        "B"
    };
    alert.labels.insert("alertname".to_owned(), name.to_owned());
    alert
}

#[tokio::test]
async fn a_filtered_list_is_what_a_look_at_every_run_finds_also_after_restarts_and_retention() {
    let mut fixture = Fixture::new(1000);
    for number in 0..60_u64 {
        let now = at(i64::try_from(number).unwrap() * 40);
        let severity = ["a", "b", "c", "d"][usize::try_from(number / 2 % 4).unwrap()];
        let host = HOSTS[usize::try_from(number * 7 % 4).unwrap()];
        let firing = alert(number, number.cast_signed(), severity, host, Status::Firing);
        fixture
            .admit(vec![of_a_type(firing.clone())], now)
            .await
            .unwrap();
        if number % 5 == 0 {
            fixture
                .ask(&[HOSTS[1].to_owned()], true, now)
                .await
                .unwrap();
        }
        if number % 9 == 4 {
            let resolved = Alert {
                status: Status::Resolved,
                ..of_a_type(firing)
            };
            fixture.admit(vec![resolved], now).await.unwrap();
        }
        if let Some(claimed) = fixture.claim(now).await {
            let id = claimed.run.id;
            let said = if number % 3 == 0 {
                "it said run"
            } else {
                "nothing"
            };
            // The text lies across two pieces.
            let (head, tail) = said.split_at(5);
            let output = vec![Bytes::from(head), Bytes::from(tail)];
            fixture.store.append(id, vec![], output, 10).await.unwrap();
            let outcome = Outcome::ALL[usize::try_from(number % 6).unwrap()];
            if number % 7 != 0 {
                let end = ended(&claimed.run, outcome);
                fixture.store.finish(id, end, now).await.unwrap();
            }
        }
        match number {
            20 => drop(fixture.close_and_reopen(now).await),
            41 => drop(fixture.kill_and_reopen(now)),
            _ => {}
        }
        if number % 10 == 9 {
            agrees(&fixture.store, now).await;
        }
    }
    let before = fixture.all_runs().await.len();
    let now = at(60 * 40);
    let retention = Storage {
        path: "unused".into(),
        retention_time: Duration::from_hours(1000),
        retention_size_bytes: 30_000,
    };
    let done = fixture.store.retain(retention, now).await.unwrap();
    let after = fixture.all_runs().await.len();
    assert!(
        done.runs > 5 && after > 5 && before - after == done.runs,
        "{done:?} of {before}"
    );
    agrees(&fixture.store, now).await;
    fixture.close_and_reopen(now).await;
    agrees(&fixture.store, now).await;
    fixture.store.close().await;
}

#[tokio::test]
async fn a_text_is_looked_for_in_so_many_runs_at_a_time() {
    let fixture = Fixture::new(20_000);
    // At once, so that they share commits.
    let mut asked = JoinSet::new();
    for _ in 0..10_003 {
        let (store, work) = (
            fixture.store.clone(),
            plan::work(&fixture.config.bindings[0], 1),
        );
        asked.spawn(async move {
            let hosts = vec![HOSTS[1].to_owned()];
            store
                .queue_manual(work, hosts, None, 20_000, at(0))
                .await
                .unwrap()
        });
    }
    asked.join_all().await;
    let run = fixture.claim(at(0)).await.unwrap().run;
    let output = vec![Bytes::from("a needle")];
    fixture
        .store
        .append(run.id, vec![], output, 10)
        .await
        .unwrap();
    let filter = RunFilter {
        text: Some(Text::new("NEEDLE").unwrap()),
        ..RunFilter::default()
    };
    let page = fixture.store.runs(filter.clone(), None, 5).await.unwrap();
    assert_eq!((page.runs, page.next), (vec![], Some(RunId(4))));
    let page = fixture.store.runs(filter, page.next, 5).await.unwrap();
    assert_eq!((page.runs[0].id, page.next), (run.id, None));
    fixture.store.close().await;
}

#[tokio::test]
async fn runs_are_found_by_alert_types_of_any_length() {
    let fixture = Fixture::new(100);
    let long = |end: &str| format!("{}{end}", "n".repeat(300_000));
    for (number, end) in [(1, "1"), (2, "2")] {
        let mut firing = alert(number, 0, "d", "h3", Status::Firing);
        firing.labels.insert("alertname".into(), long(end));
        fixture.admit(vec![firing], at(0)).await.unwrap();
        let run = fixture.claim(at(1)).await.unwrap().run;
        let well = ended(&run, Outcome::Successful);
        fixture.store.finish(run.id, well, at(2)).await.unwrap();
    }
    for (number, end) in [(1, "1"), (2, "2")] {
        let filter = RunFilter {
            alertname: Some(long(end)),
            ..RunFilter::default()
        };
        let found = fixture.store.runs(filter, None, 10).await.unwrap().runs;
        let found: Vec<u64> = found.iter().map(|run| run.id.0).collect();
        assert_eq!(found, [number]);
        let firing = fixture.store.firing(Some(long(end)), |_| true, None, 10);
        assert_eq!(firing.await.unwrap().episodes.len(), 1);
        let of_type = fixture.store.episodes_of_type(long(end), None, 10).await;
        assert_eq!(of_type.unwrap().episodes.len(), 1);
    }
    let types = fixture.store.alert_types().await.unwrap();
    assert!(
        types.iter().all(|of| of.name.len() < 300),
        "{}",
        types.len()
    );
}
