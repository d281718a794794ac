//! The JSON API, the webhook receiver, `/metrics` and `http_sd`.

pub(crate) mod alerts;
pub(crate) mod create_run;
pub(crate) mod dispatch;
pub(crate) mod facts;
pub(crate) mod groups;
pub(crate) mod guards;
pub(crate) mod hosts;
pub(crate) mod http_sd;
pub(crate) mod inventory;
pub(crate) mod managed;
pub(crate) mod metrics;
pub(crate) mod misdirected;
pub(crate) mod openapi;
pub(crate) mod rerun;
pub(crate) mod roles;
pub(crate) mod runs;
pub(crate) mod schedules;
pub(crate) mod vars;
pub(crate) mod verdicts;
pub(crate) mod views;
pub(crate) mod webhook;
