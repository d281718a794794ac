//! `/api/v1/openapi.json`: the API as an OpenAPI 3.1 document.
//!
//! It is written by hand in `openapi.json`. `tests/openapi` checks it against the server.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::http::Context;
use crate::http::core::reply::{self, Reply};

const TYPED: &str = include_str!("openapi.json");

/// The default of `--web.telemetry-path`, which the document uses.
const METRICS: &str = "/metrics";

pub(crate) fn answer(context: &Context, hosts_path: &str) -> Reply {
    static WRITTEN: Mutex<Option<(Arc<str>, Bytes)>> = Mutex::new(None);
    let links = &context.prefixes.links;
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    // The paths of the metrics are fixed, and the prefix is almost always the same.
    let text = match &*written {
        Some((prefix, text)) if prefix == links => text.clone(),
        _ => {
            let document = document(&context.telemetry_path, hosts_path, links);
            let text = Bytes::from(document.to_string());
            *written = Some((Arc::clone(links), text.clone()));
            text
        }
    };
    drop(written);
    reply::typed("application/json", [text])
}

/// Builds the document for this version and these paths.
fn document(metrics: &str, hosts: &str, links: &str) -> Value {
    let mut document: Value = serde_json::from_str(TYPED).expect("openapi.json is JSON");
    document["info"]["version"] = crate::util::build::VERSION.into();
    document["servers"][0]["url"] = format!("{links}/").into();
    let paths = document["paths"].as_object_mut();
    let paths = std::mem::take(paths.expect("it has paths"));
    let moved = paths.into_iter().map(|(path, answers)| match &*path {
        METRICS => (metrics.to_owned(), answers),
        "/metrics/hosts" => (hosts.to_owned(), answers),
        _ => (path, answers),
    });
    document["paths"] = Value::Object(moved.collect::<Map<_, _>>());
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_of_this_build_and_its_metrics_are_where_they_are() {
        let document = document("/m", "/m/hosts", "/pm");
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], crate::util::build::VERSION);
        assert_eq!(document["servers"][0]["url"], "/pm/");
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.contains_key("/m") && paths.contains_key("/m/hosts"));
        assert!(!paths.contains_key(METRICS) && !paths.contains_key("/metrics/hosts"));
    }
}
