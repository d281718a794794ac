//! Why something is not run.

use serde::{Deserialize, Serialize};

/// Why an alert × binding is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// No binding's matchers match the alert.
    NoBinding,
    /// The alert is resolved, or its episode already was.
    Resolved,
    /// This episode already has its run under this binding.
    Duplicate,
    /// The host that is named is not in the inventory.
    UnknownHost,
    /// More than one host of the inventory answers to the name.
    AmbiguousHost,
    /// The name is a group's.
    GroupName,
    /// The target's group is not in the inventory.
    UnknownGroup,
    /// The target's group has no hosts.
    EmptyTarget,
    /// The host's inventory name could be read as a pattern by Ansible.
    UnsafeHostName,
    /// The binding's `limit` leaves none of its hosts.
    OutsideLimit,
    /// The alert lacks the label that names the host.
    MissingLabel,
    /// A label or annotation has a name that Ansible keeps for itself (`__…`).
    ReservedLabel,
    /// The alert's text could be a template, and this ansible-core may take it for one.
    TemplateText,
    /// The queue is full; Alertmanager is told to come again.
    QueueFull,
    /// It ran on the host a short while ago (`cooldown`).
    Cooldown,
    /// It ran on the host as often as it may (`attempts`).
    AttemptsExhausted,
    /// A person has put the host on hold.
    HostHeld,
    /// It is outside of the binding's `active_times`, or in its `mute_times`.
    Muted,
    /// The role failed too often in a row (`circuit`).
    CircuitOpen,
    /// The mode is `observe`: nothing is run.
    Observe,
}

impl Skip {
    /// Every reason, for metrics that must exist at zero.
    pub const ALL: [Self; 20] = [
        Self::NoBinding,
        Self::Resolved,
        Self::Duplicate,
        Self::UnknownHost,
        Self::AmbiguousHost,
        Self::GroupName,
        Self::UnknownGroup,
        Self::EmptyTarget,
        Self::UnsafeHostName,
        Self::OutsideLimit,
        Self::MissingLabel,
        Self::ReservedLabel,
        Self::TemplateText,
        Self::QueueFull,
        Self::Cooldown,
        Self::AttemptsExhausted,
        Self::HostHeld,
        Self::Muted,
        Self::CircuitOpen,
        Self::Observe,
    ];

    /// Whether it says no more than that everything is as it should be.
    pub const fn is_routine(self) -> bool {
        matches!(self, Self::NoBinding | Self::Resolved | Self::Duplicate)
    }

    /// Its label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoBinding => "no_binding",
            Self::Resolved => "resolved",
            Self::Duplicate => "duplicate",
            Self::UnknownHost => "unknown_host",
            Self::AmbiguousHost => "ambiguous_host",
            Self::GroupName => "group_name",
            Self::UnknownGroup => "unknown_group",
            Self::EmptyTarget => "empty_target",
            Self::UnsafeHostName => "unsafe_host_name",
            Self::OutsideLimit => "outside_limit",
            Self::MissingLabel => "missing_label",
            Self::ReservedLabel => "reserved_label",
            Self::TemplateText => "template_text",
            Self::QueueFull => "queue_full",
            Self::Cooldown => "cooldown",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::HostHeld => "host_held",
            Self::Muted => "muted",
            Self::CircuitOpen => "circuit_open",
            Self::Observe => "observe",
        }
    }
}

/// A host that a run leaves out, although its alert or its schedule names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedHost {
    /// The host.
    pub host: String,
    /// The reason, a label value.
    pub reason: Skip,
    /// The same as a sentence.
    pub why: String,
}
