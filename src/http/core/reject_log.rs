//! Counts requests that are rejected before they reach a handler, and logs some of them.
//!
//! Anyone can send any number of them. So the log has a few lines per minute and address, and one line with the number of
//! those that were not logged.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::{Method, Request};

use crate::auth::{Peer, client_network};
use crate::http::Context;
use crate::metrics::Rejected;

/// The interval of the summary line.
const EVERY: Duration = Duration::from_mins(1);

/// The maximum number of lines of an address per interval.
const OF_ONE: u32 = 5;

/// The maximum number of lines per interval.
const IN_ALL: u32 = 60;

/// The maximum number of addresses that are counted separately per interval.
const ADDRESSES: usize = 1024;

/// The longest path in the log. *Units*: characters.
const PATH: usize = 200;

/// The counts since the last summary line. All listeners share them.
static COUNTS: Mutex<Counts> = Mutex::new(Counts::new());

#[derive(Debug)]
struct Counts {
    begin: Option<Instant>,
    lines: u32,
    omitted: u64,
    by_address: BTreeMap<IpAddr, Count>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    lines: u32,
    omitted: u64,
}

/// How to log a rejected request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Write,
    /// Omit it. It is the first omitted one, so schedule the summary.
    First,
    Omit,
}

impl Counts {
    const fn new() -> Self {
        Self {
            begin: None,
            lines: 0,
            omitted: 0,
            by_address: BTreeMap::new(),
        }
    }

    fn one_more(&mut self, address: IpAddr, now: Instant) -> Line {
        // If any were omitted, the summary resets the counts.
        let is_over = |begin| now.duration_since(begin) >= EVERY;
        if self.omitted == 0 && self.begin.is_some_and(is_over) {
            *self = Self::new();
        }
        self.begin.get_or_insert(now);
        let is_new = !self.by_address.contains_key(&address);
        let mut other = Count {
            lines: OF_ONE,
            ..Count::default()
        };
        let count = if is_new && self.by_address.len() >= ADDRESSES {
            &mut other
        } else {
            self.by_address.entry(address).or_default()
        };
        if count.lines < OF_ONE && self.lines < IN_ALL {
            count.lines += 1;
            self.lines += 1;
            return Line::Write;
        }
        count.omitted += 1;
        self.omitted += 1;
        if self.omitted == 1 {
            Line::First
        } else {
            Line::Omit
        }
    }

    /// Returns the address with the most omitted requests.
    fn busiest(&self) -> Option<(IpAddr, u64)> {
        let busiest = self
            .by_address
            .iter()
            .max_by_key(|(_, count)| count.omitted);
        busiest.map(|(address, count)| (*address, count.omitted))
    }
}

/// Counts a rejected request, and logs it within the limits.
pub(crate) fn refused<B>(context: &Context, request: &Request<B>, peer: &Peer, why: Rejected) {
    context.metrics.rejected(why);
    let name = context.caller.name.as_deref();
    line(peer, request.method(), request.uri().path(), (why, name));
}

/// The same for the sign-in form.
pub(crate) fn no_sign_in(context: &Context, peer: &Peer, why: Rejected) {
    context.metrics.rejected(why);
    line(peer, &Method::POST, "/login", (why, None));
}

fn line(peer: &Peer, method: &Method, path: &str, (why, name): (Rejected, Option<&str>)) {
    let line = counts().one_more(client_network(peer.address.ip()), Instant::now());
    match line {
        Line::Write => tracing::warn!(
            address = peer.shown(),
            name,
            method = cut(method.as_str(), 20),
            path = cut(path, PATH),
            why = why.as_str(),
            "request rejected"
        ),
        Line::First => {
            tokio::spawn(async {
                tokio::time::sleep(EVERY).await;
                sum_up();
            });
        }
        Line::Omit => {}
    }
}

fn sum_up() {
    let past = std::mem::replace(&mut *counts(), Counts::new());
    let (address, of_it) = past.busiest().unzip();
    let address = address.map(|address| address.to_string());
    tracing::warn!(
        requests = past.omitted,
        addresses = past.by_address.len(),
        address,
        of_it,
        "too many requests were rejected within a minute to log each; promansible_requests_rejected_total counts them all"
    );
}

fn counts() -> MutexGuard<'static, Counts> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cut(text: &str, most: usize) -> &str {
    match text.char_indices().nth(most) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u16) -> IpAddr {
        let [a, b] = n.to_be_bytes();
        IpAddr::from([10, 0, a, b])
    }

    #[test]
    fn each_address_has_a_few_lines_and_all_together_a_few_more() {
        let (mut counts, now) = (Counts::new(), Instant::now());
        let mut lines = |n: u16, times: usize| -> usize {
            let lines = (0..times).filter(|_| counts.one_more(ip(n), now) == Line::Write);
            lines.count()
        };
        assert_eq!(lines(1, 100_000), 5);
        assert_eq!(lines(2, 2), 2);
        assert_eq!((3..10_000).map(|n| lines(n, 10)).sum::<usize>(), 53);
        assert_eq!(counts.omitted, 99_995 + 99_970 - 53);
        assert_eq!(counts.busiest(), Some((ip(1), 99_995)));
        assert_eq!(counts.by_address.len(), ADDRESSES);
    }

    #[test]
    fn the_first_omitted_request_schedules_the_summary() {
        let (mut counts, now) = (Counts::new(), Instant::now());
        let mut line = |seconds| counts.one_more(ip(1), now + Duration::from_secs(seconds));
        assert_eq!([0, 0, 0, 0, 0].map(&mut line), [Line::Write; 5]);
        // Nothing was omitted, and the minute is over.
        assert_eq!([60, 60, 60, 60, 60].map(&mut line), [Line::Write; 5]);
        assert_eq!([61, 62].map(&mut line), [Line::First, Line::Omit]);
        assert_eq!(line(1000), Line::Omit, "until the summary");
    }

    #[test]
    fn a_long_path_is_cut_at_a_character() {
        assert_eq!(cut("äöü", 2), "äö");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut(&"x".repeat(9000), PATH).len(), PATH);
    }
}
