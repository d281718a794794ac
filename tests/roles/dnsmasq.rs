//! A resolver on a host.

use crate::host::Host;

/// Starts dnsmasq as the unit `name`, on port 53 of this address. `run` comes before the command, `options` after it.
pub fn start(host: &Host, name: &str, address: &str, run: &str, options: &str) {
    let unit = format!(
        "[Service]
ExecStart={run} /usr/sbin/dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --pid-file= \
--listen-address={address} --bind-interfaces --no-resolv --no-hosts {options}
",
    );
    host.start_unit(&format!("{name}.service"), &unit).unwrap();
}
