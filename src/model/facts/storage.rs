//! The file systems and disks of a host.

use serde_json::Value;

use super::Facts;
use super::reader::Reader;

/// A mounted file system. *Units*: bytes.
pub(super) struct Mount {
    pub device: String,
    pub fstype: String,
    pub mountpoint: String,
    /// Absent if the mount did not respond in time.
    pub size: Option<f64>,
    pub available: Option<f64>,
}

pub(super) fn mounts(facts: Facts<'_>, reader: &Reader) -> Vec<Mount> {
    let mounts = reader.list(facts.get("mounts")).iter();
    mounts
        .filter_map(|mount| {
            let of = reader.object(Some(mount))?;
            Some(Mount {
                device: reader.text(of.get("device")).unwrap_or_default(),
                fstype: reader.text(of.get("fstype")).unwrap_or_default(),
                mountpoint: reader.text(of.get("mount"))?,
                size: reader.amount(of.get("size_total")),
                available: reader.amount(of.get("size_available")),
            })
        })
        .collect()
}

/// A disk. *Units*: bytes.
pub(super) struct Disk {
    pub device: String,
    pub model: String,
    pub rotational: String,
    pub size: f64,
}

/// The unit of sizes in Linux's `/sys/block`, regardless of the disk's own sector size.
const SECTOR_BYTES: f64 = 512.0;

pub(super) fn disks(facts: Facts<'_>, reader: &Reader) -> Vec<Disk> {
    // OpenBSD lists only the names.
    let devices = facts.get("devices").filter(|devices| !devices.is_array());
    let devices = reader.object(devices).into_iter().flatten();
    devices
        .filter_map(|(device, of)| {
            // FreeBSD lists the partitions of each disk without sizes.
            let Value::Object(of) = of else { return None };
            let size = reader.amount(of.get("sectors"))? * SECTOR_BYTES;
            (size > 0.0).then(|| Disk {
                device: device.clone(),
                model: reader.text(of.get("model")).unwrap_or_default(),
                rotational: match reader.truth(of.get("rotational")) {
                    Some(true) => "true".to_owned(),
                    Some(false) => "false".to_owned(),
                    None => String::new(),
                },
                size,
            })
        })
        .collect()
}
