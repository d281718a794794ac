//! From the file as typed to a [`Config`]: parses every value, checks its bounds and sets the defaults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Ansible;
use crate::config::Config;
use crate::config::InventoryShrink;
use crate::config::Receiver;
use crate::config::Roles;
use crate::config::Runs;
use crate::config::Storage;
use crate::config::alertmanager;
use crate::config::bindings::{self, Defaults};
use crate::config::error::{ConfigErrors, Report, place};
use crate::config::facts;
use crate::config::guards;
use crate::config::notifiers;
use crate::config::prometheus;
use crate::config::raw::{
    AnsibleText, FileText, InventoryShrinkText, ReceiverText, RunsText, StorageText,
};
use crate::config::schedules;
use crate::config::sd;
use crate::config::spanned::{Pairs, Scalar};
use crate::config::time_intervals;
use crate::config::values::{
    BATCH_WINDOW, TIMEOUT, count, duration, is_identifier, path, size, text,
};
use crate::config::vault;
use crate::config::web;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(24 * 365);

/// Checks every value; `roles` is `None` if they could not be listed, which was reported.
pub(super) fn check(
    typed: FileText,
    roles: Option<&Roles>,
    mut report: Report<'_>,
) -> Result<Config, ConfigErrors> {
    let check = &mut report;
    let ansible = ansible(typed.ansible.unwrap_or_default(), check);
    let storage = storage(typed.storage.unwrap_or_default(), check);
    let runs = self::runs(&typed.runs.unwrap_or_default(), check);
    let receiver = receiver(&typed.receiver.unwrap_or_default(), check);
    let time_intervals = time_intervals::check(typed.time_intervals.unwrap_or_default(), check);
    let guards = guards::check(&typed.guards.unwrap_or_default(), check);
    let around = Defaults {
        ansible: &ansible,
        runs: &runs,
        guards: &guards,
        time_intervals: &time_intervals,
    };
    let bindings = bindings::check(typed.bindings.unwrap_or_default(), &around, roles, check);
    let schedules = schedules::check(
        typed.schedules.unwrap_or_default(),
        &ansible,
        &runs,
        roles,
        check,
    );
    let facts = facts::check(typed.facts.unwrap_or_default(), check);
    let prometheus = prometheus::check(typed.prometheus.unwrap_or_default(), check);
    let has_alertmanager = typed.alertmanager.is_some();
    let alertmanager = alertmanager::check(typed.alertmanager, check);
    let notifiers = typed.notifiers.unwrap_or_default();
    let notifiers = notifiers::check(notifiers, has_alertmanager, check);
    let service_discovery = sd::check(typed.service_discovery.unwrap_or_default(), check);
    let web = web::check(typed.web.unwrap_or_default(), check);
    report.finish(Config {
        ansible,
        storage,
        runs,
        receiver,
        guards,
        time_intervals,
        bindings,
        schedules,
        conflicts: Vec::new(),
        facts,
        prometheus,
        alertmanager,
        notifiers: notifiers.into_iter().map(Arc::new).collect(),
        service_discovery,
        web,
        roles: roles.cloned().unwrap_or_default(),
    })
}

fn ansible(typed: AnsibleText, report: &mut Report<'_>) -> Ansible {
    let sources = typed.inventory.as_ref();
    if sources.is_none_or(|list| list.value.is_empty()) {
        report.add(
            sources.and_then(|list| place(list.referenced)),
            "ansible.inventory has no source",
            Some(
                "list at least one, as for `ansible-inventory -i`: inventory: [config/inventory]"
                    .to_owned(),
            ),
        );
    }
    let inventory = typed
        .inventory
        .into_iter()
        .flat_map(|list| list.value)
        .filter_map(|source| path("ansible.inventory", Some(source), report))
        .collect();
    if typed.playbook_dir.is_none() {
        report.add(
            None,
            "ansible.playbook_dir is missing",
            Some("name the folder that holds run.yml and alert/roles: ansible: {playbook_dir: playbook, …}".to_owned()),
        );
    }
    Ansible {
        bin_dir: path("ansible.bin_dir", typed.bin_dir, report),
        playbook_dir: path("ansible.playbook_dir", typed.playbook_dir, report).unwrap_or_default(),
        inventory,
        inventory_refresh: duration(
            "ansible.inventory_refresh",
            typed.inventory_refresh.as_ref(),
            Ansible::INVENTORY_REFRESH,
            SECOND..=YEAR,
            report,
        ),
        inventory_timeout: duration(
            "ansible.inventory_timeout",
            typed.inventory_timeout.as_ref(),
            Ansible::INVENTORY_TIMEOUT,
            SECOND..=HOUR,
            report,
        ),
        inventory_max_age: duration(
            "ansible.inventory_max_age",
            typed.inventory_max_age.as_ref(),
            Ansible::INVENTORY_MAX_AGE,
            Duration::ZERO..=DAY,
            report,
        ),
        inventory_shrink: shrink(&typed.inventory_shrink.unwrap_or_default(), report),
        user: text("ansible.user", typed.user, report),
        private_key_file: path("ansible.private_key_file", typed.private_key_file, report),
        r#become: typed.r#become.unwrap_or(Ansible::BECOME),
        forks: count(
            "ansible.forks",
            typed.forks.as_ref(),
            Ansible::FORKS,
            1..=1000,
            report,
        ),
        gather_facts: typed.gather_facts.unwrap_or(Ansible::GATHER_FACTS),
        vault_password_file: path(
            "ansible.vault_password_file",
            typed.vault_password_file,
            report,
        ),
        vault_identities: vault::identities(typed.vault_identities, report),
        become_password_file: path(
            "ansible.become_password_file",
            typed.become_password_file,
            report,
        ),
        connection_password_file: path(
            "ansible.connection_password_file",
            typed.connection_password_file,
            report,
        ),
        environment: environment(typed.environment.unwrap_or_default(), report),
    }
}

fn shrink(typed: &InventoryShrinkText, report: &mut Report<'_>) -> InventoryShrink {
    InventoryShrink {
        max_percent: count(
            "ansible.inventory_shrink.max_percent",
            typed.max_percent.as_ref(),
            InventoryShrink::MAX_PERCENT,
            1..=100,
            report,
        ),
        believe_after: duration(
            "ansible.inventory_shrink.believe_after",
            typed.believe_after.as_ref(),
            InventoryShrink::BELIEVE_AFTER,
            Duration::ZERO..=DAY,
            report,
        ),
    }
}

fn environment(typed: Pairs<Scalar>, report: &mut Report<'_>) -> BTreeMap<String, String> {
    for (name, value) in &typed.0 {
        if !is_identifier(&name.value) {
            report.add(
                place(name.referenced),
                format!("{:?} is not a valid environment variable name", name.value),
                Some("use letters, digits and _, not starting with a digit".to_owned()),
            );
        }
        if value.value.contains('\0') {
            report.add(
                place(value.referenced),
                "an environment variable cannot hold a NUL character",
                None,
            );
        }
    }
    typed
        .0
        .into_iter()
        .map(|(name, value)| (name.value, value.value))
        .collect()
}

fn storage(typed: StorageText, report: &mut Report<'_>) -> Storage {
    let retention = typed.retention.unwrap_or_default();
    Storage {
        path: path("storage.path", typed.path, report).unwrap_or_else(|| Storage::PATH.into()),
        retention_time: duration(
            "storage.retention.time",
            retention.time.as_ref(),
            Storage::RETENTION_TIME,
            HOUR..=YEAR.saturating_mul(100),
            report,
        ),
        retention_size_bytes: size(
            "storage.retention.size",
            retention.size.as_ref(),
            Storage::RETENTION_SIZE_BYTES,
            1 << 20..=1 << 50,
            report,
        ),
    }
}

fn runs(typed: &RunsText, report: &mut Report<'_>) -> Runs {
    Runs {
        max_concurrent: count(
            "runs.max_concurrent",
            typed.max_concurrent.as_ref(),
            Runs::MAX_CONCURRENT,
            1..=1000,
            report,
        ),
        queue_limit: count(
            "runs.queue_limit",
            typed.queue_limit.as_ref(),
            Runs::QUEUE_LIMIT,
            1..=10_000_000,
            report,
        ),
        queue_alerts_limit: count(
            "runs.queue_alerts_limit",
            typed.queue_alerts_limit.as_ref(),
            Runs::QUEUE_ALERTS_LIMIT,
            1..=100_000_000,
            report,
        ),
        alerts_limit: count(
            "runs.alerts_limit",
            typed.alerts_limit.as_ref(),
            Runs::ALERTS_LIMIT,
            1..=1_000_000,
            report,
        ),
        timeout: duration(
            "runs.timeout",
            typed.timeout.as_ref(),
            Runs::TIMEOUT,
            TIMEOUT,
            report,
        ),
        grace: duration(
            "runs.grace",
            typed.grace.as_ref(),
            Runs::GRACE,
            SECOND..=HOUR,
            report,
        ),
        batch_window: duration(
            "runs.batch_window",
            typed.batch_window.as_ref(),
            Runs::BATCH_WINDOW,
            BATCH_WINDOW,
            report,
        ),
        start_attempts: count(
            "runs.start_attempts",
            typed.start_attempts.as_ref(),
            Runs::START_ATTEMPTS,
            1..=10,
            report,
        ),
        start_pause: duration(
            "runs.start_pause",
            typed.start_pause.as_ref(),
            Runs::START_PAUSE,
            Duration::ZERO..=HOUR,
            report,
        ),
        output_limit_bytes: size(
            "runs.output_limit",
            typed.output_limit.as_ref(),
            Runs::OUTPUT_LIMIT_BYTES,
            4 << 10..=1 << 30,
            report,
        ),
        events_limit: count(
            "runs.events_limit",
            typed.events_limit.as_ref(),
            Runs::EVENTS_LIMIT,
            1..=10_000_000,
            report,
        ),
    }
}

fn receiver(typed: &ReceiverText, report: &mut Report<'_>) -> Receiver {
    Receiver {
        max_body_bytes: size(
            "receiver.max_body_size",
            typed.max_body_size.as_ref(),
            Receiver::MAX_BODY_BYTES,
            4 << 10..=1 << 30,
            report,
        ),
        max_alerts: count(
            "receiver.max_alerts",
            typed.max_alerts.as_ref(),
            Receiver::MAX_ALERTS,
            1..=1_000_000,
            report,
        ),
        header_timeout: duration(
            "receiver.header_timeout",
            typed.header_timeout.as_ref(),
            Receiver::HEADER_TIMEOUT,
            Duration::from_millis(100)..=HOUR,
            report,
        ),
        body_timeout: duration(
            "receiver.body_timeout",
            typed.body_timeout.as_ref(),
            Receiver::BODY_TIMEOUT,
            Duration::from_millis(100)..=HOUR,
            report,
        ),
        max_connections: count(
            "receiver.max_connections",
            typed.max_connections.as_ref(),
            Receiver::MAX_CONNECTIONS,
            1..=1_000_000,
            report,
        ),
    }
}
