//! The long-lived background tasks. They work together through the store.

pub mod config_manager;
pub mod facts_cache;
pub mod facts_collector;
pub mod file_sd;
pub mod inventory_watcher;
pub mod notifier;
pub mod recheck;
pub mod retention;
pub mod rule_discovery;
pub mod scheduler;
pub mod target_index;
pub mod truncated_alerts;
pub mod worker;
