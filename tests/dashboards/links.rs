//! The ways from one dashboard to another.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::model::{self, list, text};

static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"/d/(?<uid>[\w-]+)\?(?<query>[^"]*)"#).expect("a pattern"));
static GIVEN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"var-(\w+)=").expect("a pattern"));

#[test]
fn every_dashboard_leads_to_the_others() {
    let dashboards = model::all();
    for dashboard in &dashboards {
        let uid = |d: &model::Dashboard| text(&d.json["uid"]);
        let own = uid(dashboard);
        let links = list(&dashboard.json["links"]);
        let led: BTreeSet<String> = links
            .iter()
            .map(|link| {
                assert_eq!(link["keepTime"], true, "{own}: {link}");
                let url = text(&link["url"]);
                let address = ADDRESS.captures(&url).unwrap_or_else(|| panic!("{url}"));
                address["uid"].to_owned()
            })
            .collect();
        let others: BTreeSet<String> = dashboards.iter().map(uid).filter(|u| *u != own).collect();
        assert_eq!(led, others, "the links of {own}");
    }
}

#[test]
fn every_link_has_an_end_that_takes_what_it_brings() {
    let dashboards = model::all();
    let mut panels = 0;
    for dashboard in &dashboards {
        let all = dashboard.json.to_string();
        for address in ADDRESS.captures_iter(&all) {
            let url = &address[0];
            let place = format!("{}.json: {url}", dashboard.name);
            let end = dashboards
                .iter()
                .find(|d| d.json["uid"] == address["uid"])
                .unwrap_or_else(|| panic!("{place} leads nowhere"));
            assert!(
                address["query"].starts_with("${datasource:queryparam}"),
                "{place} forgets the data source"
            );
            for given in GIVEN.captures_iter(&address["query"]) {
                panels += 1;
                let taken = end.variables().iter().any(|v| v["name"] == given[1]);
                assert!(taken, "{place}: {} has no variable {}", end.name, &given[1]);
                assert!(url.contains("${__url_time_range}"), "{place}: the time");
            }
        }
    }
    assert!(panels > 0, "no panel leads anywhere");
}
