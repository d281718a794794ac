//! The hosts of the inventory.

use std::collections::BTreeMap;

use askama::Template;
use hyper::StatusCode;

use super::Answer;
use super::components::{Moment, part};
use super::form::Form;
use super::inventory;
use super::layout::{self, Frame};
use crate::http::Context;
use crate::util::clock;

/// The most hosts to show; filters find the others.
const HOSTS: usize = 500;

struct HostRow {
    name: String,
    link: String,
    address: String,
    groups: Vec<String>,
    enrolled: bool,
    facts: Option<Moment>,
    stale: bool,
}

#[derive(Template)]
#[template(path = "hosts.html")]
struct Hosts {
    frame: Frame,
    rows: Vec<HostRow>,
    all: usize,
    found: usize,
    conflicts: Vec<(String, String, String)>,
    groups: Vec<String>,
    unavailable: String,
    notices: Vec<String>,
    text: String,
    group: String,
}

impl Hosts {
    fn filtered(&self) -> bool {
        !self.text.is_empty() || !self.group.is_empty()
    }
}

pub(super) async fn page(context: &Context, query: &str) -> Answer {
    let form = Form::parse(query.as_bytes());
    let mut page = Hosts {
        frame: Frame::new(context, "/hosts"),
        rows: Vec::new(),
        all: 0,
        found: 0,
        conflicts: Vec::new(),
        groups: Vec::new(),
        unavailable: String::new(),
        notices: Vec::new(),
        text: form.text("q").to_owned(),
        group: form.text("group").to_owned(),
    };
    let hosts = match context.inventory.fresh().await {
        Ok(hosts) => hosts,
        Err(why) => {
            page.unavailable = why.to_string();
            return layout::page(StatusCode::OK, page).await;
        }
    };
    let standing = context.inventory.status();
    let notices = [inventory::unread(&standing), inventory::shrunk(&standing)];
    page.notices = notices.into_iter().flatten().collect();
    let facts = context.store.facts_list().await?.into_iter();
    let facts: BTreeMap<_, _> = facts.map(|of| (of.host, of.gathered_at)).collect();
    let stale_after = context.config.borrow().facts.stale_after;
    let now = clock::now();
    page.all = hosts.len();
    page.groups = hosts.groups().map(str::to_owned).collect();
    let text = page.text.to_lowercase();
    for host in hosts.hosts() {
        let in_group = |group: &str| group == "all" || host.groups().any(|name| name == group);
        let has = |field: &str| field.to_lowercase().contains(&text);
        if !page.group.is_empty() && !in_group(&page.group)
            || !has(host.name()) && !host.address().is_some_and(has)
        {
            continue;
        }
        page.found += 1;
        if page.rows.len() == HOSTS {
            continue;
        }
        let gathered = facts.get(host.name()).copied();
        let age = gathered.and_then(|at| (now - at).to_std().ok());
        page.rows.push(HostRow {
            name: host.name().to_owned(),
            link: format!("/hosts/{}", part(host.name())),
            address: host.address().unwrap_or_default().to_owned(),
            groups: host.groups().map(str::to_owned).collect(),
            enrolled: host.enrolled().is_some(),
            facts: gathered.map(Moment),
            stale: age.is_some_and(|age| age > stale_after),
        });
    }
    let conflicts = hosts.conflicts().iter();
    page.conflicts = conflicts
        .map(|of| {
            (
                of.name.clone(),
                of.why.clone(),
                format!("/hosts/{}/remove", part(&of.name)),
            )
        })
        .collect();
    layout::page(StatusCode::OK, page).await
}
