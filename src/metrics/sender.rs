//! The senders of requests that look like notifications.

/// A program, identified by its `User-Agent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Prometheus's Alertmanager.
    Alertmanager,
    /// Grafana's own alerting.
    Grafana,
    /// Prometheus, configured to use promansible as an Alertmanager.
    Prometheus,
    Other,
}

impl Sender {
    /// Every sender, for metrics that must exist at zero.
    pub const ALL: [Self; 4] = [
        Self::Alertmanager,
        Self::Grafana,
        Self::Prometheus,
        Self::Other,
    ];

    /// Returns the label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Grafana => "grafana",
            Self::Prometheus => "prometheus",
            Self::Other => "other",
        }
    }
}
