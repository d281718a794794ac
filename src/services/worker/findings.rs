//! Collects the findings that the roles of a run report, by role and host.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::ansible::TaskReport;
use crate::model::findings::{Declared, Findings, MAX_FINDINGS_BYTES, is_too_large};
use crate::store::RoleFindings;

/// The findings of a run so far. Bounded by the roles that declare checks, the hosts of the run and the size for each.
pub(super) struct Gathered {
    roles: BTreeSet<String>,
    found: BTreeMap<(String, String), (DateTime<Utc>, Findings)>,
}

impl Gathered {
    /// Creates an empty collection for the roles that declare checks; findings of other roles are kept only in the history.
    pub(super) fn new(declared: &Declared) -> Self {
        Self {
            roles: declared.keys().cloned().collect(),
            found: BTreeMap::new(),
        }
    }

    /// Merges the findings that a task reports. If a name was reported before, the later value counts.
    pub(super) fn take(&mut self, report: &TaskReport, now: DateTime<Utc>) {
        let (Some(role), Some(findings)) = (&report.role, &report.findings) else {
            return;
        };
        if !self.roles.contains(role) {
            return;
        }
        let place = (role.clone(), report.host.clone());
        let (at, found) = self.found.entry(place).or_default();
        let mut merged = found.clone();
        merged.extend(findings.clone());
        if is_too_large(&merged) {
            tracing::warn!(
                role,
                host = report.host,
                "findings rejected: together with the earlier findings of this run they exceed the limit of {MAX_FINDINGS_BYTES}"
            );
            return;
        }
        (*at, *found) = (now, merged);
    }

    /// Returns all findings and leaves the collection empty.
    pub(super) fn all(&mut self) -> Vec<RoleFindings> {
        let found = std::mem::take(&mut self.found).into_iter();
        found
            .filter(|(_, (_, findings))| !findings.is_empty())
            .map(|((role, host), (at, findings))| RoleFindings {
                role,
                host,
                at,
                findings,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(role: &str, host: &str, findings: &Value) -> TaskReport {
        serde_json::from_value(json!({
            "host": host, "role": role, "task": "t", "action": "set_stats", "status": "ok", "findings": findings,
        }))
        .unwrap()
    }

    fn gather(reports: &[TaskReport]) -> Vec<(String, String, i64, Value)> {
        let mut gathered = Gathered::new(&[("dns".to_owned(), BTreeMap::new())].into());
        for (second, report) in (1..).zip(reports) {
            gathered.take(report, DateTime::from_timestamp(second, 0).unwrap());
        }
        let all = gathered.all().into_iter();
        all.map(|f| (f.role, f.host, f.at.timestamp(), f.findings.into()))
            .collect()
    }

    #[test]
    fn reports_of_a_role_on_a_host_are_merged_by_key() {
        let found = gather(&[
            report("dns", "b", &json!({"x": 1, "y": [1]})),
            report("other", "b", &json!({"x": 5})),
            report("dns", "a", &json!({"x": 2})),
            report("dns", "b", &json!({"y": [2]})),
            report("dns", "c", &json!({})),
            report("dns", "d", &Value::Null),
        ]);
        let of = |host: &str, at, findings| ("dns".to_owned(), host.to_owned(), at, findings);
        assert_eq!(
            found,
            [
                of("a", 3, json!({"x": 2})),
                of("b", 4, json!({"x": 1, "y": [2]}))
            ]
        );
    }

    #[test]
    fn what_becomes_too_large_is_left_out() {
        let half = "x".repeat(MAX_FINDINGS_BYTES / 2);
        let found = gather(&[
            report("dns", "a", &json!({ "x": half })),
            report("dns", "a", &json!({ "y": half })),
            report("dns", "a", &json!({ "x": 1 })),
        ]);
        assert_eq!(found[0].3, json!({"x": 1}));
    }
}
