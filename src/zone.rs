//! Whose clock a time is read by.

use std::fmt;
use std::str::FromStr;

use chrono_tz::Tz;

/// A time zone of the IANA's data base, as `Asia/Shanghai`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

impl Zone {
    /// The default.
    pub const UTC: Self = Self(Tz::UTC);

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Its rules.
    pub(crate) const fn tz(self) -> Tz {
        self.0
    }

    /// Every name.
    pub fn names() -> impl Iterator<Item = &'static str> {
        chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name())
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        name.parse()
            .map(Self)
            .map_err(|_| format!("there is no time zone {name:?}"))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
