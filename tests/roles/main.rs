//! Every role that is shipped, through promansible, on real hosts.
//!
//! A host is a Debian system with systemd, journald and sshd, in namespaces that this program made: what it breaks is
//! really broken, and nothing of it is left when the program ends. See `namespaces.rs` for how that is sure, and
//! `fleet.rs` for what a test has at hand.
//!
//! It needs root, or sudo.

#![allow(clippy::unwrap_used, clippy::print_stderr)]
// A program has no outside.
#![allow(unreachable_pub)]
// Each role's test uses another part of what they share.
#![allow(dead_code)]
// Inventories are put together here.
#![allow(clippy::format_push_string)]

mod dnsmasq;
mod fleet;
mod host;
mod namespaces;
#[path = "../stack/mod.rs"]
mod stack;
mod told;

mod check_dns_sinobot_biz;
mod check_exsi_port;
mod check_ftp_connect;
mod check_lan_speed;
mod check_vpn_dns;
mod check_vpn_website_abroad_connect;
mod gather_facts;
mod handle_cpu_threshold_exceeded;
mod handle_diskwillfillin4hours;
mod handle_higherrorrate;
mod handle_net_device_down;
mod handle_server_down;
mod ping;
mod restart_l2tp_vpn;
mod restart_pptp_vpn;
mod start_service;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test, and the name that it is listed by.
type Test = (&'static str, fn());

/// The tests of a file.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[$crate::Test] = &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}
pub(crate) use tests;

/// How many tests run at once, unless the command line says otherwise.
const AT_ONCE: usize = 3;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Half of a test's time it waits for a host to answer.
    arguments.test_threads.get_or_insert(AT_ONCE);
    if !arguments.list && !namespaces::are_ours() {
        return namespaces::run_in_ours();
    }
    let files = [
        check_dns_sinobot_biz::TESTS,
        check_exsi_port::TESTS,
        check_ftp_connect::TESTS,
        check_lan_speed::TESTS,
        check_vpn_dns::TESTS,
        check_vpn_website_abroad_connect::TESTS,
        gather_facts::TESTS,
        handle_cpu_threshold_exceeded::TESTS,
        handle_diskwillfillin4hours::TESTS,
        handle_higherrorrate::TESTS,
        handle_net_device_down::TESTS,
        handle_server_down::TESTS,
        ping::TESTS,
        restart_l2tp_vpn::TESTS,
        restart_pptp_vpn::TESTS,
        start_service::TESTS,
    ];
    let trials = files.into_iter().flatten().map(|&(name, test)| {
        let name = name.trim_start_matches("roles::");
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
