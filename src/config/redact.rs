//! Redacts secrets in the lines of a configuration that error messages show. A defect can be next to a password, and
//! its message is written to the log and to responses.
//!
//! A value is shown only if its key and all parent keys are known not to contain secrets. So a misspelt `pasword` is as
//! safe as `password`, and so is a text that is not valid YAML.

mod scan;

use self::scan::{Kind, Open, Piece, scan};
use crate::config::error::{ConfigError, ConfigErrors};

/// Keys whose values are not secrets.
const PLAIN: [&str; 102] = [
    "active_times",
    "alerting_host",
    "alerts_limit",
    "allow_overlap",
    "batch_window",
    "become",
    "believe_after",
    "bin_dir",
    "body_timeout",
    "channel",
    "cooldown",
    "cron",
    "days_of_month",
    "enabled",
    "end_time",
    "events_limit",
    "every",
    "facts",
    "failures",
    "forks",
    "from",
    "gather_facts",
    "grace",
    "group",
    "groups",
    "header",
    "header_timeout",
    "help",
    "hosts",
    "id",
    "injected_facts",
    "insecure_skip_verify",
    "inventory",
    "inventory_max_age",
    "inventory_refresh",
    "inventory_shrink",
    "inventory_timeout",
    "jitter",
    "keep_after_removal",
    "limit",
    "location",
    "matchers",
    "max",
    "max_alerts",
    "max_body_size",
    "max_concurrent",
    "max_connections",
    "max_hosts",
    "max_percent",
    "metrics_path",
    "missed",
    "mode",
    "months",
    "mute_times",
    "name",
    "never",
    "not_over_api",
    "on",
    "on_interrupt",
    "on_resolved",
    "only",
    "output_limit",
    "path",
    "per",
    "playbook_dir",
    "port",
    "proxy_headers",
    "queue_alerts_limit",
    "queue_limit",
    "require_tls",
    "required",
    "retry_after",
    "roles",
    "rule_files",
    "scheme",
    "scopes",
    "series_limit",
    "server_name",
    "size",
    "skip_tags",
    "stale_after",
    "start_attempts",
    "start_pause",
    "start_time",
    "stop",
    "tags",
    "target",
    "then",
    "time",
    "time_intervals",
    "timeout",
    "times",
    "timezone",
    "to",
    "trusted_proxies",
    "ttl",
    "user",
    "verbosity",
    "verify_within",
    "weekdays",
    "within",
    "years",
];

/// Keys that contain other keys, and have no value of their own.
const SECTIONS: [&str; 34] = [
    "alertmanager",
    "ansible",
    "approval",
    "attempts",
    "authorization",
    "basic_auth",
    "bindings",
    "checks",
    "circuit",
    "email",
    "extra",
    "facts",
    "files",
    "guards",
    "http_config",
    "metrics",
    "notifiers",
    "on_resolved",
    "prometheus",
    "proxy_user",
    "receiver",
    "retention",
    "runs",
    "schedules",
    "service_discovery",
    "slack",
    "steps",
    "storage",
    "storm",
    "tls_config",
    "tokens",
    "vault_identities",
    "web",
    "webhook",
];

/// Replaces each character of a secret. The line keeps its length, so that the mark below it stays at its character.
const MASK: char = '*';

impl ConfigErrors {
    /// Hides the values of this file that may be secrets, in lines and in messages.
    pub(super) fn hiding_values(mut self, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines: Vec<&str> = text.lines().collect();
        let mut open = Open::default();
        let inside = lines.iter().map(|line| {
            let inside = open.is_inside();
            scan(line, &mut open);
            inside
        });
        let inside: Vec<bool> = inside.collect();
        for error in &mut self.errors {
            if error.file.is_none() {
                hide(error, &lines, &inside);
            }
        }
        self
    }
}

fn hide(error: &mut ConfigError, lines: &[&str], inside: &[bool]) {
    let Some(number) = error.place.map(|place| place.line - 1) else {
        return;
    };
    let Some(inside) = inside.get(number) else {
        return;
    };
    let line = Line::of(lines, number, *inside);
    if error.source_line.is_some() {
        error.source_line = Some(line.masked());
    }
    for secret in line.secrets() {
        error.message = remove_secret(&error.message, &secret);
        error.help = error.help.take().map(|help| remove_secret(&help, &secret));
    }
}

/// Removes a secret from a sentence: in any quotes, and also bare if it is too long to be one of our words.
fn remove_secret(sentence: &str, secret: &str) -> String {
    const BARE: usize = 6;
    let sentence = sentence
        .replace(&format!("{secret:?}"), "\"…\"")
        .replace(&format!("`{secret}`"), "`…`")
        .replace(&format!("'{secret}'"), "'…'");
    if secret.chars().count() < BARE {
        return sentence;
    }
    let mut shown = String::new();
    let mut rest = sentence.as_str();
    while let Some(at) = rest.find(secret) {
        let (before, found) = rest.split_at(at);
        let after = &found[secret.len()..];
        // A part of a longer word is not the secret.
        let is_word =
            before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
        shown.push_str(before);
        shown.push_str(if is_word { secret } else { "…" });
        rest = after;
    }
    shown + rest
}

/// A line, and the parts of it to hide.
struct Line {
    chars: Vec<char>,
    hidden: Vec<Piece>,
}

impl Line {
    /// `inside` means that a bracket or a quote is open at the start of the line. Then no key of it is known.
    fn of(lines: &[&str], number: usize, inside: bool) -> Self {
        let line = lines[number];
        let above = Above::of(lines, number);
        let chars: Vec<char> = line.chars().collect();
        let mut hidden = scan(line, &mut Open::default());
        if inside {
            let whole = line.trim().to_owned();
            hidden.push(Piece::new(Kind::Value, 0..chars.len(), whole));
        } else {
            hidden.retain(|piece| !piece.is_plain(&above));
        }
        Self { chars, hidden }
    }

    fn masked(&self) -> String {
        let hidden = |at: &usize| self.hidden.iter().any(|p| p.place.contains(at));
        let chars = self.chars.iter().enumerate();
        chars
            .map(|(at, c)| {
                if hidden(&at) && !c.is_whitespace() {
                    MASK
                } else {
                    *c
                }
            })
            .collect()
    }

    fn secrets(&self) -> Vec<String> {
        let text = |piece: &Piece| self.chars[piece.place.clone()].iter().collect::<String>();
        let unquoted = |text: &String| text.trim_matches(['"', '\'']).to_owned();
        let texts: Vec<String> = self.hidden.iter().map(text).collect();
        let mut secrets: Vec<String> = texts.iter().map(unquoted).collect();
        secrets.extend(texts);
        secrets.retain(|secret| !secret.trim().is_empty());
        // The longest first, because one may contain another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }
}

/// The parent keys of a line: those of less indented lines above.
struct Above {
    nearest: Option<String>,
    /// Whether all keys but the nearest are known.
    outer_known: bool,
}

impl Above {
    fn of(lines: &[&str], number: usize) -> Self {
        let mut above = Self {
            nearest: None,
            outer_known: true,
        };
        let mut column = indentation(lines[number]);
        for line in lines[..number].iter().rev() {
            let content = line.trim_start();
            if content.is_empty() || content.starts_with('#') || indentation(line) >= column {
                continue;
            }
            column = indentation(line);
            let pieces = scan(line, &mut Open::default());
            for piece in pieces.into_iter().rev().filter(|p| p.kind == Kind::Key) {
                if above.nearest.is_none() {
                    above.nearest = Some(piece.text);
                } else {
                    above.outer_known &= is_known(&piece.text);
                }
            }
            if column == 0 {
                break;
            }
        }
        above
    }
}

/// Returns where the content of a line begins, after the dashes of lists.
fn indentation(line: &str) -> usize {
    let mut rest = line;
    loop {
        let content = rest.trim_start_matches([' ', '\t']);
        match content.strip_prefix('-') {
            Some(more) if more.starts_with(' ') => rest = more,
            _ => return line.len() - content.len(),
        }
    }
}

impl Piece {
    fn is_plain(&self, above: &Above) -> bool {
        match self.kind {
            Kind::Comment => false,
            Kind::Key => is_key(&self.text),
            Kind::Value => {
                let above_known = above.outer_known
                    && (self.nearest.is_none() || above.nearest.as_deref().is_none_or(is_known));
                let nearest = self.nearest.as_deref().or(above.nearest.as_deref());
                let nearest = nearest.unwrap_or_default();
                let starts = ["/", "./", "../", "~/"];
                let is_path = starts.iter().any(|start| self.text.starts_with(start));
                let plain = PLAIN.contains(&nearest) || (is_path && nearest.ends_with("file"));
                plain && above_known && self.outer_known && !self.alone
            }
        }
    }
}

fn is_known(key: &str) -> bool {
    PLAIN.contains(&key) || SECTIONS.contains(&key)
}

/// Whether a text can be a key, and not a value.
fn is_key(text: &str) -> bool {
    const LONGEST: usize = 40;
    text.len() <= LONGEST
        && text
            .chars()
            .all(|c| c.is_ascii_alphabetic() || "_-".contains(c))
}

#[cfg(test)]
mod tests;
