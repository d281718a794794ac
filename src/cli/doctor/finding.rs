//! The result of a check: one line of the report.

use serde::Serialize;

/// The area of a finding, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Area {
    Configuration,
    Ansible,
    Roles,
    Inventory,
    Hosts,
    Alertmanager,
    Prometheus,
    Server,
    Machine,
    Service,
}

impl Area {
    /// Returns the heading of the area.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Ansible => "Ansible",
            Self::Roles => "Roles",
            Self::Inventory => "Inventory",
            Self::Hosts => "Hosts",
            Self::Alertmanager => "Alertmanager",
            Self::Prometheus => "Prometheus",
            Self::Server => "Server",
            Self::Machine => "Machine",
            Self::Service => "Service",
        }
    }
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// It works, but perhaps not as intended; or it could not be checked.
    Warning,
    /// It does not work.
    Error,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) area: Area,
    /// The checked object: a file, a host, a receiver.
    pub(super) subject: String,
    pub(super) level: Level,
    pub(super) message: String,
    /// What to do about it; `None` if all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Area {
    pub(super) fn ok(self, subject: &str, message: impl Into<String>) -> Finding {
        self.finding(Level::Ok, subject, message.into(), None)
    }

    pub(super) fn warning(
        self,
        subject: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        self.finding(Level::Warning, subject, message.into(), Some(remedy.into()))
    }

    pub(super) fn error(
        self,
        subject: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        self.finding(Level::Error, subject, message.into(), Some(remedy.into()))
    }

    fn finding(
        self,
        level: Level,
        subject: &str,
        message: String,
        remedy: Option<String>,
    ) -> Finding {
        Finding {
            area: self,
            subject: subject.to_owned(),
            level,
            message,
            // A message that already contains the remedy is passed with an empty one.
            remedy: remedy.filter(|remedy| !remedy.is_empty()),
        }
    }
}
