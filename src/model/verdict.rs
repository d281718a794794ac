//! Whether a run that ended well helped: its alert resolved in time, or it fires on. Pure.

use serde::{Deserialize, Serialize};

/// What became of an episode after a successful run for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It resolved within `verify_within`.
    Effective,
    /// It still fired then.
    Ineffective,
    /// Nothing was heard of it since the run.
    Unknown,
}

impl Verdict {
    /// Every verdict, for metrics that must exist at zero.
    pub const ALL: [Self; 3] = [Self::Effective, Self::Ineffective, Self::Unknown];

    /// Its label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Effective => "effective",
            Self::Ineffective => "ineffective",
            Self::Unknown => "unknown",
        }
    }
}

/// How often each verdict fell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verdicts {
    /// Of so many episodes it is yet to be seen.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pending: u64,
    /// So many resolved in time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub effective: u64,
    /// So many fired on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ineffective: u64,
    /// Of so many nothing was heard.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature is serde's
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Verdicts {
    /// Counts one that fell.
    pub const fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Effective => self.effective += 1,
            Verdict::Ineffective => self.ineffective += 1,
            Verdict::Unknown => self.unknown += 1,
        }
    }

    /// Adds all of another.
    pub const fn add_all(&mut self, other: &Self) {
        self.pending += other.pending;
        self.effective += other.effective;
        self.ineffective += other.ineffective;
        self.unknown += other.unknown;
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.pending + self.effective + self.ineffective + self.unknown == 0
    }

    /// How much of what is known helped, from 0 to 1; `None` where nothing is known.
    #[allow(clippy::cast_precision_loss)] // a share
    pub fn share_effective(&self) -> Option<f64> {
        let known = self.effective + self.ineffective;
        (known > 0).then(|| self.effective as f64 / known as f64)
    }
}

/// What was heard of an episode when it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It fires.
    Firing,
    /// It does not.
    Resolved,
    /// There was nobody to ask, or no answer.
    Nothing,
}
