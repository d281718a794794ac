//! `ping`: the way to each host.

use serde_json::json;

use crate::fleet::Fleet;
use crate::tests;

tests![every_host_answers];

fn every_host_answers() {
    let fleet = Fleet::start(&["web1", "web2"], "");
    let told = fleet.run("ping", &["web1", "web2"], &json!({}));
    told.successful().changed(0);
}
