//! Paths that several modules use, and names in paths.

/// The receiver for Alertmanager's notifications.
pub(crate) const WEBHOOK: &str = "/api/v1/webhook";

/// Decodes the percent-encoding of a path segment.
pub(crate) fn decoded(part: &str) -> String {
    // These have no special meaning in a path.
    let escaped = part.replace('+', "%2B").replace('&', "%26");
    let escaped = escaped.replace('=', "%3D");
    let mut pairs = form_urlencoded::parse(escaped.as_bytes());
    pairs
        .next()
        .map_or_else(String::new, |(name, _)| name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths_are_decoded() {
        for (part, name) in [
            ("web1", "web1"),
            ("fe80::1", "fe80::1"),
            ("fe80%3A%3A1", "fe80::1"),
            ("a+b=c&d", "a+b=c&d"),
            ("%7B%7B%20x%20%7D%7D", "{{ x }}"),
            ("", ""),
        ] {
            assert_eq!(decoded(part), name);
        }
    }
}
