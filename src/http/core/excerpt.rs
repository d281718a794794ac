//! Shortens the texts of alerts in lists and pages. One alert may have as much text as a whole notification, and a list a
//! thousand alerts. `/api/v1/alerts/ID` has the full texts.

use std::borrow::Cow;

use crate::model::alert::LabelSet;
use crate::store::Episode;

/// The longest text. *Units*: characters.
const TEXT: usize = 1_000;

/// The limit for all labels of an alert together, and for all annotations. *Units*: characters.
const SET: usize = 8_000;

/// Shortens a text.
pub(crate) fn beginning(text: &str) -> Cow<'_, str> {
    first(text, TEXT)
}

/// Shortens a name in a list.
pub(crate) fn name(text: &str) -> Cow<'_, str> {
    first(text, 200)
}

fn first(text: &str, longest: usize) -> Cow<'_, str> {
    // A character has at least one byte.
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    match text.char_indices().nth(longest) {
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
        None => Cow::Borrowed(text),
    }
}

/// Shortens the texts of an episode. Returns whether any was shortened.
pub(crate) fn cut(episode: &mut Episode) -> bool {
    let labels = cut_set(&mut episode.labels);
    let annotations = cut_set(&mut episode.annotations);
    let mut is_cut = labels | annotations;
    is_cut |= cut_text(&mut episode.generator_url, TEXT);
    is_cut |= cut_text(&mut episode.receiver, TEXT);
    for decided in episode.decisions.values_mut() {
        if let Some(why) = &mut decided.why {
            is_cut |= cut_text(why, TEXT);
        }
    }
    is_cut
}

fn cut_text(text: &mut String, longest: usize) -> bool {
    match first(text, longest) {
        Cow::Borrowed(_) => false,
        Cow::Owned(beginning) => {
            *text = beginning;
            true
        }
    }
}

fn cut_set(set: &mut LabelSet) -> bool {
    let pairs = set.iter().map(|(name, value)| name.len() + value.len());
    if pairs.sum::<usize>() <= TEXT {
        return false;
    }
    let (mut is_cut, mut room) = (false, SET);
    let mut shortened = LabelSet::new();
    for (mut name, mut value) in std::mem::take(set) {
        is_cut |= cut_text(&mut name, TEXT) | cut_text(&mut value, TEXT);
        let Some(rest) = room.checked_sub(name.chars().count() + value.chars().count()) else {
            is_cut = true;
            continue;
        };
        room = rest;
        shortened.insert(name, value);
    }
    *set = shortened;
    is_cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_and_sets_are_cut_and_short_ones_stay() {
        let set = |pairs: &[(&str, usize)]| -> LabelSet {
            let pairs = pairs.iter();
            pairs
                .map(|(name, n)| ((*name).to_owned(), "ä".repeat(*n)))
                .collect()
        };
        let mut short = set(&[("a", 400), ("b", 90)]);
        assert!(!cut_set(&mut short));
        assert_eq!(short, set(&[("a", 400), ("b", 90)]));
        let mut exact = set(&[("a", 1000), ("b", 1000)]);
        assert!(!cut_set(&mut exact));
        let mut long = set(&[("a", 1001), ("b", 5)]);
        assert!(cut_set(&mut long));
        assert_eq!(long["a"], "ä".repeat(1000) + "…");
        assert_eq!(long["b"].chars().count(), 5);
        let names: Vec<String> = (0..100).map(|n| format!("n{n:02}")).collect();
        let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), 500)).collect();
        let mut many = set(&pairs);
        assert!(cut_set(&mut many));
        assert_eq!(many.len(), SET / 503);
    }
}
