//! The audit log.

use askama::Template;
use hyper::StatusCode;

use super::Answer;
use super::components::Moment;
use super::layout::{self, Frame};
use crate::http::Context;
use crate::http::core::audit;
use crate::http::core::error::ApiError;

struct Row {
    id: u64,
    at: Moment,
    who: String,
    proof: &'static str,
    address: String,
    summary: Option<String>,
    before: Option<String>,
    after: Option<String>,
    did: String,
    status: Option<u16>,
    failed: bool,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Audit {
    frame: Frame,
    rows: Vec<Row>,
    older: Option<String>,
    is_first: bool,
}

pub(super) async fn page(context: &Context, query: &str) -> Answer {
    let (before, limit) = audit::asked(query).map_err(ApiError::bad)?;
    let page = context.store.audit_page(before, limit).await?;
    let rows = page.entries.into_iter().map(|entry| Row {
        id: entry.id,
        at: Moment(entry.at),
        who: entry.who.unwrap_or_else(|| "-".to_owned()),
        proof: entry.proof.as_str(),
        address: entry.address,
        summary: entry.deed.summary,
        before: entry.deed.before,
        after: entry.deed.after,
        did: format!("{} {}", entry.method, entry.path),
        failed: entry.status.is_some_and(|status| status >= 400),
        status: entry.status,
    });
    let page = Audit {
        frame: Frame::new(context, "/audit"),
        rows: rows.collect(),
        older: page
            .next
            .map(|next| format!("/audit?cursor={next}&limit={limit}")),
        is_first: before.is_none(),
    };
    layout::page(StatusCode::OK, page).await
}
