//! Paths that several modules know, and names in paths.

/// Where Alertmanager posts its notifications.
pub(crate) const WEBHOOK: &str = "/api/v1/webhook";

/// A part of a path, with what is written as `%3A` as it is.
pub(crate) fn decoded(part: &str) -> String {
    // In a path these stand for themselves.
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
    fn a_name_in_a_path_is_taken_as_it_was_meant() {
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
