//! The JSON of verdicts: how often roles helped.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::http::Context;
use crate::model::verdict::Verdicts;
use crate::store::StoreError;

/// How often alerts resolved in time after a successful run, and how often not, since the store was created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub effective: u64,
    pub ineffective: u64,
    /// No further notification came for the alert.
    pub unknown: u64,
}

impl Counts {
    fn add(&mut self, verdicts: &Verdicts) {
        self.effective += verdicts.effective;
        self.ineffective += verdicts.ineffective;
        self.unknown += verdicts.unknown;
    }
}

/// How often a role helped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct OfRole {
    #[serde(flatten)]
    pub all: Counts,
    pub by_binding: BTreeMap<String, Counts>,
}

/// All verdicts, by role and binding.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<(String, String), Verdicts>);

impl Known {
    pub(crate) async fn read(context: &Context) -> Result<Self, StoreError> {
        Ok(Self(context.store.verdicts().await?))
    }

    /// Returns how often a role helped, in total and by binding.
    pub(crate) fn of_role(&self, role: &str) -> OfRole {
        let mut of = OfRole::default();
        for ((name, binding), verdicts) in &self.0 {
            if name == role {
                of.all.add(verdicts);
                of.by_binding
                    .entry(binding.clone())
                    .or_default()
                    .add(verdicts);
            }
        }
        of
    }

    /// Returns how often each role of a binding helped. Do not add them up: a run of several roles counts once for each.
    pub(crate) fn of_binding(&self, binding: &str) -> BTreeMap<String, Counts> {
        let mut of: BTreeMap<String, Counts> = BTreeMap::new();
        for ((role, name), verdicts) in &self.0 {
            if name == binding {
                of.entry(role.clone()).or_default().add(verdicts);
            }
        }
        of
    }
}
