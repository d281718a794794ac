//! `/api/v1/sd`: scrape targets for Prometheus's `http_sd`, as an array without an envelope.
//!
//! Until the hosts are known, the response is 503: Prometheus then keeps its targets. An empty array would remove all of
//! them.

use std::time::Duration;

use hyper::StatusCode;

use crate::http::Context;
use crate::http::core::reply::{self, Reply};
use crate::model::alert::Matcher;
use crate::model::sd::{self, Endpoint, Exposed, Filter, is_metrics_path};

/// The longest wait for an inventory that is being read. Prometheus waits no longer than its refresh interval.
const MAX_WAIT: Duration = Duration::from_millis(500);

pub(crate) async fn answer(context: &Context, query: &str) -> Reply {
    // A host that was just added is a target already if Ansible is quick, and otherwise at the next request.
    let fresh = async {
        let _ = context.inventory.fresh().await;
        if let Some(believed) = context.inventory.status().believed {
            context.targets.clone().of(&believed).await;
        }
    };
    let _ = tokio::time::timeout(MAX_WAIT, fresh).await;
    let Some(view) = context.targets.clone().latest() else {
        let why = match context.inventory.latest() {
            Err(why) => why.brief(),
            Ok(_) => "the targets are not ready yet".to_owned(),
        };
        return reply::error(StatusCode::SERVICE_UNAVAILABLE, why);
    };
    let (filter, endpoint) = match parse_query(query, view.exposed()) {
        Ok(parsed) => parsed,
        Err(why) => return reply::error(StatusCode::BAD_REQUEST, why),
    };
    let select = move || view.targets(&filter, &endpoint);
    match tokio::task::spawn_blocking(select).await {
        Ok(targets) => reply::typed("application/json", [targets.json.into()]),
        Err(e) => reply::error(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}

fn parse_query(query: &str, exposed: &Exposed) -> Result<(Filter, Endpoint), String> {
    let (mut groups, mut matchers) = (Vec::new(), Vec::<Matcher>::new());
    let mut endpoint = Endpoint::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "group" if value.is_empty() => return Err("group: it is empty".to_owned()),
            "group" => groups.push(value.into_owned()),
            "match" => {
                let more = sd::matchers(&value, exposed).map_err(|e| format!("match: {e}"))?;
                matchers.extend(more);
            }
            "port" => once(
                &name,
                &value,
                &mut endpoint.port,
                "a number from 1 to 65535",
                sd::port,
            )?,
            "scheme" => {
                let parse = |text: &str| text.parse().ok();
                once(&name, &value, &mut endpoint.scheme, "http or https", parse)?;
            }
            "metrics_path" => {
                let parse = |text: &str| is_metrics_path(text).then(|| text.to_owned());
                let want = "a path that begins with /, such as /metrics";
                once(&name, &value, &mut endpoint.metrics_path, want, parse)?;
            }
            _ => {
                return Err(format!(
                    "{name}: unknown; want group, match, port, scheme or metrics_path"
                ));
            }
        }
    }
    let matchers = matchers.into_iter().collect();
    Ok((Filter { groups, matchers }, endpoint))
}

/// Parses a parameter that may occur once.
fn once<T>(
    name: &str,
    value: &str,
    into: &mut Option<T>,
    want: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<(), String> {
    if into.is_some() {
        return Err(format!("{name}: given more than once"));
    }
    let parsed = parse(value).ok_or_else(|| format!("{name}: {value:?} is not {want}"))?;
    *into = Some(parsed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_parsed_or_its_invalid_field_named() {
        let exposed = Exposed::default();
        let query = "group=web&group=db&match=__meta_ansible_host%3D~%22a.*%22\
                     &match=%7B__meta_ansible_fact_os_family%21%3D%22x%22%7D&port=9100&scheme=https&metrics_path=/m";
        let (filter, endpoint) = parse_query(query, &exposed).unwrap();
        assert_eq!(filter.groups, ["web", "db"]);
        assert_eq!(
            filter.matchers.to_string(),
            r#"{__meta_ansible_host=~"a.*",__meta_ansible_fact_os_family!="x"}"#
        );
        assert_eq!(endpoint.port, Some(9100));
        assert_eq!(endpoint.scheme, Some(sd::Scheme::Https));
        assert_eq!(endpoint.metrics_path.as_deref(), Some("/m"));
        assert_eq!(
            parse_query("", &exposed).unwrap(),
            (Filter::default(), Endpoint::default())
        );
        for (query, message) in [
            ("group=", "group: it is empty"),
            ("port=0", "port: \"0\" is not a number from 1 to 65535"),
            (
                "port=%2B80",
                "port: \"+80\" is not a number from 1 to 65535",
            ),
            ("port=1&port=2", "port: given more than once"),
            ("scheme=ftp", "scheme: \"ftp\" is not http or https"),
            (
                "metrics_path=m",
                "metrics_path: \"m\" is not a path that begins with /, such as /metrics",
            ),
            (
                "host=a",
                "host: unknown; want group, match, port, scheme or metrics_path",
            ),
        ] {
            assert_eq!(parse_query(query, &exposed).unwrap_err(), message);
        }
        for query in [
            "match=a%3D%3Db",
            "match=instance%3D%22a%22",
            "match=__meta_ansible_host",
            "match=%7B%7D",
        ] {
            let refused = parse_query(query, &exposed).unwrap_err();
            assert!(refused.starts_with("match: "), "{refused}");
        }
    }
}
