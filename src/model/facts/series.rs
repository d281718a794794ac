//! The metrics derived from one host's facts.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::network::{addresses, interfaces};
use super::reader::Reader;
use super::storage::{disks, mounts};
use super::{Facts, HostFacts};

/// A gauge `promansible_host_<name>`, with the label `host` before the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Without the prefix `promansible_host_`.
    pub name: &'static str,
    /// The HELP text.
    pub help: &'static str,
    /// The labels after `host`.
    pub labels: &'static [&'static str],
}

macro_rules! families {
    ($($id:ident $help:literal [$($label:ident),*];)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[derive(Clone, Copy)]
        enum Of { $($id),* }
        /// All families, sorted by name.
        pub const FAMILIES: &[Family] = &[
            $(Family { name: stringify!($id), help: $help, labels: &[$(stringify!($label)),*] }),*
        ];
    };
}

families! {
    apparmor_info "A constant 1, labelled with the status of AppArmor." [status];
    boot_time_seconds "Boot time of the host." [];
    clock_offset_seconds "How far the host's clock was ahead of promansible's when the facts arrived, less their transfer time of a few seconds." [];
    disk_size_bytes "Size of a disk." [device, model, rotational];
    dmi_info "A constant 1, labelled with the machine's vendor, product and form factor, as its firmware reports them." [vendor, product, form_factor];
    dns_nameservers "Number of configured name servers." [];
    facts_timestamp_seconds "Timestamp of the last gathering of the host's facts." [];
    filesystem_avail_bytes "Space available to ordinary users on a mounted file system." [device, fstype, mountpoint];
    filesystem_size_bytes "Size of a mounted file system." [device, fstype, mountpoint];
    load1 "Load average over one minute." [];
    memory_free_bytes "Free memory, not counting caches." [];
    memory_total_bytes "Total memory." [];
    network_info "A constant 1 for each address, labelled with its interface and whether the host reaches others from it." [device, address, mac, default];
    network_mtu_bytes "Maximum transmission unit of an interface." [device];
    network_speed_bytes "Speed of an interface, in bytes per second." [device];
    network_up "Whether an interface is up." [device];
    os_info "A constant 1, labelled with the operating system." [distribution, version, release, family];
    processor_cores "Cores of each processor." [];
    python_info "A constant 1, labelled with the version of the Python that Ansible used." [version];
    selinux_info "A constant 1, labelled with the status and mode of SELinux." [status, mode];
    service_manager_info "A constant 1, labelled with the service manager." [name];
    swap_free_bytes "Free swap space." [];
    swap_total_bytes "Total swap space." [];
    uname_info "A constant 1, labelled with the kernel release and the machine type." [kernel, machine];
    vcpus "Processors as the scheduler counts them." [];
    virtualization_info "A constant 1, labelled with the type of virtualization and the host's role in it." [virt_type, virt_role];
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The index of the family in [`FAMILIES`].
    pub family: usize,
    /// The values of the family's labels, in the same order.
    pub labels: Vec<String>,
    pub value: f64,
}

/// The metrics of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// At most one sample for each family and set of label values.
    pub samples: Vec<Sample>,
    /// The number of values that could not be parsed.
    pub not_understood: u64,
    /// Family → number of samples dropped because the host exceeds the limit.
    pub dropped: BTreeMap<usize, u64>,
}

const MIB: f64 = 1_048_576.0;

/// One Mbit/s in bytes per second.
const MEGABIT: f64 = 125_000.0;

/// Derives the metrics of one host. No facts can make it fail: values that cannot be parsed are omitted and counted,
/// and so are samples beyond `limit` in one family.
pub fn series(of: &HostFacts, limit: usize) -> Series {
    let facts = Facts::new(&of.facts);
    let reader = Reader::default();
    let mut made = Samples::new(limit);
    system(facts, &reader, &mut made);
    sizes(facts, &reader, &mut made);
    times(facts, of, &reader, &mut made);
    for mount in mounts(facts, &reader) {
        let labels = [mount.device, mount.fstype, mount.mountpoint];
        made.put(Of::filesystem_size_bytes, &labels, mount.size);
        made.put(Of::filesystem_avail_bytes, &labels, mount.available);
    }
    for disk in disks(facts, &reader) {
        made.put(
            Of::disk_size_bytes,
            &[disk.device, disk.model, disk.rotational],
            Some(disk.size),
        );
    }
    network(facts, &reader, &mut made);
    Series {
        samples: made.found,
        not_understood: reader.not_understood(),
        dropped: made.dropped,
    }
}

/// The value exists, but is neither a number nor a boolean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoNumber;

/// Returns the number or boolean at a path; `None` if there is no value.
pub fn extra(facts: Facts<'_>, path: &str) -> Result<Option<f64>, NoNumber> {
    let reader = Reader::default();
    let value = facts.path(path);
    let number = match value {
        Some(Value::Bool(yes)) => Some(f64::from(*yes)),
        value => reader.number(value),
    };
    if reader.not_understood() > 0 {
        Err(NoNumber)
    } else {
        Ok(number)
    }
}

/// Collects samples. No two samples of one family have equal labels: of duplicates in the facts, the first is kept.
struct Samples {
    found: Vec<Sample>,
    seen: HashSet<(usize, Vec<String>)>,
    limit: usize,
    counts: Vec<usize>,
    dropped: BTreeMap<usize, u64>,
}

impl Samples {
    fn new(limit: usize) -> Self {
        Self {
            found: Vec::new(),
            seen: HashSet::new(),
            limit,
            counts: vec![0; FAMILIES.len()],
            dropped: BTreeMap::new(),
        }
    }

    fn put(&mut self, of: Of, labels: &[String], value: Option<f64>) {
        let Some(value) = value else { return };
        let family = of as usize;
        if self.counts[family] >= self.limit {
            if !self.seen.contains(&(family, labels.to_vec())) {
                *self.dropped.entry(family).or_default() += 1;
            }
            return;
        }
        if self.seen.insert((family, labels.to_vec())) {
            self.counts[family] += 1;
            self.found.push(Sample {
                family,
                labels: labels.to_vec(),
                value,
            });
        }
    }

    /// Adds a constant 1 if any label has a value.
    fn info<const N: usize>(&mut self, of: Of, labels: [Option<String>; N]) {
        if labels.iter().any(Option::is_some) {
            self.put(of, &labels.map(Option::unwrap_or_default), Some(1.0));
        }
    }
}

fn system(facts: Facts<'_>, reader: &Reader, made: &mut Samples) {
    let text = |name: &str| reader.text(facts.get(name));
    made.info(
        Of::os_info,
        [
            text("distribution"),
            text("distribution_version"),
            text("distribution_release"),
            text("os_family"),
        ],
    );
    made.info(
        Of::uname_info,
        [
            text("kernel"),
            text("architecture").or_else(|| text("machine")),
        ],
    );
    made.info(
        Of::dmi_info,
        [
            text("system_vendor"),
            text("product_name"),
            text("form_factor"),
        ],
    );
    made.info(
        Of::virtualization_info,
        [text("virtualization_type"), text("virtualization_role")],
    );
    made.info(Of::python_info, [text("python_version")]);
    made.info(Of::service_manager_info, [text("service_mgr")]);
    // The fact `selinux` is `false` if Python has no library for it.
    if let Some(selinux) = facts.get("selinux").filter(|value| value.is_object()) {
        let of = reader.object(Some(selinux));
        let text = |name| reader.text(of.and_then(|of| of.get(name)));
        made.info(Of::selinux_info, [text("status"), text("mode")]);
    }
    if let Some(apparmor) = reader.object(facts.get("apparmor")) {
        made.info(Of::apparmor_info, [reader.text(apparmor.get("status"))]);
    }
}

fn sizes(facts: Facts<'_>, reader: &Reader, made: &mut Samples) {
    let amount = |name: &str| reader.amount(facts.get(name));
    for (of, name) in [
        (Of::memory_total_bytes, "memtotal_mb"),
        (Of::memory_free_bytes, "memfree_mb"),
        (Of::swap_total_bytes, "swaptotal_mb"),
        (Of::swap_free_bytes, "swapfree_mb"),
    ] {
        made.put(of, &[], amount(name).map(|mib| mib * MIB));
    }
    made.put(Of::vcpus, &[], vcpus(facts, reader));
    made.put(Of::processor_cores, &[], amount("processor_cores"));
    let load = reader
        .object(facts.get("loadavg"))
        .and_then(|load| reader.amount(load.get("1m")));
    made.put(Of::load1, &[], load);
    if let Some(servers) = reader
        .object(facts.get("dns"))
        .and_then(|dns| dns.get("nameservers"))
    {
        let count = reader.list(Some(servers)).len();
        #[allow(clippy::cast_precision_loss)] // a list in a file
        made.put(
            Of::dns_nameservers,
            &[],
            servers.is_array().then_some(count as f64),
        );
    }
}

/// The BSDs and Solaris have no `processor_vcpus`: their `processor_count` counts processors. Where Solaris and NetBSD
/// know about sockets, they count sockets there, and all cores separately.
fn vcpus(facts: Facts<'_>, reader: &Reader) -> Option<f64> {
    let amount = |name: &str| reader.amount(facts.get(name));
    let is_one_of = |names: &[&str]| {
        let mut said = ["system", "os_family", "distribution"].into_iter();
        said.any(|fact| {
            facts
                .get(fact)
                .is_some_and(|of| names.iter().any(|name| of == name))
        })
    };
    amount("processor_vcpus").or_else(|| {
        let sockets = is_one_of(&COUNT_SOCKETS);
        let counted =
            amount("processor_count").filter(|_| sockets || is_one_of(&COUNT_PROCESSORS))?;
        let cores = if sockets {
            amount("processor_cores")
        } else {
            None
        };
        Some(cores.map_or(counted, |cores| cores.max(counted)))
    })
}

/// Systems whose `processor_count` is the number of processors.
const COUNT_PROCESSORS: [&str; 3] = ["FreeBSD", "OpenBSD", "DragonFly"];

/// Systems whose `processor_count` may be the number of sockets.
const COUNT_SOCKETS: [&str; 3] = ["NetBSD", "SunOS", "Solaris"];

fn times(facts: Facts<'_>, of: &HostFacts, reader: &Reader, made: &mut Samples) {
    let ours = seconds(of.gathered_at);
    made.put(Of::facts_timestamp_seconds, &[], Some(ours));
    let date_time = reader.object(facts.get("date_time"));
    let clock = date_time.and_then(|of| {
        let exact = of
            .get("iso8601_micro")
            .and_then(|text| text.as_str()?.parse::<DateTime<Utc>>().ok());
        exact
            .map(seconds)
            .or_else(|| reader.amount(of.get("epoch")))
    });
    if of.live {
        made.put(
            Of::clock_offset_seconds,
            &[],
            clock.map(|clock| clock - ours),
        );
    }
    let uptime = reader.amount(facts.get("uptime_seconds"));
    // Both values come from the host's own clock, so a wrong clock does not distort the difference.
    let epoch = date_time.and_then(|of| reader.amount(of.get("epoch")));
    made.put(
        Of::boot_time_seconds,
        &[],
        epoch.zip(uptime).map(|(epoch, uptime)| epoch - uptime),
    );
}

fn network(facts: Facts<'_>, reader: &Reader, made: &mut Samples) {
    for interface in interfaces(facts, reader) {
        let of = interface.of;
        let device = [interface.device.clone()];
        made.put(Of::network_up, &device, is_up(of, reader).map(f64::from));
        made.put(Of::network_mtu_bytes, &device, reader.amount(of.get("mtu")));
        made.put(
            Of::network_speed_bytes,
            &device,
            reader.amount(of.get("speed")).map(|mbit| mbit * MEGABIT),
        );
        // Ansible reports "unknown" for a missing address on BSD, AIX and Solaris.
        let mac = reader.text(of.get("macaddress"));
        let mac = mac.filter(|mac| mac != "unknown").unwrap_or_default();
        let addresses = addresses(facts, &interface, reader);
        let mut put = |address: String, default: bool| {
            let labels = [
                interface.device.clone(),
                address,
                mac.clone(),
                default.to_string(),
            ];
            made.put(Of::network_info, &labels, Some(1.0));
        };
        if addresses.is_empty() {
            put(String::new(), false);
        }
        for address in addresses {
            put(address.address.to_string(), address.default);
        }
    }
}

/// Returns whether an interface is up. Linux reports it directly; BSD and macOS report the status of the medium.
fn is_up(of: &Map<String, Value>, reader: &Reader) -> Option<bool> {
    match of.get("active") {
        Some(active) => reader.truth(Some(active)),
        None => reader
            .text(of.get("status"))
            .map(|status| status == "active"),
    }
}

#[allow(clippy::cast_precision_loss)] // microseconds since 1970 are exact to a fraction of one in an f64
fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_micros() as f64 / 1e6
}
