//! The reasons for not running.

use serde::{Deserialize, Serialize};

/// The reason why an alert × binding is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// No binding matches the alert.
    NoBinding,
    /// The alert is resolved, or its episode was already resolved.
    Resolved,
    /// This episode already has its run under this binding.
    Duplicate,
    /// The named host is not in the inventory.
    UnknownHost,
    /// The name matches more than one host of the inventory.
    AmbiguousHost,
    /// The name is that of a group.
    GroupName,
    /// The target's group is not in the inventory.
    UnknownGroup,
    /// The target's group has no hosts.
    EmptyTarget,
    /// Ansible could read the host's inventory name as a pattern.
    UnsafeHostName,
    /// The binding's `limit` excludes all hosts.
    OutsideLimit,
    /// The alert lacks the label that names the host.
    MissingLabel,
    /// A label or annotation has a name that is reserved by Ansible (`__…`).
    ReservedLabel,
    /// The alert's text could be a template, and this ansible-core may evaluate it.
    TemplateText,
    /// The queue is full; Alertmanager will retry.
    QueueFull,
    /// The role ran on the host recently (`cooldown`).
    Cooldown,
    /// The role has used all its attempts on the host (`attempts`).
    AttemptsExhausted,
    /// The host is on hold.
    HostHeld,
    /// The time is outside of the binding's `active_times`, or in its `mute_times`.
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

    /// Returns whether the reason is part of normal operation.
    pub const fn is_routine(self) -> bool {
        matches!(self, Self::NoBinding | Self::Resolved | Self::Duplicate)
    }

    /// Returns the label value.
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

/// A host that a run skips, although its alert or its schedule names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedHost {
    pub host: String,
    /// The reason, a label value.
    pub reason: Skip,
    /// The reason as a sentence.
    pub why: String,
}
