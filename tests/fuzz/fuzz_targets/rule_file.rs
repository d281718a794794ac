//! A rule file is read, or refused in one line; what is read has a name and stands in the file.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use promansible_fuzz::rule_file::parse_rule_file;

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Corpus::Reject;
    };
    match parse_rule_file("f.yml", text) {
        Ok(rules) => {
            for rule in rules {
                assert!(!rule.name.is_empty() && rule.file == "f.yml", "{rule:?}");
                let line = rule.line.expect("a rule of a file has a line");
                // YAML ends a line at a carriage return too.
                let breaks = text.matches(['\n', '\r']).count() as u64;
                assert!((1..=breaks + 1).contains(&line), "{rule:?}");
            }
        }
        Err(e) => assert!(!e.message.is_empty() && !e.message.contains('\n'), "{e:?}"),
    }
    Corpus::Keep
});
