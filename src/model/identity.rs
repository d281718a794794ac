//! The identity of a caller and its scopes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A permission of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read the metrics and the scrape targets.
    Metrics,
    /// Post notifications.
    Receive,
    /// Everything else: read all data, run roles, change stored objects.
    Operate,
}

impl Scope {
    /// Every scope, in display order.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Receive, Self::Operate];

    /// Returns the name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Receive => "receive",
            Self::Operate => "operate",
        }
    }

    /// Returns the scope of this name.
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
    /// All scopes.
    pub const ALL: Self = Self(0b111);

    const fn bit(scope: Scope) -> u8 {
        1 << scope as u8
    }

    /// Returns whether this set allows a scope. `operate` allows everything, because it could cause everything anyway.
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (Self::bit(scope) | Self::bit(Scope::Operate)) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().map(Self::bit).fold(0, |a, b| a | b))
    }
}

/// The method by which a caller was authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMethod {
    /// No authentication is required.
    Nothing,
    /// A user's password.
    Password,
    /// The session cookie of a user who signed in to the portal.
    Session,
    /// A bearer token.
    Token,
    /// A client certificate.
    Certificate,
    /// A header from a trusted reverse proxy.
    Proxy,
}

impl AuthMethod {
    /// Returns the name in API responses.
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

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name of the user, token or certificate; `None` if no authentication is required.
    pub name: Option<String>,
    /// The method of authentication.
    pub proof: AuthMethod,
    /// The caller's scopes.
    pub scopes: Scopes,
}

impl Identity {
    /// Returns the identity of every caller if no authentication is required.
    pub const fn unauthenticated() -> Self {
        Self {
            name: None,
            proof: AuthMethod::Nothing,
            scopes: Scopes::ALL,
        }
    }

    /// Returns the identity of an unauthenticated caller without any scope.
    pub fn anonymous() -> Self {
        Self {
            name: None,
            proof: AuthMethod::Nothing,
            scopes: Scopes::default(),
        }
    }

    /// Returns the caller's name, or `way` if there is none.
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
