//! Requests that are refused before anything looks at them: each is counted, and some are in the log.
//!
//! Anyone can make as many of them as there is time for, so the log has a few lines a minute for each address, and one
//! that says how many it left out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::{Method, Request};

use crate::auth::{Peer, neighbourhood};
use crate::http::Context;
use crate::metrics::Rejected;

/// How often what was left out is said.
const EVERY: Duration = Duration::from_mins(1);

/// How many lines an address has in that time.
const OF_ONE: u32 = 5;

/// How many lines there are in that time.
const IN_ALL: u32 = 60;

/// How many addresses are told apart in that time.
const ADDRESSES: usize = 1024;

/// How many characters of a path are in the log.
const PATH: usize = 200;

/// Everything since the last line that said what was left out. Every listener has the same log.
static SINCE: Mutex<Since> = Mutex::new(Since::new());

#[derive(Debug)]
struct Since {
    begin: Option<Instant>,
    lines: u32,
    left_out: u64,
    by_address: BTreeMap<IpAddr, Count>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    lines: u32,
    left_out: u64,
}

/// What is to be done about a request that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Write,
    /// It is left out, and is the first one of which that is to be said later.
    First,
    LeaveOut,
}

impl Since {
    const fn new() -> Self {
        Self {
            begin: None,
            lines: 0,
            left_out: 0,
            by_address: BTreeMap::new(),
        }
    }

    fn one_more(&mut self, address: IpAddr, now: Instant) -> Line {
        // Where something was left out, it is said at the end of the time.
        let is_over = |begin| now.duration_since(begin) >= EVERY;
        if self.left_out == 0 && self.begin.is_some_and(is_over) {
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
        count.left_out += 1;
        self.left_out += 1;
        if self.left_out == 1 {
            Line::First
        } else {
            Line::LeaveOut
        }
    }

    /// The address of which most were left out.
    fn busiest(&self) -> Option<(IpAddr, u64)> {
        let busiest = self.by_address.iter().max_by_key(|(_, of)| of.left_out);
        busiest.map(|(address, of)| (*address, of.left_out))
    }
}

/// Counts a request that is refused, and writes it to the log where that has room.
pub(crate) fn refused<B>(context: &Context, request: &Request<B>, peer: &Peer, why: Rejected) {
    context.metrics.rejected(why);
    let name = context.caller.name.as_deref();
    line(peer, request.method(), request.uri().path(), (why, name));
}

/// The same for a form of the page that signs people in.
pub(crate) fn no_sign_in(context: &Context, peer: &Peer, why: Rejected) {
    context.metrics.rejected(why);
    line(peer, &Method::POST, "/login", (why, None));
}

fn line(peer: &Peer, method: &Method, path: &str, (why, name): (Rejected, Option<&str>)) {
    let line = since().one_more(neighbourhood(peer.address.ip()), Instant::now());
    match line {
        Line::Write => tracing::warn!(
            address = peer.shown(),
            name,
            method = cut(method.as_str(), 20),
            path = cut(path, PATH),
            why = why.as_str(),
            "request refused"
        ),
        Line::First => {
            tokio::spawn(async {
                tokio::time::sleep(EVERY).await;
                sum_up();
            });
        }
        Line::LeaveOut => {}
    }
}

fn sum_up() {
    let past = std::mem::replace(&mut *since(), Since::new());
    let (address, of_it) = past.busiest().unzip();
    let address = address.map(|address| address.to_string());
    tracing::warn!(
        requests = past.left_out,
        addresses = past.by_address.len(),
        address,
        of_it,
        "more requests were refused within a minute than the log has lines for; promansible_requests_rejected_total counts them all"
    );
}

fn since() -> MutexGuard<'static, Since> {
    SINCE.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (mut since, now) = (Since::new(), Instant::now());
        let mut lines = |n: u16, times: usize| -> usize {
            let lines = (0..times).filter(|_| since.one_more(ip(n), now) == Line::Write);
            lines.count()
        };
        assert_eq!(lines(1, 100_000), 5);
        assert_eq!(lines(2, 2), 2);
        assert_eq!((3..10_000).map(|n| lines(n, 10)).sum::<usize>(), 53);
        assert_eq!(since.left_out, 99_995 + 99_970 - 53);
        assert_eq!(since.busiest(), Some((ip(1), 99_995)));
        assert_eq!(since.by_address.len(), ADDRESSES);
    }

    #[test]
    fn the_first_that_is_left_out_is_said_to_be() {
        let (mut since, now) = (Since::new(), Instant::now());
        let mut line = |seconds| since.one_more(ip(1), now + Duration::from_secs(seconds));
        assert_eq!([0, 0, 0, 0, 0].map(&mut line), [Line::Write; 5]);
        // Nothing was left out, and the minute is over.
        assert_eq!([60, 60, 60, 60, 60].map(&mut line), [Line::Write; 5]);
        assert_eq!([61, 62].map(&mut line), [Line::First, Line::LeaveOut]);
        assert_eq!(line(1000), Line::LeaveOut, "until it is said");
    }

    #[test]
    fn a_long_path_is_cut_at_a_character() {
        assert_eq!(cut("äöü", 2), "äö");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut(&"x".repeat(9000), PATH).len(), PATH);
    }
}
