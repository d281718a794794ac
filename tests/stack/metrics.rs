//! Reads numbers from a page of metrics.

use super::http;
use super::wait::Failure;

/// A page of metrics in the text format.
pub struct Metrics(pub String);

impl Metrics {
    /// Reads `/metrics` of a server.
    pub fn of(port: u16) -> Result<Self, Failure> {
        let response = http::get(port, "/metrics")?;
        if response.status != 200 {
            return Err(Failure::new(format!(
                "/metrics answered {}: {}",
                response.status, response.body
            )));
        }
        Ok(Self(response.body))
    }

    /// The sum of the samples of this name that have these labels, or nothing where there is none.
    ///
    /// Label values are compared as they stand on the page, so those that need escapes are out of reach.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = None;
        for line in self.0.lines() {
            let Some(rest) = line.strip_prefix(name) else {
                continue;
            };
            let (set, value) = match rest.strip_prefix('{').and_then(|r| r.rsplit_once('}')) {
                Some(both) => both,
                None if rest.starts_with(' ') => ("", rest),
                None => continue,
            };
            let set = format!(",{set},");
            let matches = labels
                .iter()
                .all(|(label, value)| set.contains(&format!(",{label}=\"{value}\",")));
            if let (true, Ok(value)) = (matches, value.trim().parse::<f64>()) {
                found = Some(found.unwrap_or(0.0) + value);
            }
        }
        found
    }
}
