//! The configuration as typed: every key is optional, every value is a string with its place.
//!
//! Only the YAML syntax and the keys are checked here. The values are validated afterwards, so that all their defects
//! can be reported at once.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::config::guards::{ApprovalText, AttemptsText, GuardsText, StormText};
use crate::config::http_client::{AuthorizationText, BasicAuthText, TlsConfigText};
use crate::config::notifiers::NotifierText;
use crate::config::spanned::{Pairs, Scalar};
use crate::config::vars::VarValue;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileText {
    pub(super) ansible: Option<AnsibleText>,
    pub(super) storage: Option<StorageText>,
    pub(super) runs: Option<RunsText>,
    pub(super) receiver: Option<ReceiverText>,
    pub(super) guards: Option<GuardsText>,
    pub(super) time_intervals: Option<Vec<Spanned<TimeIntervalText>>>,
    pub(super) bindings: Option<Vec<Spanned<BindingText>>>,
    pub(super) schedules: Option<Vec<Spanned<ScheduleText>>>,
    pub(super) facts: Option<FactsText>,
    pub(super) prometheus: Option<PrometheusText>,
    pub(super) alertmanager: Option<AlertmanagerText>,
    pub(super) notifiers: Option<Vec<Spanned<NotifierText>>>,
    pub(super) service_discovery: Option<ServiceDiscoveryText>,
    pub(super) web: Option<WebText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnsibleText {
    pub(super) bin_dir: Option<Scalar>,
    pub(super) playbook_dir: Option<Scalar>,
    pub(super) inventory: Option<Spanned<Vec<Scalar>>>,
    pub(super) inventory_refresh: Option<Scalar>,
    pub(super) inventory_timeout: Option<Scalar>,
    pub(super) inventory_max_age: Option<Scalar>,
    pub(super) inventory_shrink: Option<InventoryShrinkText>,
    pub(super) user: Option<Scalar>,
    pub(super) private_key_file: Option<Scalar>,
    pub(super) r#become: Option<bool>,
    pub(super) forks: Option<Scalar>,
    pub(super) gather_facts: Option<bool>,
    pub(super) vault_password_file: Option<Scalar>,
    pub(super) vault_identities: Option<Spanned<Vec<Spanned<VaultIdentityText>>>>,
    pub(super) become_password_file: Option<Scalar>,
    pub(super) connection_password_file: Option<Scalar>,
    pub(super) environment: Option<Pairs<Scalar>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VaultIdentityText {
    pub(super) id: Option<Scalar>,
    pub(super) password_file: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InventoryShrinkText {
    pub(super) max_percent: Option<Scalar>,
    pub(super) believe_after: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StorageText {
    pub(super) path: Option<Scalar>,
    pub(super) retention: Option<RetentionText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetentionText {
    pub(super) time: Option<Scalar>,
    pub(super) size: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunsText {
    pub(super) max_concurrent: Option<Scalar>,
    pub(super) queue_limit: Option<Scalar>,
    pub(super) queue_alerts_limit: Option<Scalar>,
    pub(super) alerts_limit: Option<Scalar>,
    pub(super) timeout: Option<Scalar>,
    pub(super) grace: Option<Scalar>,
    pub(super) batch_window: Option<Scalar>,
    pub(super) start_attempts: Option<Scalar>,
    pub(super) start_pause: Option<Scalar>,
    pub(super) output_limit: Option<Scalar>,
    pub(super) events_limit: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiverText {
    pub(super) max_body_size: Option<Scalar>,
    pub(super) max_alerts: Option<Scalar>,
    pub(super) header_timeout: Option<Scalar>,
    pub(super) body_timeout: Option<Scalar>,
    pub(super) max_connections: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FactsText {
    pub(super) every: Option<Scalar>,
    pub(super) target: Option<Spanned<TargetText>>,
    pub(super) stale_after: Option<Scalar>,
    pub(super) keep_after_removal: Option<Scalar>,
    pub(super) metrics: Option<FactMetricsText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrometheusText {
    pub(super) url: Option<Scalar>,
    pub(super) rule_files: Option<Vec<Scalar>>,
    pub(super) timeout: Option<Scalar>,
    pub(super) basic_auth: Option<Spanned<BasicAuthText>>,
    pub(super) authorization: Option<Spanned<AuthorizationText>>,
    pub(super) tls_config: Option<Spanned<TlsConfigText>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertmanagerText {
    pub(super) url: Option<Scalar>,
    pub(super) timeout: Option<Scalar>,
    pub(super) basic_auth: Option<Spanned<BasicAuthText>>,
    pub(super) authorization: Option<Spanned<AuthorizationText>>,
    pub(super) tls_config: Option<Spanned<TlsConfigText>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FactMetricsText {
    pub(super) only: Option<Vec<Scalar>>,
    pub(super) never: Option<Vec<Scalar>>,
    pub(super) extra: Option<Vec<Spanned<ExtraFactText>>>,
    pub(super) series_limit: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtraFactText {
    pub(super) name: Option<Scalar>,
    pub(super) path: Option<Scalar>,
    pub(super) help: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepText {
    pub(super) roles: Option<Spanned<Vec<Scalar>>>,
    pub(super) verify_within: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeIntervalText {
    pub(super) name: Option<Scalar>,
    pub(super) time_intervals: Option<Spanned<Vec<SpanText>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpanText {
    pub(super) times: Option<Spanned<Vec<Spanned<TimeRangeText>>>>,
    pub(super) weekdays: Option<Spanned<Vec<Scalar>>>,
    pub(super) days_of_month: Option<Spanned<Vec<Scalar>>>,
    pub(super) months: Option<Spanned<Vec<Scalar>>>,
    pub(super) years: Option<Spanned<Vec<Scalar>>>,
    pub(super) location: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeRangeText {
    pub(super) start_time: Option<Scalar>,
    pub(super) end_time: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BindingText {
    pub(super) name: Option<Scalar>,
    pub(super) matchers: Option<Spanned<Vec<Scalar>>>,
    pub(super) roles: Option<Spanned<Vec<Scalar>>>,
    pub(super) verify_within: Option<Scalar>,
    pub(super) steps: Option<Spanned<Vec<Spanned<StepText>>>>,
    pub(super) on_resolved: Option<Spanned<Vec<Scalar>>>,
    pub(super) target: Option<Spanned<TargetText>>,
    pub(super) vars: Option<Pairs<VarValue>>,
    pub(super) stop: Option<bool>,
    pub(super) mode: Option<Scalar>,
    pub(super) cooldown: Option<Scalar>,
    pub(super) attempts: Option<AttemptsText>,
    pub(super) storm: Option<StormText>,
    pub(super) approval: Option<ApprovalText>,
    pub(super) active_times: Option<Spanned<Vec<Scalar>>>,
    pub(super) mute_times: Option<Spanned<Vec<Scalar>>>,
    pub(super) timeout: Option<Scalar>,
    pub(super) batch_window: Option<Scalar>,
    pub(super) allow_overlap: Option<bool>,
    pub(super) on_interrupt: Option<Scalar>,
    pub(super) r#become: Option<bool>,
    pub(super) gather_facts: Option<bool>,
    pub(super) limit: Option<Spanned<Vec<Scalar>>>,
    pub(super) tags: Option<Spanned<Vec<Scalar>>>,
    pub(super) skip_tags: Option<Spanned<Vec<Scalar>>>,
    pub(super) verbosity: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleText {
    pub(super) name: Option<Scalar>,
    pub(super) cron: Option<Scalar>,
    pub(super) timezone: Option<Scalar>,
    pub(super) roles: Option<Spanned<Vec<Scalar>>>,
    pub(super) target: Option<Spanned<TargetText>>,
    pub(super) vars: Option<Pairs<VarValue>>,
    pub(super) enabled: Option<bool>,
    pub(super) missed: Option<Scalar>,
    pub(super) grace: Option<Scalar>,
    pub(super) jitter: Option<Scalar>,
    pub(super) mode: Option<Scalar>,
    pub(super) timeout: Option<Scalar>,
    pub(super) allow_overlap: Option<bool>,
    pub(super) on_interrupt: Option<Scalar>,
    pub(super) r#become: Option<bool>,
    pub(super) gather_facts: Option<bool>,
    pub(super) limit: Option<Spanned<Vec<Scalar>>>,
    pub(super) tags: Option<Spanned<Vec<Scalar>>>,
    pub(super) skip_tags: Option<Spanned<Vec<Scalar>>>,
    pub(super) verbosity: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceDiscoveryText {
    pub(super) files: Option<Vec<Spanned<TargetsFileText>>>,
    pub(super) vars: Option<Spanned<Vec<Scalar>>>,
    pub(super) facts: Option<Spanned<Vec<Scalar>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebText {
    pub(super) tokens: Option<Vec<Spanned<TokenText>>>,
    pub(super) users: Option<Pairs<Vec<Scalar>>>,
    pub(super) certificates: Option<Pairs<Vec<Scalar>>>,
    pub(super) trusted_proxies: Option<Vec<Scalar>>,
    pub(super) proxy_headers: Option<Scalar>,
    pub(super) proxy_user: Option<Spanned<ProxyUserText>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProxyUserText {
    pub(super) header: Option<Scalar>,
    pub(super) scopes: Option<Vec<Scalar>>,
    pub(super) users: Option<Pairs<Vec<Scalar>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenText {
    pub(super) name: Option<Scalar>,
    pub(super) file: Option<Scalar>,
    pub(super) scopes: Option<Vec<Scalar>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetsFileText {
    pub(super) path: Option<Scalar>,
    pub(super) port: Option<Scalar>,
    pub(super) groups: Option<Spanned<Vec<Scalar>>>,
    pub(super) matchers: Option<Vec<Scalar>>,
    pub(super) scheme: Option<Scalar>,
    pub(super) metrics_path: Option<Scalar>,
    pub(super) labels: Option<Pairs<Scalar>>,
}

/// `controller`, or a map with one key. A list is a common mistake, and is reported later.
#[derive(Debug)]
pub(super) enum TargetText {
    Word(String),
    List,
    Map(Box<TargetMap>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetMap {
    pub(super) alerting_host: Option<Scalar>,
    pub(super) group: Option<Scalar>,
    pub(super) hosts: Option<Spanned<Vec<Scalar>>>,
}

impl<'de> Deserialize<'de> for TargetText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = TargetText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`controller`, or one of {alerting_host: LABEL}, {group: NAME}, {hosts: [NAME, …]}")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<TargetText, E> {
                Ok(TargetText::Word(word.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TargetText, A::Error> {
                Box::deserialize(de::value::MapAccessDeserializer::new(map)).map(TargetText::Map)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TargetText, A::Error> {
                while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(TargetText::List)
            }
        }

        deserializer.deserialize_any(Either)
    }
}
