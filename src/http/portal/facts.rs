//! Describes the facts of a host for the host page. Pure.

use serde_json::Value;

use super::components::Bytes;
use crate::model::facts::{FAMILIES, Facts, HostFacts, HostOptions, Sample, series};

/// The used share of memory or of a disk.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gauge {
    pub name: String,
    /// The description.
    pub text: String,
    /// *Units*: thousandths, 0 to 1000.
    pub used: u32,
    pub class: &'static str,
}

impl Gauge {
    /// `None` if the size is unknown or 0.
    fn new(name: String, free: f64, size: f64) -> Option<Self> {
        if size <= 0.0 || !free.is_finite() || !size.is_finite() {
            return None;
        }
        let used = (size - free).clamp(0.0, size);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 1000
        let thousandths = (used / size * 1000.0).round() as u32;
        let percent = f64::from(thousandths) / 10.0;
        Some(Self {
            name,
            text: format!(
                "{percent:.0} % of {}, {} free",
                Bytes(size),
                Bytes(size - used)
            ),
            used: thousandths,
            class: match thousandths {
                0..800 => "gauge-fine",
                800..950 => "gauge-high",
                _ => "gauge-full",
            },
        })
    }
}

/// The description of a host.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Described {
    pub rows: Vec<(&'static str, String)>,
    pub memory: Vec<Gauge>,
    pub disks: Vec<Gauge>,
    /// *Shape*: device, address, `up` or `down` or empty.
    pub network: Vec<(String, String, &'static str)>,
}

pub(super) fn describe(of: &HostFacts) -> Described {
    let samples = Samples(series(of, HostOptions::LIMIT).samples);
    let facts = Facts::new(&of.facts);
    Described {
        rows: rows(&samples, facts),
        memory: memory(&samples, facts),
        disks: disks(&samples),
        network: network(&samples),
    }
}

/// The samples of a host.
struct Samples(Vec<Sample>);

impl Samples {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0
            .iter()
            .filter(move |s| FAMILIES[s.family].name == name)
    }

    fn value(&self, name: &str) -> Option<f64> {
        self.all(name).next().map(|sample| sample.value)
    }

    /// The labels of an info, joined.
    fn info(&self, name: &str) -> String {
        let labels = self.all(name).next().map(|sample| sample.labels.as_slice());
        let labels = labels.unwrap_or_default().iter().filter(|l| !l.is_empty());
        labels.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

fn rows(samples: &Samples, facts: Facts<'_>) -> Vec<(&'static str, String)> {
    let text = |path: &str| match facts.path(path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let number = |name: &str| {
        samples
            .value(name)
            .map_or_else(String::new, |n| n.to_string())
    };
    let size = |name: &str| {
        samples
            .value(name)
            .map_or_else(String::new, |n| Bytes(n).to_string())
    };
    let uptime = facts.path("uptime_seconds").and_then(Value::as_f64);
    let rows = vec![
        ("FQDN", text("fqdn")),
        ("System", samples.info("os_info")),
        ("Kernel", samples.info("uname_info")),
        ("Machine", samples.info("dmi_info")),
        ("Virtualization", samples.info("virtualization_info")),
        ("Processors", number("vcpus")),
        (
            "Load",
            samples
                .value("load1")
                .map_or_else(String::new, |n| format!("{n:.2}")),
        ),
        ("Memory", size("memory_total_bytes")),
        ("Swap", size("swap_total_bytes")),
        ("Address", text("default_ipv4.address")),
        ("IPv6 address", text("default_ipv6.address")),
        (
            "Uptime",
            uptime.map_or_else(String::new, |s| super::components::Took(s).to_string()),
        ),
        ("Service manager", samples.info("service_manager_info")),
        ("Python", samples.info("python_info")),
        ("SELinux", samples.info("selinux_info")),
        ("AppArmor", samples.info("apparmor_info")),
    ];
    rows.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn memory(samples: &Samples, facts: Facts<'_>) -> Vec<Gauge> {
    let total = samples.value("memory_total_bytes");
    // Memory that caches use counts as free: programs can get it.
    let free = facts.path("memory_mb.nocache.free").and_then(Value::as_f64);
    let free = free.map(|mib| mib * 1_048_576.0);
    let free = free.or_else(|| samples.value("memory_free_bytes"));
    let swap = samples
        .value("swap_free_bytes")
        .zip(samples.value("swap_total_bytes"));
    let gauge = |name: &str, of: Option<(f64, f64)>| {
        of.and_then(|(free, total)| Gauge::new(name.to_owned(), free, total))
    };
    let gauges = [gauge("Memory", free.zip(total)), gauge("Swap", swap)];
    gauges.into_iter().flatten().collect()
}

fn disks(samples: &Samples) -> Vec<Gauge> {
    let mut gauges: Vec<Gauge> = Vec::new();
    for size in samples.all("filesystem_size_bytes") {
        let mut avail = samples.all("filesystem_avail_bytes");
        let Some(avail) = avail.find(|sample| sample.labels == size.labels) else {
            continue;
        };
        let name = size.labels.last().cloned().unwrap_or_default();
        gauges.extend(Gauge::new(name, avail.value, size.value));
    }
    // The fullest disk comes first: it matters most.
    gauges.sort_by_key(|gauge| std::cmp::Reverse(gauge.used));
    gauges
}

fn network(samples: &Samples) -> Vec<(String, String, &'static str)> {
    let up = |device: &String| {
        let mut states = samples.all("network_up");
        let state = states.find(|sample| sample.labels.first() == Some(device));
        match state.map(|sample| sample.value > 0.0) {
            Some(true) => "up",
            Some(false) => "down",
            None => "",
        }
    };
    let of = |sample: &Sample| {
        let [device, address, ..] = sample.labels.as_slice() else {
            return None;
        };
        Some((device.clone(), address.clone(), up(device)))
    };
    samples.all("network_info").filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(value: Value) -> HostFacts {
        let Value::Object(facts) = value else {
            panic!("want an object")
        };
        HostFacts {
            host: "web1".to_owned(),
            gathered_at: "2026-11-22T10:00:00Z".parse().unwrap(),
            live: true,
            facts,
        }
    }

    #[test]
    fn the_fullest_disk_comes_first() {
        let of = facts(json!({
            "ansible_mounts": [
                {"mount": "/", "device": "/dev/a", "fstype": "ext4", "size_total": 100, "size_available": 60},
                {"mount": "/var", "device": "/dev/b", "fstype": "ext4", "size_total": 2048, "size_available": 2},
                {"mount": "/gone", "device": "/dev/c", "fstype": "nfs"},
                {"mount": "/none", "device": "/dev/d", "fstype": "ext4", "size_total": 0, "size_available": 0},
            ],
            "ansible_memtotal_mb": 1000, "ansible_memfree_mb": 10,
            "ansible_memory_mb": {"nocache": {"free": 750}},
        }));
        let described = describe(&of);
        let disks: Vec<_> = described
            .disks
            .iter()
            .map(|g| (g.name.as_str(), g.used, g.class))
            .collect();
        assert_eq!(
            disks,
            [("/var", 999, "gauge-full"), ("/", 400, "gauge-fine")]
        );
        assert_eq!(described.disks[1].text, "40 % of 100 B, 60 B free");
        assert_eq!(described.memory.len(), 1);
        assert_eq!(
            (described.memory[0].name.as_str(), described.memory[0].used),
            ("Memory", 250)
        );
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        assert_eq!(describe(&facts(json!({}))), Described::default());
        let of = facts(json!({"ansible_fqdn": "web1.example", "ansible_uptime_seconds": 90_000}));
        assert_eq!(
            describe(&of).rows,
            [
                ("FQDN", "web1.example".to_owned()),
                ("Uptime", "1 d 1 h".to_owned())
            ]
        );
    }
}
