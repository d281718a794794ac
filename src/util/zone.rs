//! Time zones.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr;

use chrono_tz::Tz;

/// A time zone of the IANA database, such as `Asia/Shanghai`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

impl Zone {
    /// The default.
    pub const UTC: Self = Self(Tz::UTC);

    /// Returns the zone of this machine, like Go's `time.Local`: from `TZ`, else from `/etc/localtime`, else UTC.
    ///
    /// *Errors*: the zone is unknown, as a sentence.
    pub fn local() -> Result<Self, String> {
        let tz = std::env::var("TZ").ok();
        local(tz.as_deref(), Path::new("/etc"))
    }

    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    pub(crate) const fn tz(self) -> Tz {
        self.0
    }

    /// Returns the names of all zones.
    pub fn names() -> impl Iterator<Item = &'static str> {
        chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name())
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        name.parse()
            .map(Self)
            .map_err(|_| format!("there is no time zone {name:?}"))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The folder that contains the database.
const DATA_BASE: &str = "zoneinfo/";

fn local(tz: Option<&str>, etc: &Path) -> Result<Zone, String> {
    let below = |path: &str| path.rsplit_once(DATA_BASE).map(|(_, name)| name.to_owned());
    let name = if let Some(tz) = tz {
        let tz = tz.strip_prefix(':').unwrap_or(tz);
        Some(below(tz).unwrap_or_else(|| tz.to_owned()))
    } else {
        match std::fs::canonicalize(etc.join("localtime")) {
            Ok(file) => below(&file.to_string_lossy()).or_else(|| {
                // A copied file does not reveal its zone.
                std::fs::read_to_string(etc.join("timezone")).ok()
            }),
            Err(e) if e.kind() == ErrorKind::NotFound => Some(String::new()),
            Err(_) => None,
        }
    };
    let name = name.ok_or("the time zone of this machine is unknown")?;
    let name = name.trim();
    let name = name.strip_prefix("posix/").unwrap_or(name);
    if matches!(name, "" | "Etc/UTC") {
        return Ok(Zone::UTC);
    }
    name.parse()
        .map_err(|why| format!("the time zone of this machine cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_zone_of_a_machine_is_found_as_go_finds_it() {
        let etc = tempfile::tempdir().unwrap();
        let named = |tz: Option<&str>| local(tz, etc.path()).map(|zone| zone.name());
        assert_eq!(named(None), Ok("UTC"));
        for (tz, zone) in [
            ("", "UTC"),
            ("Asia/Shanghai", "Asia/Shanghai"),
            (":Europe/Berlin", "Europe/Berlin"),
            ("/usr/share/zoneinfo/America/Santiago", "America/Santiago"),
        ] {
            assert_eq!(named(Some(tz)), Ok(zone));
        }
        assert!(named(Some("CET-1CEST")).unwrap_err().contains("CET-1CEST"));

        let folder = etc.path().join("zoneinfo/Asia");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("Kolkata"), "").unwrap();
        let link = etc.path().join("localtime");
        symlink(folder.join("Kolkata"), &link).unwrap();
        assert_eq!(named(None), Ok("Asia/Kolkata"));
        std::fs::remove_file(&link).unwrap();
        std::fs::write(&link, "TZif").unwrap();
        assert!(named(None).is_err());
        std::fs::write(etc.path().join("timezone"), "Europe/Paris\n").unwrap();
        assert_eq!(named(None), Ok("Europe/Paris"));
    }
}
