//! The real curl, as people type it.

use std::process::Command;

use super::{Server, run};

/// What curl got.
#[derive(Debug)]
pub struct Got {
    /// The status; 0 where there was no answer.
    pub status: u16,
    /// The headers, and then the body.
    pub text: String,
}

impl Got {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Server {
    /// Asks for a path, with these options of curl's.
    pub fn curl(&self, path: &str, options: &[&str]) -> Got {
        self.curl_by("http", path, options)
    }

    /// The same through TLS.
    pub fn curl_tls(&self, path: &str, options: &[&str]) -> Got {
        self.curl_by("https", path, options)
    }

    fn curl_by(&self, scheme: &str, path: &str, options: &[&str]) -> Got {
        let output = run(Command::new("curl")
            .args(["-sSi", "--max-time", "30", "--noproxy", "*"])
            .args(["-w", "\n%{http_code}"])
            .args(options)
            .arg(format!("{scheme}://{}{path}", self.address)));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (text, status) = text.rsplit_once('\n').unwrap();
        let status = status.parse().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        Got {
            status,
            text: format!("{text}{said}"),
        }
    }
}
