//! Who posts what may be a notification.

/// A program, as its `User-Agent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Prometheus's Alertmanager.
    Alertmanager,
    /// Grafana's own alerting.
    Grafana,
    /// Prometheus, which takes promansible for an Alertmanager.
    Prometheus,
    /// Another.
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

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Grafana => "grafana",
            Self::Prometheus => "prometheus",
            Self::Other => "other",
        }
    }
}
