//! Notifications as a real Alertmanager writes them.

use std::fmt::Write;

/// The hosts of the inventory.
pub(crate) const HOSTS: usize = 200;

/// What every alert here is called; the bindings match it.
pub(crate) const ALERTNAME: &str = "DiskWillFillIn4Hours";

/// A host's inventory name.
pub(crate) fn host(number: usize) -> String {
    format!("node-{:03}.example.org", number % HOSTS)
}

/// A notification with one alert for each of these numbers, on the host of that number.
///
/// The numbers make the alerts: the same number again is the same episode again.
pub(crate) fn notification(numbers: impl IntoIterator<Item = u64>) -> String {
    let mut body = String::with_capacity(2048);
    body.push_str(
        r#"{"receiver":"promansible","status":"firing","externalURL":"http://alertmanager.example.org:9093","version":"4","groupKey":"{}:{alertname=\"DiskWillFillIn4Hours\"}","truncatedAlerts":0,"groupLabels":{"alertname":"DiskWillFillIn4Hours"},"commonLabels":{"alertname":"DiskWillFillIn4Hours","job":"node","severity":"warning"},"commonAnnotations":{},"alerts":["#,
    );
    for (index, number) in numbers.into_iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        alert(&mut body, number);
    }
    body.push_str("]}");
    body
}

fn alert(body: &mut String, number: u64) {
    let host = host(usize::try_from(number).unwrap_or(0));
    write!(
        body,
        r#"{{"status":"firing","labels":{{"alertname":"{ALERTNAME}","cluster":"eu-1","device":"/dev/vda{number}","fstype":"ext4","instance":"{host}:9100","job":"node","mountpoint":"/srv/{number}","severity":"warning"}},"annotations":{{"description":"The file system /srv/{number} on {host} has less than 20% left and, at the rate of the last six hours, is full within four.","runbook_url":"https://runbooks.example.org/disk-will-fill","summary":"A file system is about to fill up."}},"startsAt":"{}","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus.example.org:9090/graph?g0.expr=predict_linear%28node_filesystem_avail_bytes%5B6h%5D%2C+14400%29+%3C+0&g0.tab=1","fingerprint":"{:016x}"}}"#,
        starts_at(number),
        fingerprint(number)
    )
    .expect("a String takes everything");
}

/// Alerts begin one after the other, a millisecond apart, as the load does.
fn starts_at(number: u64) -> String {
    let begin = chrono::NaiveDate::from_ymd_opt(2026, 3, 1)
        .and_then(|day| day.and_hms_opt(12, 0, 0))
        .expect("a time that exists")
        .and_utc();
    let since = i64::try_from(number % (1 << 40)).unwrap_or(0);
    (begin + chrono::TimeDelta::milliseconds(since))
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Spreads the numbers over all fingerprints, and never gives the same one to two.
///
/// *Source*: the finalizer of `SplitMix64`, which is a bijection.
pub(crate) fn fingerprint(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
