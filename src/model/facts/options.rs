//! The selection of host metrics.

/// The selection of host metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOptions {
    /// Only these metrics, unless empty: names without `promansible_host_`; a trailing `*` matches any suffix.
    pub only: Vec<String>,
    /// Never these metrics.
    pub never: Vec<String>,
    /// Additional metrics from facts that are numbers.
    pub extra: Vec<ExtraFact>,
    /// The maximum number of series of one metric per host, such as one per mount. Further series are dropped and
    /// counted.
    pub limit: usize,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            only: Vec::new(),
            never: Vec::new(),
            extra: Vec::new(),
            limit: Self::LIMIT,
        }
    }
}

/// A fact that becomes a gauge `promansible_host_<name>{host}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraFact {
    /// The name of the gauge without `promansible_host_`.
    pub name: String,
    /// The HELP text.
    pub help: String,
    /// The path of the number: names with dots between them, `ansible_local.backup.age_seconds`.
    pub path: String,
}

impl HostOptions {
    /// The default limit: a machine with containers has some hundred mounts and interfaces.
    pub const LIMIT: usize = 500;

    /// Returns whether a host metric is selected. `name` is without `promansible_host_`.
    pub fn shows(&self, name: &str) -> bool {
        let named = |list: &[String]| {
            list.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == pattern,
            })
        };
        (self.only.is_empty() || named(&self.only)) && !named(&self.never)
    }
}
