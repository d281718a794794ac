//! `/api/v1/groups`: the groups of the inventory.

use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::http::Context;
use crate::http::core::path;
use crate::http::core::reply::{self, Reply};
use crate::model::inventory::Inventory;
use crate::util::suggest::did_you_mean;

#[derive(Serialize)]
struct Groups {
    groups: Vec<GroupAnswer>,
}

#[derive(Serialize)]
struct GroupAnswer {
    name: String,
    /// The number of hosts, including those of its children.
    hosts: usize,
    /// The groups directly below it.
    children: Vec<String>,
}

#[derive(Serialize)]
struct GroupDetail {
    name: String,
    /// Including those of its children, in the inventory's order.
    hosts: Vec<String>,
    children: Vec<String>,
}

/// Handles `groups`; `parts` is the path after it.
pub(crate) async fn answer(context: &Context, method: &Method, parts: &[&str]) -> Reply {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match parts {
        [] | [_] if !reads => return reply::method_not_allowed("GET, HEAD"),
        [] | [_] => {}
        _ => return reply::not_found(&format!("groups/{}", parts.join("/"))),
    }
    let inventory = match context.inventory.fresh().await {
        Ok(inventory) => inventory,
        Err(why) => return reply::error(StatusCode::SERVICE_UNAVAILABLE, why),
    };
    let Some(name) = parts.first().map(|part| path::decoded(part)) else {
        return reply::long_success(move || Groups {
            groups: inventory
                .groups()
                .map(|name| GroupAnswer {
                    name: name.to_owned(),
                    hosts: inventory.group_len(name).unwrap_or(0),
                    children: children(&inventory, name),
                })
                .collect(),
        })
        .await;
    };
    let Some(hosts) = inventory.group_hosts(&name) else {
        let names: Vec<&str> = inventory.groups().collect();
        let help = did_you_mean(&name, &names, "the groups are");
        let why = format_args!("no group of the inventory is named {name:?}; {help}");
        return reply::error(StatusCode::NOT_FOUND, why);
    };
    reply::success(&GroupDetail {
        hosts: hosts.into_iter().map(str::to_owned).collect(),
        children: children(&inventory, &name),
        name,
    })
}

fn children(inventory: &Inventory, name: &str) -> Vec<String> {
    let children = inventory.group_children(name).into_iter();
    children.map(str::to_owned).collect()
}
