//! Alertmanager's own cases and ours (with the results of its code and of Go's regexp), and properties.

use std::ops::Range;

use proptest::prelude::*;
use serde::Deserialize;

use super::lexer::{Kind, Lexer};
use super::*;

/// The result of parsing an input: matchers as (name, operator, value), or the position of the error.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Expected {
    /// From character to character.
    At(usize, usize),
    Matchers(Vec<(String, String, String)>),
    /// `"refused"`: the whole input is refused, so the position does not matter.
    Refused(String),
}

#[derive(Deserialize)]
struct Case {
    input: String,
    utf8: Expected,
    classic: Option<Expected>,
    both: Option<Expected>,
    one: Option<Expected>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../../../tests/data/matcher/parse.json")).unwrap()
}

fn parts<'a>(matchers: impl IntoIterator<Item = &'a Matcher>) -> Expected {
    let part = |m: &Matcher| (m.name().into(), m.op().to_string(), m.value().into());
    Expected::Matchers(matchers.into_iter().map(part).collect())
}

fn characters(input: &str, at: Range<usize>) -> Expected {
    let column = |byte: usize| input[..byte].chars().count();
    Expected::At(column(at.start), column(at.end))
}

#[test]
fn the_utf8_syntax_reads_as_alertmanager_does() {
    for case in cases() {
        let input = &case.input;
        match (utf8::parse(input), &case.utf8) {
            (Err(_), Expected::Refused(_)) => {}
            (Ok(read), expected) => assert_eq!(&parts(&read), expected, "{input:?}"),
            (Err(e), expected) => {
                assert_eq!(
                    &characters(input, e.position..e.end),
                    expected,
                    "{input:?}: {e}"
                );
                let column = input[..e.position].chars().count();
                assert_eq!(e.column, column, "{input:?}: {e}");
            }
        }
    }
}

#[test]
fn the_classic_syntax_and_both_together_read_as_alertmanager_does() {
    for case in cases() {
        let input = &case.input;
        let classic = classic::parse(input).ok().map(|read| parts(&read));
        assert_eq!(classic, case.classic, "classic: {input:?}");
        let both = Matchers::parse(input).ok().map(|read| parts(&read));
        assert_eq!(both, case.both, "both: {input:?}");
        let one = input.parse::<Matcher>().ok().map(|read| parts([&read]));
        assert_eq!(one, case.one, "one: {input:?}");
    }
}

#[test]
fn words_are_cut_as_alertmanager_cuts_them() {
    #[derive(Deserialize)]
    struct Words {
        input: String,
        tokens: Vec<(Kind, usize, usize)>,
        error: Option<Expected>,
    }
    let cases: Vec<Words> =
        serde_json::from_str(include_str!("../../../../tests/data/matcher/lexer.json")).unwrap();
    for Words {
        input,
        tokens,
        error,
    } in cases
    {
        let mut lexer = Lexer::new(&input);
        let mut found = Vec::new();
        let ending = loop {
            match lexer.peek() {
                Ok(None) => break None,
                Ok(Some(token)) if token.kind == Kind::Stray => {
                    break Some(characters(&input, token.at));
                }
                Ok(Some(token)) => {
                    found.push((token.kind, token.at.start, token.at.end));
                    lexer.skip(&token);
                }
                Err(error) => {
                    assert_eq!(lexer.peek(), Err(error.clone()), "{input:?}");
                    break Some(characters(&input, error.position..error.end));
                }
            }
        };
        assert_eq!((found, ending), (tokens, error), "{input:?}");
    }
}

#[test]
fn regular_expressions_mean_what_they_mean_in_go() {
    #[derive(Deserialize)]
    struct Table {
        texts: Vec<String>,
        cases: Vec<Pattern>,
    }
    #[derive(Deserialize)]
    struct Pattern {
        pattern: String,
        /// The matching texts; `None` if Go rejects the pattern.
        matches: Option<Vec<String>>,
    }
    // Rejected although Go accepts them, and accepted although Go before 1.22 rejected it.
    let stricter = ["a)|(b", "[+--]", "[--a]", "[A-[:alpha:]]"];
    let laxer = ["(?<n>a)"];

    let table: Table =
        serde_json::from_str(include_str!("../../../../tests/data/matcher/regexp.json")).unwrap();
    for Pattern { pattern, matches } in table.cases {
        let ours = Matcher::new("x", Op::Regexp, &*pattern);
        if stricter.contains(&&*pattern) {
            assert!(ours.is_err() && matches.is_some(), "{pattern:?}");
        } else if laxer.contains(&&*pattern) {
            assert!(ours.is_ok() && matches.is_none(), "{pattern:?}");
        } else {
            let texts = table.texts.iter();
            let ours = ours.map(|m| texts.filter(|t| m.matches(t)).cloned().collect());
            match (ours, matches) {
                (Err(_), None) => {}
                (ours, matches) => assert_eq!(ours, Ok(matches.unwrap_or_default()), "{pattern:?}"),
            }
        }
    }
}

#[test]
fn a_matcher_compares_the_whole_value() {
    let table = [
        ("bar", Op::Equal, "bar", true),
        ("bar", Op::Equal, "foo-bar", false),
        ("bar", Op::NotEqual, "bar", false),
        ("bar", Op::NotEqual, "foo-bar", true),
        ("bar", Op::Regexp, "bar", true),
        ("bar", Op::Regexp, "foo-bar", false),
        (".*bar", Op::Regexp, "foo-bar", true),
        ("bar", Op::NotRegexp, "bar", false),
        ("bar", Op::NotRegexp, "foo-bar", true),
        (".*bar", Op::NotRegexp, "foo-bar", false),
        ("foo.bar", Op::Regexp, "foo-bar", true),
        (r"foo\.bar", Op::Regexp, "foo-bar", false),
        (r"foo\.bar", Op::Regexp, "foo.bar", true),
        ("foo\nbar", Op::Equal, "foo\nbar", true),
        ("foo.bar", Op::Regexp, "foo\nbar", false),
        ("(?s)foo.bar", Op::Regexp, "foo\nbar", true),
        ("~!=\"", Op::Equal, "~!=\"", true),
        ("a|b", Op::Regexp, "ab", false),
        ("a", Op::Regexp, "a\n", false),
        ("(?m)a", Op::Regexp, "a\nb", false),
    ];
    for (value, op, text, expected) in table {
        let matcher = Matcher::new("x", op, value).unwrap();
        assert_eq!(matcher.matches(text), expected, "{matcher} on {text:?}");
    }
}

#[test]
fn a_missing_label_is_an_empty_one_and_all_must_match() {
    let labels = LabelSet::from([("a".into(), "1".into())]);
    let matches = |text| Matchers::parse(text).unwrap().matches(&labels);
    assert!(matches(""));
    assert!(matches(r#"a="1",b="""#));
    assert!(matches(r#"b!="1",b=~"|x",b!~".+""#));
    assert!(!matches(r#"a="1",b=~".+""#));
    assert!(!matches(r#"a="2",b="""#));
}

#[test]
fn it_is_shown_as_alertmanager_shows_it() {
    let table = [
        ("foo", Op::Equal, "bar", r#"foo="bar""#),
        ("foo", Op::NotEqual, "bar", r#"foo!="bar""#),
        ("foo", Op::Regexp, "bar", r#"foo=~"bar""#),
        ("foo", Op::NotRegexp, "bar", r#"foo!~"bar""#),
        ("foo", Op::Equal, r"back\slash", r#"foo="back\\slash""#),
        (
            "foo",
            Op::Equal,
            r#"double"quote"#,
            r#"foo="double\"quote""#,
        ),
        ("foo", Op::Equal, "new\nline", r#"foo="new\nline""#),
        ("foo", Op::Equal, "tab\tstop", "foo=\"tab\tstop\""),
        ("foo", Op::Equal, "🙂", r#"foo="🙂""#),
        ("foo!", Op::NotEqual, "bar", r#""foo!"!="bar""#),
        ("foo🙂", Op::Equal, "bar", r#"foo🙂="bar""#),
        ("foo bar", Op::Equal, "baz", r#""foo bar"="baz""#),
        (
            "a\tb",
            Op::Equal,
            "\x01\u{7f}\u{85}é",
            r#""a\tb"="\x01\x7f\u0085é""#,
        ),
    ];
    for (name, op, value, expected) in table {
        assert_eq!(Matcher::new(name, op, value).unwrap().to_string(), expected);
    }
    let list = Matchers::parse("a=b, \"c d\"!=e").unwrap();
    assert_eq!(list.to_string(), r#"{a="b","c d"!="e"}"#);
}

#[test]
fn a_fault_is_named_with_its_place() {
    let table = [
        (",", "at character 0: want a label name, found `,`"),
        (
            "{foo",
            "at character 4: want an operator: `=`, `!=`, `=~` or `!~`, found the end",
        ),
        (
            "{ü",
            "at character 2: want an operator: `=`, `!=`, `=~` or `!~`, found the end",
        ),
        (
            "foo!bar",
            "at character 3: `!` must be followed by `=` or `~`",
        ),
        (
            "foo?bar",
            "at character 7: want an operator: `=`, `!=`, `=~` or `!~`, found the end",
        ),
        (
            "foo=\"bar",
            "at character 4: this double quote is never closed",
        ),
        (
            "foo=\"a\"b\"",
            "at character 7: want a comma or `}`, found `b`",
        ),
        (
            "foo=a,bar~b",
            "at character 9: want an operator: `=`, `!=`, `=~` or `!~`, found `~`, which must be inside double quotes",
        ),
        (
            "ü=\"a\\d\"",
            "at character 2: `\\d` is not an escape; a backslash itself is written `\\\\`",
        ),
        (
            "ü=\"\\xg1\"",
            "at character 2: `\\xg1` needs 2 hexadecimal digits, and a value that fits",
        ),
        (
            "ü=\"\\xff\"",
            "at character 2: the escaped bytes are not UTF-8",
        ),
        (
            "foo=~\"invalid[regexp\"",
            "at character 5: the regular expression cannot be read: a `[` is never closed",
        ),
        (
            "foo=~a)|(b",
            "at character 5: the regular expression has an unmatched `)`; write `\\)` for a literal one",
        ),
        (
            "foo=~\"(?=a)\"",
            "at character 5: the regular expression has `(?=a`, which is not supported",
        ),
        (
            "foo=~\"a{2000}\"",
            "at character 5: the regular expression has the repetition `{2000}`, but the maximum is 1000",
        ),
        (
            "foo=~\"(a\"",
            "at character 5: the regular expression cannot be read: unclosed group",
        ),
        (
            "foo=~\"(a{1000}){1000}\"",
            "at character 5: the regular expression is too large: at most 64 KiB of text and 1024 KiB compiled",
        ),
    ];
    for (input, expected) in table {
        assert_eq!(Matchers::parse(input).unwrap_err().to_string(), expected);
    }
    let one = |input: &str| input.parse::<Matcher>().unwrap_err().to_string();
    assert_eq!(
        one("{a=b}"),
        "at character 0: want one matcher without braces around it"
    );
    assert_eq!(
        one("\"a\"=b,\"c\"=d"),
        "at character 0: want exactly one matcher, found 2"
    );
    let long = format!("foo=~\"{}\"", "a|".repeat(40_000));
    assert!(
        Matchers::parse(&long)
            .unwrap_err()
            .message
            .contains("too large")
    );
}

fn op() -> impl Strategy<Value = Op> {
    prop::sample::select(vec![Op::Equal, Op::NotEqual, Op::Regexp, Op::NotRegexp])
}

/// Text with many special characters of both syntaxes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-c{}!=~,\"'`\\\\ \n\tné🙂(\\[|)\\]*+?0-9x\u{a0}-]{0,16}",
    ]
}

proptest! {
    #[test]
    fn what_is_shown_is_read_again(name in text(), op in op(), value in text(), second in text()) {
        let value = if matches!(op, Op::Regexp | Op::NotRegexp) { regex::escape(&value) } else { value };
        // Not every escaped text is also a valid Go pattern.
        let first = Matcher::new(name, op, value);
        prop_assume!(first.is_ok());
        let list: Matchers = [first.unwrap(), Matcher::new("z", Op::Equal, second).unwrap()]
            .into_iter()
            .collect();
        prop_assert_eq!(Matchers::parse(&list.to_string()), Ok(list.clone()));
        for matcher in &list {
            prop_assert_eq!(&matcher.to_string().parse::<Matcher>().unwrap(), matcher);
        }
    }

    #[test]
    fn nothing_makes_it_panic_and_a_fault_is_inside(input in text()) {
        if let Err(error) = Matchers::parse(&input) {
            prop_assert!(error.position <= error.end && error.end <= input.len());
            prop_assert!(input.is_char_boundary(error.position) && input.is_char_boundary(error.end));
        }
        let _ = input.parse::<Matcher>();
        let _ = Matcher::new("x", Op::Regexp, input);
    }
}
