//! How often roles helped.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::http::Context;
use crate::model::verdict::Verdicts;
use crate::store::StoreError;

/// How often an alert resolved in time after a run that ended well, and how often not; since the store began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub effective: u64,
    pub ineffective: u64,
    /// Nothing was heard of the alert.
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

/// All that is known of it.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<(String, String), Verdicts>);

impl Known {
    pub(crate) async fn read(context: &Context) -> Result<Self, StoreError> {
        Ok(Self(context.store.verdicts().await?))
    }

    /// How often a role helped, whatever the binding.
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

    /// How often each role of a binding helped. They have no sum: a run of several roles counts once for each.
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
