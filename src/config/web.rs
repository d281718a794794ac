//! `web` as typed → [`Web`].

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Place, Report, place};
use super::text::{TokenText, WebText};
use super::typed::{Pairs, Scalar};
use super::values::path;
use super::yaml::nearest;
use super::{Token, Web};
use crate::caller::{Scope, Scopes};

const LIST_SCOPES: &str =
    "list what it is good for: scopes: [metrics], [receive], [operate], or several of them";

pub(super) fn check(typed: WebText, report: &mut Report<'_>) -> Web {
    let mut names = BTreeSet::new();
    let mut tokens = Vec::new();
    for typed in typed.tokens.unwrap_or_default() {
        let whole = place(typed.referenced);
        if let Some(token) = token(typed.value, whole, &mut names, report) {
            tokens.push(token);
        }
    }
    Web {
        tokens,
        users: named(typed.users, report),
        certificates: named(typed.certificates, report),
    }
}

/// Name → what for.
fn named(typed: Option<Pairs<Vec<Scalar>>>, report: &mut Report<'_>) -> BTreeMap<String, Scopes> {
    let typed = typed.unwrap_or_default().0.into_iter();
    let named = typed.map(|(name, typed)| (name.value, scopes(&typed, report)));
    named.collect()
}

fn token(
    typed: TokenText,
    whole: Option<Place>,
    names: &mut BTreeSet<String>,
    report: &mut Report<'_>,
) -> Option<Token> {
    let name = name(typed.name, whole, names, report);
    if typed.file.is_none() {
        report.add(
            whole,
            "this token has no file",
            Some(
                "name the file that holds it: file: /etc/promansible/alertmanager.token".to_owned(),
            ),
        );
    }
    let file = typed
        .file
        .and_then(|file| path("web.tokens.file", Some(file), report));
    let listed = typed.scopes.unwrap_or_default();
    if listed.is_empty() {
        report.add(
            whole,
            "this token has no scopes",
            Some(LIST_SCOPES.to_owned()),
        );
    }
    let scopes = scopes(&listed, report);
    Some(Token {
        name: name?,
        file: file?,
        scopes,
    })
}

fn name(
    typed: Option<Scalar>,
    whole: Option<Place>,
    names: &mut BTreeSet<String>,
    report: &mut Report<'_>,
) -> Option<String> {
    let Some(typed) = typed else {
        let help = "add one that says whose it is: name: alertmanager".to_owned();
        report.add(whole, "this token has no name", Some(help));
        return None;
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:@-".contains(&b);
    let name = typed.value;
    let (message, help) = if !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
        (
            format!("{name:?} cannot be a token's name"),
            "use 1 to 64 letters, digits and _ . : @ -",
        )
    } else if !names.insert(name.clone()) {
        (
            format!("two tokens have the name {name:?}"),
            "give each its own: the name is what the audit list calls it",
        )
    } else {
        return Some(name);
    };
    report.add(place(typed.referenced), message, Some(help.to_owned()));
    None
}

fn scopes(typed: &[Scalar], report: &mut Report<'_>) -> Scopes {
    let known = Scope::ALL.map(Scope::as_str);
    let scopes = typed.iter().filter_map(|typed| {
        let scope = Scope::named(&typed.value);
        if scope.is_none() {
            let meant = nearest(&typed.value, &known);
            let meant = meant.map_or_else(String::new, |word| format!("did you mean {word:?}? "));
            report.add(
                place(typed.referenced),
                format!("unknown scope {:?}", typed.value),
                Some(meant + "the scopes are metrics, receive and operate"),
            );
        }
        scope
    });
    scopes.collect()
}
