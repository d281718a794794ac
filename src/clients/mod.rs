//! Clients for other servers: HTTP, and Alertmanager's API.

pub mod alertmanager;
pub mod web_client;
