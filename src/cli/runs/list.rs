//! `promansible runs list`.

use clap::Args;
use clap::builder::PossibleValuesParser;
use hyper::Method;
use serde::Deserialize;

use super::{Format, Shown, print_json, run_id, text};
use crate::cli::Failure;
use crate::cli::client::Server;
use crate::cli::print;
use crate::model::run::{Outcome, RunId, State, Trigger};
use crate::store::Order;
use crate::util::clock;

/// List runs.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only runs in this state.
    #[arg(long, value_parser = PossibleValuesParser::new(STATES.map(State::as_str)))]
    state: Option<String>,
    /// Only runs with this outcome.
    #[arg(long, value_parser = PossibleValuesParser::new(Outcome::ALL.map(Outcome::as_str)))]
    outcome: Option<String>,
    /// Only runs with this trigger.
    #[arg(long, value_parser = PossibleValuesParser::new(Trigger::ALL.map(Trigger::as_str)))]
    trigger: Option<String>,
    /// Only runs of this binding.
    #[arg(long)]
    binding: Option<String>,
    /// Only runs of this schedule.
    #[arg(long)]
    schedule: Option<String>,
    /// Only runs of this role.
    #[arg(long)]
    role: Option<String>,
    /// Only runs on this host.
    #[arg(long)]
    host: Option<String>,
    /// Only runs for alerts with this alertname.
    #[arg(long)]
    alertname: Option<String>,
    /// Only runs created at this time or later: RFC 3339 or Unix seconds.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Only runs created at this time or earlier.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Only runs with this text in their output, ignoring case.
    #[arg(long)]
    text: Option<String>,
    /// The sort order.
    #[arg(long, value_parser = PossibleValuesParser::new(ORDERS.map(Order::as_str)))]
    sort: Option<String>,
    /// The number of entries, at most 1000.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// The cursor that the previous page printed.
    #[arg(long, value_name = "ID", value_parser = run_id)]
    cursor: Option<u64>,
    /// The output format.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// All values of [`State`].
const STATES: [State; 3] = [State::Queued, State::Running, State::Finished];

const ORDERS: [Order; 2] = [Order::Newest, Order::Oldest];

#[derive(Deserialize)]
struct Page {
    runs: Vec<Shown>,
    next: Option<RunId>,
}

impl List {
    pub(super) fn run(self, server: &Server, color: bool) -> Result<(), Failure> {
        let format = self.format;
        let path = format!("runs?{}", query(&self.fields()));
        if let Format::Json = format {
            return print_json(&server.ask(Method::GET, &path)?);
        }
        let page: Page = server.ask(Method::GET, &path)?;
        print(&text::table(&page.runs, page.next, clock::now(), color))
    }

    fn fields(self) -> [(&'static str, Option<String>); 14] {
        [
            ("state", self.state),
            ("outcome", self.outcome),
            ("trigger", self.trigger),
            ("binding", self.binding),
            ("schedule", self.schedule),
            ("role", self.role),
            ("host", self.host),
            ("alertname", self.alertname),
            ("since", self.since),
            ("until", self.until),
            ("text", self.text),
            ("sort", self.sort),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor.map(|id| id.to_string())),
        ]
    }
}

fn query(fields: &[(&str, Option<String>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_escapes_what_it_must() {
        let fields = [
            ("role", Some("a b&c".to_owned())),
            ("host", None),
            ("limit", Some("3".to_owned())),
        ];
        assert_eq!(query(&fields), "role=a+b%26c&limit=3");
    }
}
