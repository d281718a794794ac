//! Matchers that are taken are printed so that they mean the same when read again; an error points into the text.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use promansible_fuzz::model::alert::{LabelSet, Matchers};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Corpus::Reject;
    };
    match Matchers::parse(text) {
        Ok(read) => {
            let written = read.to_string();
            let again = Matchers::parse(&written);
            assert_eq!(
                again.as_ref(),
                Ok(&read),
                "{text:?} is printed as {written:?}"
            );
            // Labels that are made of the matchers' own words are the ones that may match.
            let labels: LabelSet = read
                .iter()
                .map(|m| (m.name().to_owned(), m.value().to_owned()))
                .collect();
            for labels in [labels, LabelSet::new()] {
                let matched = again.as_ref().is_ok_and(|again| again.matches(&labels));
                assert_eq!(matched, read.matches(&labels), "{written:?} on {labels:?}");
                assert_eq!(
                    matched,
                    read.iter()
                        .all(|m| m.matches(labels.get(m.name()).map_or("", String::as_str)))
                );
            }
        }
        Err(e) => {
            assert!(e.position <= e.end && e.end <= text.len(), "{e:?}");
            assert!(
                text.is_char_boundary(e.position) && text.is_char_boundary(e.end),
                "{e:?}"
            );
            assert_eq!(e.column, text[..e.position].chars().count());
            assert!(!e.message.is_empty() && !e.message.contains('\n'), "{e:?}");
        }
    }
    Corpus::Keep
});
