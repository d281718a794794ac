//! Verdicts: whether the alert of a successful run resolved in time or kept firing. Pure.

use serde::{Deserialize, Serialize};

/// The verdict on an episode after a successful run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The alert resolved within `verify_within`.
    Effective,
    /// The alert was still firing then.
    Ineffective,
    /// No notification was received since the run.
    Unknown,
}

impl Verdict {
    /// Every verdict, for metrics that must exist at zero.
    pub const ALL: [Self; 3] = [Self::Effective, Self::Ineffective, Self::Unknown];

    /// Returns the label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Effective => "effective",
            Self::Ineffective => "ineffective",
            Self::Unknown => "unknown",
        }
    }
}

/// The number of verdicts of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verdicts {
    /// Episodes without a verdict yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pending: u64,
    /// Episodes that resolved in time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub effective: u64,
    /// Episodes that kept firing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ineffective: u64,
    /// Episodes without any notification since the run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature is serde's
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Verdicts {
    /// Counts a verdict.
    pub const fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Effective => self.effective += 1,
            Verdict::Ineffective => self.ineffective += 1,
            Verdict::Unknown => self.unknown += 1,
        }
    }

    /// Adds the counts of another.
    pub const fn add_all(&mut self, other: &Self) {
        self.pending += other.pending;
        self.effective += other.effective;
        self.ineffective += other.ineffective;
        self.unknown += other.unknown;
    }

    /// Returns whether all counts are zero.
    pub const fn is_empty(&self) -> bool {
        self.pending + self.effective + self.ineffective + self.unknown == 0
    }

    /// Returns the effective share of the known verdicts, from 0 to 1; `None` if there are none.
    #[allow(clippy::cast_precision_loss)] // a share
    pub fn share_effective(&self) -> Option<f64> {
        let known = self.effective + self.ineffective;
        (known > 0).then(|| self.effective as f64 / known as f64)
    }
}

/// The answer to a query for the state of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertObservation {
    Firing,
    Resolved,
    /// There was nothing to query, or no answer.
    Nothing,
}
