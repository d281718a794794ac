//! Dispatches `/api/v1/…`. Responses use the envelope of Prometheus's HTTP API.

use hyper::Method;

use crate::http::Context;
use crate::http::api::{alerts, groups, hosts, http_sd, inventory, roles, runs};
use crate::http::core::audit;
use crate::http::core::reply::{self, Reply};

pub(crate) async fn answer(context: &Context, method: &Method, path: &str, query: &str) -> Reply {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["runs", rest @ ..] => runs::answer(context, method, rest, query).await,
        ["audit"] => audit::list(context, method, query).await,
        ["sd"] if reads => http_sd::answer(context, query).await,
        ["alerts" | "alert-types", ..] => alerts::answer(context, method, &parts, query).await,
        ["roles", rest @ ..] => roles::answer(context, method, rest).await,
        ["groups", rest @ ..] => groups::answer(context, method, rest).await,
        ["inventory", "status"] => inventory::status(context, method),
        ["hosts" | "inventory", ..] => hosts::answer(context, method, &parts).await,
        ["sd"] => reply::method_not_allowed("GET, HEAD"),
        _ => reply::not_found(path),
    }
}
