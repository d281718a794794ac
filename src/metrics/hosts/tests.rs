use std::collections::BTreeMap;
use std::io::Read;

use proptest::prelude::*;

use super::*;

fn families() -> Vec<HostFamily> {
    [("load1", &[][..]), ("network_up", &["device"][..])]
        .map(|(name, labels)| HostFamily {
            name: name.to_owned(),
            help: format!("What {name} says\\\nof a host."),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        })
        .to_vec()
}

fn set(metrics: &HostMetrics, host: &str, load: f64, devices: &[&str]) {
    let labels: Vec<[String; 1]> = devices
        .iter()
        .map(|device| [(*device).to_owned()])
        .collect();
    let up = labels.iter().map(|labels| HostSample {
        family: 1,
        labels,
        value: 1.0,
    });
    let load = HostSample {
        family: 0,
        labels: &[],
        value: load,
    };
    let samples: Vec<_> = up.chain([load]).collect();
    metrics.set(host, &samples);
}

fn text(page: Page) -> String {
    String::from_utf8(page.plain().concat()).unwrap()
}

fn unpacked(page: Page) -> String {
    let mut text = String::new();
    let bytes = page.gzip().concat();
    // One gzip member, and nothing after it.
    let mut reader = flate2::read::GzDecoder::new(bytes.as_slice());
    reader.read_to_string(&mut text).unwrap();
    assert!(reader.into_inner().is_empty());
    text
}

#[test]
fn a_page_is_grouped_by_metric_and_texts_are_escaped() {
    let metrics = HostMetrics::default();
    metrics.reset(families());
    assert_eq!(text(metrics.page()), "");
    set(&metrics, "web1", 0.5, &["eth0", "a\"b\\c\nd"]);
    set(&metrics, "db1", 2.0, &[]);
    let wanted = r#"# HELP promansible_host_load1 What load1 says\\\nof a host.
# TYPE promansible_host_load1 gauge
promansible_host_load1{host="web1"} 0.5
promansible_host_load1{host="db1"} 2
# HELP promansible_host_network_up What network_up says\\\nof a host.
# TYPE promansible_host_network_up gauge
promansible_host_network_up{host="web1",device="eth0"} 1
promansible_host_network_up{host="web1",device="a\"b\\c\nd"} 1
"#;
    assert_eq!(text(metrics.page()), wanted);
    assert_eq!(unpacked(metrics.page()), wanted);
    let before = unpacked(metrics.page().after("up 1\n".into()));
    assert_eq!(before, format!("up 1\n{wanted}"));
}

#[test]
fn a_host_that_goes_leaves_the_page_and_its_place() {
    let metrics = HostMetrics::default();
    metrics.reset(families());
    set(&metrics, "web1", 1.0, &["eth0"]);
    set(&metrics, "web2", 2.0, &[]);
    metrics.remove("web1");
    metrics.remove("never");
    assert_eq!(metrics.hosts(), 1);
    let left = text(metrics.page());
    assert!(
        !left.contains("web1") && !left.contains("network_up"),
        "{left}"
    );
    set(&metrics, "web3", 3.0, &[]);
    assert_eq!(metrics.read().blocks[0].hosts.len(), 2);
    metrics.reset(families());
    assert_eq!((metrics.hosts(), text(metrics.page())), (0, String::new()));
}

#[test]
fn a_page_is_what_it_was_when_it_was_asked_for() {
    let metrics = HostMetrics::default();
    metrics.reset(families());
    set(&metrics, "web1", 1.0, &[]);
    let page = metrics.page();
    set(&metrics, "web1", 2.0, &[]);
    assert!(text(page).contains("{host=\"web1\"} 1\n"));
    assert!(text(metrics.page()).contains("{host=\"web1\"} 2\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_comes_and_goes_plain_and_packed_say_the_same(
        steps in prop::collection::vec((0usize..150, prop::option::of((any::<i32>(), 0usize..4))), 0..300)
    ) {
        let metrics = HostMetrics::default();
        metrics.reset(families());
        let mut model = BTreeMap::new();
        for (number, step) in steps {
            let host = format!("host{number}");
            if let Some((load, devices)) = step {
                let devices = &["a", "b", "c"][..devices.min(3)];
                set(&metrics, &host, f64::from(load), devices);
                model.insert(host, (load, devices.len()));
            } else {
                metrics.remove(&host);
                model.remove(&host);
            }
        }
        let page = text(metrics.page());
        prop_assert_eq!(&unpacked(metrics.page()), &page);
        let lines = page.lines().filter(|line| !line.starts_with('#')).count();
        prop_assert_eq!(lines, model.values().map(|(_, devices)| 1 + devices).sum::<usize>());
        for (host, (load, _)) in model {
            let line = format!("promansible_host_load1{{host=\"{host}\"}} {load}\n");
            prop_assert!(page.contains(&line));
        }
    }
}
