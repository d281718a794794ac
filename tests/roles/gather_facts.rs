//! `gather_facts`: what hosts are, from them to the metrics.

use std::time::Duration;

use serde_json::json;

use crate::fleet::Fleet;
use crate::stack::ansible::Release;
use crate::stack::wait_until;
use crate::tests;

tests![
    facts_come_from_hosts_by_hand_and_by_schedule,
    so_they_do_on_2_16
];

fn facts_come_from_hosts_by_hand_and_by_schedule() {
    let fleet = Fleet::start(&["web1", "web2"], "");
    fleet
        .run("gather_facts", &["web1", "web2"], &json!({}))
        .successful()
        .changed(0);
    for host in ["web1", "web2"] {
        let address = &fleet.host(host).address;
        let at_home = [
            ("host", host),
            ("device", "eth0"),
            ("address", address),
            ("default", "true"),
        ];
        assert_eq!(sum(&fleet, "network_info", &at_home), Some(1.0));
        assert!(sum(&fleet, "memory_total_bytes", &[("host", host)]) > Some(1e6));
        assert!(
            sum(&fleet, "clock_offset_seconds", &[("host", host)])
                .is_some_and(|offset| offset.abs() < 60.0)
        );
    }
    let rejected = fleet.promansible.count("fact_values_rejected_total", &[]);
    assert!(
        rejected.unwrap() < 1.0,
        "a value of real facts is not understood"
    );

    // A part of the facts leaves the rest as it was.
    let before = sum(&fleet, "memory_total_bytes", &[("host", "web1")]);
    fleet
        .host("web1")
        .sh("ip address add 10.99.0.1/32 dev eth0")
        .unwrap();
    let network = json!({"gather_facts_subset": ["!all", "!min", "network"]});
    fleet.run("gather_facts", &["web1"], &network).successful();
    assert_eq!(
        sum(
            &fleet,
            "network_info",
            &[("host", "web1"), ("address", "10.99.0.1")]
        ),
        Some(1.0)
    );
    assert_eq!(
        sum(&fleet, "memory_total_bytes", &[("host", "web1")]),
        before
    );

    let config = fleet.promansible.dir().join("promansible.yml");
    let text = std::fs::read_to_string(&config).unwrap();
    let runs = fleet.promansible.runs().unwrap().len();
    std::fs::write(
        &config,
        text + "\nfacts: {every: 1h, target: {group: servers}}\n",
    )
    .unwrap();
    fleet.reload();
    let run = wait_until(
        Duration::from_mins(1),
        "facts to be gathered by schedule",
        || {
            let all = fleet.promansible.runs()?;
            Ok((all.len() > runs).then(|| all[0].clone()))
        },
    )
    .unwrap();
    assert_eq!(
        (&run["trigger"], &run["hosts"]),
        (&json!("schedule"), &json!(["web1", "web2"]))
    );
    fleet.told(run["id"].as_u64().unwrap()).successful();
    // The next is due in an hour, whatever happens meanwhile.
    fleet.reload();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(fleet.promansible.runs().unwrap().len(), runs + 1);
}

fn so_they_do_on_2_16() {
    let fleet = Fleet::with(Release::V2_16, &["web1"], "");
    fleet
        .run("gather_facts", &["web1"], &json!({}))
        .successful()
        .changed(0);
    assert!(sum(&fleet, "memory_total_bytes", &[("host", "web1")]) > Some(1e6));
    let nothing = json!({"gather_facts_subset": []});
    fleet
        .run("gather_facts", &["web1"], &nothing)
        .failed("gather_facts_subset is empty");
}

fn sum(fleet: &Fleet, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    fleet
        .promansible
        .metrics()
        .unwrap()
        .sum(&format!("promansible_host_{name}"), labels)
}
