//! Which host metrics are shown.

/// Which host metrics are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOptions {
    /// Only these, where any is named: names without `promansible_host_`; a `*` at the end stands for any rest.
    pub only: Vec<String>,
    /// Never these.
    pub never: Vec<String>,
    /// Further ones, of facts that are numbers.
    pub extra: Vec<ExtraFact>,
    /// How many series one host may have of each metric, such as a mount each; what goes beyond is left out and counted.
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
    /// The gauge's name, without `promansible_host_`.
    pub name: String,
    /// What it says.
    pub help: String,
    /// Where the number is: names with dots between, `ansible_local.backup.age_seconds`.
    pub path: String,
}

impl HostOptions {
    /// A machine with containers has some hundred mounts and interfaces.
    pub const LIMIT: usize = 500;

    /// Whether a host metric is shown: its name without `promansible_host_`.
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
