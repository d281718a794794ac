//! Who asks for something, and what for he may.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read the metrics and the scrape targets.
    Metrics,
    /// Post notifications.
    Receive,
    /// Everything else: look at all there is, run roles, change what is kept.
    Operate,
}

impl Scope {
    /// Every scope, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Receive, Self::Operate];

    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Receive => "receive",
            Self::Operate => "operate",
        }
    }

    /// The scope of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// All of them.
    pub const ALL: Self = Self(0b111);

    const fn bit(scope: Scope) -> u8 {
        1 << scope as u8
    }

    /// Whether this set allows it. Who operates may do everything: he could make it happen anyway.
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (Self::bit(scope) | Self::bit(Scope::Operate)) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().map(Self::bit).fold(0, |a, b| a | b))
    }
}

/// By what somebody proved who he is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMethod {
    /// Nobody has to say who he is.
    Nothing,
    /// A user's password.
    Password,
    /// The cookie of a user who signed in by the portal's form.
    Session,
    /// A bearer token.
    Token,
    /// A client certificate.
    Certificate,
    /// The word of a reverse proxy that is trusted.
    Proxy,
}

impl AuthMethod {
    /// Its name in lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Password => "password",
            Self::Session => "session",
            Self::Token => "token",
            Self::Certificate => "certificate",
            Self::Proxy => "proxy",
        }
    }
}

/// Who made a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's, token's or certificate's name; `None` where nobody has to say who he is.
    pub name: Option<String>,
    /// How that is known.
    pub proof: AuthMethod,
    /// What he may do.
    pub scopes: Scopes,
}

impl Identity {
    /// Somebody who did not have to say who he is.
    pub const fn anybody() -> Self {
        Self {
            name: None,
            proof: AuthMethod::Nothing,
            scopes: Scopes::ALL,
        }
    }

    /// Somebody of whom nothing is known, and who may do nothing that is asked for.
    pub fn nobody() -> Self {
        Self {
            name: None,
            proof: AuthMethod::Nothing,
            scopes: Scopes::default(),
        }
    }

    /// His name, or by which way he came.
    pub fn name_or<'a>(&'a self, way: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_holds_nothing_of_the_others_but_operate_holds_all() {
        use Scope::{Metrics, Operate, Receive};
        for (scopes, allowed) in [
            (vec![], vec![]),
            (vec![Metrics], vec![Metrics]),
            (vec![Receive], vec![Receive]),
            (vec![Operate], vec![Metrics, Receive, Operate]),
            (vec![Metrics, Receive], vec![Metrics, Receive]),
            (vec![Receive, Operate], vec![Metrics, Receive, Operate]),
        ] {
            let set: Scopes = scopes.iter().copied().collect();
            let found: Vec<Scope> = Scope::ALL.into_iter().filter(|s| set.allow(*s)).collect();
            assert_eq!(found, allowed, "{scopes:?}");
        }
        assert!(Scope::ALL.into_iter().all(|scope| Scopes::ALL.allow(scope)));
    }
}
