//! promansible: an alert comes in, the Ansible roles that are bound to it run on the hosts that report it.
//!
//! The rooms, from the ground up (a room uses only rooms above it in this list):
//!
//! - [`alert`], [`run`], [`task`], [`check`], [`facts`], [`zone`], [`schedule`], [`time_interval`], [`suggest`], [`name`], [`argument_spec`], [`metrics`], [`clock`], [`shutdown`], [`supervise`], [`visible`], [`caller`], [`secret_file`]: the words.
//! - [`config`], [`web_config`], [`inventory`], [`sd`], [`alert_types`], [`plan`]: thought; no file, process, clock or network is touched in `plan`.
//! - [`store`], [`ansible`]: the engines; only `store` opens transactions, only `ansible` starts processes.
//! - [`door`], [`http`], [`worker`], [`inventory_keeper`], [`facts_keeper`], [`alert_types_keeper`], [`sd_keeper`], [`sd_files`]: the edges; `http` and `worker` never call each other and meet at the store.
//! - [`app`]: wiring, in one straight line.
//! - [`cli`]: what a person types.

pub mod alert;
pub mod alert_types;
pub mod alert_types_keeper;
pub mod alertmanager;
pub mod ansible;
pub mod app;
pub mod argument_spec;
mod blocking;
pub mod build;
pub mod caller;
pub mod certificate;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod config_keeper;
mod descriptors;
pub mod door;
pub mod facts;
pub mod facts_cache;
pub mod facts_keeper;
mod faults;
pub mod follow_up;
pub mod guards;
pub mod http;
pub mod inventory;
pub mod inventory_keeper;
pub mod left_out;
pub mod message;
pub mod metrics;
pub mod name;
pub mod notifier;
pub mod plan;
pub mod proxies;
mod reload;
pub mod run;
pub mod schedule;
pub mod scheduler;
pub mod sd;
pub mod sd_files;
pub mod sd_keeper;
pub mod secret_file;
pub mod seldom;
pub mod shutdown;
pub mod skip;
pub mod store;
pub mod suggest;
pub mod supervise;
pub mod task;
pub mod time_interval;
pub mod units;
pub mod verdict;
pub mod visible;
pub mod web_client;
pub mod web_config;
pub mod worker;
pub mod zone;
