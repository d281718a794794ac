//! Converts program output to HTML: colours become classes, all other terminal control sequences are removed.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use askama::filters::{Escaper, Html};

use crate::util::sanitize::{REPLACEMENT, is_visible};

/// The style of a piece of text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // independent attributes of a terminal
struct Style {
    /// 0 to 15.
    colour: Option<u8>,
    background: Option<u8>,
    bold: bool,
    faint: bool,
    italic: bool,
    underline: bool,
}

type Line = Vec<(Style, String)>;

/// Converts the output to lines of `<span>`s. The result is well-formed for any input, and its text is that of the output.
pub(super) fn to_html(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut html = String::with_capacity(text.len() + text.len() / 4);
    for line in lines(&text) {
        write_line(&mut html, &line);
        html.push('\n');
    }
    html
}

/// Removes all control sequences, for messages rather than program output.
pub(super) fn to_text(text: &str) -> String {
    let lines = lines(text).into_iter();
    let lines = lines.map(|line| line.into_iter().map(|(_, text)| text).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

fn lines(text: &str) -> Vec<Line> {
    let (mut lines, mut line) = (Vec::new(), Line::new());
    let mut style = Style::default();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => lines.push(std::mem::take(&mut line)),
            // A line that is overwritten becomes a line of its own, so that nothing is hidden.
            '\r' if chars.peek().is_some_and(|c| *c != '\n') => {
                lines.push(std::mem::take(&mut line));
            }
            '\u{1b}' => escape(&mut chars, &mut style),
            '\u{9b}' => control(&mut chars, &mut style),
            '\t' => push(&mut line, style, '\t'),
            c if c.is_control() => {}
            c if is_visible(c) => push(&mut line, style, c),
            // Characters that change the writing direction can disguise a line.
            _ => push(&mut line, style, REPLACEMENT),
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

fn push(line: &mut Line, style: Style, c: char) {
    match line.last_mut() {
        Some((last, text)) if *last == style => text.push(c),
        _ => line.push((style, c.to_string())),
    }
}

/// Reads an escape sequence, after its escape character.
fn escape(chars: &mut Peekable<Chars<'_>>, style: &mut Style) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            control(chars, style);
        }
        // A string for the terminal itself, such as its title. It ends with BEL or ESC \, here also at the end of the line.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next_if(|c| *c != '\n') {
                if c == '\u{7}' {
                    return;
                }
                if c == '\u{1b}' {
                    chars.next_if_eq(&'\\');
                    return;
                }
            }
        }
        Some(' '..='/') => {
            while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
            chars.next_if(|c| ('0'..='~').contains(c));
        }
        Some('0'..='~') => {
            chars.next();
        }
        _ => {}
    }
}

/// Reads a control sequence. Only the one that sets colours has an effect.
fn control(chars: &mut Peekable<Chars<'_>>, style: &mut Style) {
    let mut parameters = String::new();
    while let Some(c) = chars.next_if(|c| (' '..='?').contains(c)) {
        parameters.push(c);
    }
    if chars.next_if(|c| ('@'..='~').contains(c)) == Some('m') {
        restyle(&parameters, style);
    }
}

fn restyle(parameters: &str, style: &mut Style) {
    // A missing parameter is 0. One that is no number makes the sequence a private one, which is ignored.
    let numbers: Option<Vec<u16>> = parameters
        .split([';', ':'])
        .map(|n| {
            if n.is_empty() {
                Some(0)
            } else {
                n.parse().ok()
            }
        })
        .collect();
    let mut numbers = numbers.into_iter().flatten();
    while let Some(n) = numbers.next() {
        match n {
            0 => *style = Style::default(),
            1 => style.bold = true,
            2 => style.faint = true,
            3 => style.italic = true,
            4 => style.underline = true,
            22 => (style.bold, style.faint) = (false, false),
            23 => style.italic = false,
            24 => style.underline = false,
            30..=37 => style.colour = small(n - 30),
            38 => style.colour = extended(&mut numbers),
            39 => style.colour = None,
            40..=47 => style.background = small(n - 40),
            48 => style.background = extended(&mut numbers),
            49 => style.background = None,
            90..=97 => style.colour = small(n - 82),
            100..=107 => style.background = small(n - 92),
            _ => {}
        }
    }
}

/// Reads a colour of 256 or of 16 million. Only the 16 named colours are shown.
fn extended(numbers: &mut impl Iterator<Item = u16>) -> Option<u8> {
    match numbers.next() {
        Some(5) => numbers.next().and_then(small),
        Some(2) => {
            numbers.nth(2);
            None
        }
        _ => None,
    }
}

fn small(n: u16) -> Option<u8> {
    u8::try_from(n).ok().filter(|n| *n < 16)
}

fn write_line(html: &mut String, line: &Line) {
    let class = line_class(line);
    if !class.is_empty() {
        let _ = write!(html, r#"<span class="{class}">"#);
    }
    for (style, text) in line {
        let styled = *style != Style::default();
        if styled {
            let _ = write!(html, r#"<span class="{}">"#, classes(*style));
        }
        // Writing to a string cannot fail.
        let _ = Html.write_escaped_str(&mut *html, text);
        if styled {
            html.push_str("</span>");
        }
    }
    if !class.is_empty() {
        html.push_str("</span>");
    }
}

/// Returns a class for lines that begin a play or a task, to make them stand out.
fn line_class(line: &Line) -> &'static str {
    let text = line.first().map_or("", |(_, text)| text.as_str());
    let heads = ["TASK [", "PLAY [", "PLAY RECAP", "RUNNING HANDLER ["];
    if heads.iter().any(|head| text.starts_with(head)) {
        "line-head"
    } else {
        ""
    }
}

fn classes(style: Style) -> String {
    let mut classes = String::new();
    let mut add = |class: std::fmt::Arguments<'_>| {
        let space = if classes.is_empty() { "" } else { " " };
        let _ = write!(classes, "{space}{class}");
    };
    if let Some(n) = style.colour {
        add(format_args!("fg{n}"));
    }
    if let Some(n) = style.background {
        add(format_args!("bg{n}"));
    }
    for (on, class) in [
        (style.bold, "bold"),
        (style.faint, "faint"),
        (style.italic, "italic"),
        (style.underline, "underline"),
    ] {
        if on {
            add(format_args!("{class}"));
        }
    }
    classes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn html(text: &str) -> String {
        to_html(text.as_bytes())
    }

    #[test]
    fn colours_become_classes() {
        for (text, want) in [
            ("plain", "plain\n"),
            (
                "\u{1b}[0;31mred\u{1b}[0m no",
                "<span class=\"fg1\">red</span> no\n",
            ),
            (
                "\u{1b}[1;92;44mx",
                "<span class=\"fg10 bg4 bold\">x</span>\n",
            ),
            (
                "\u{1b}[31ma\nb\u{1b}[mc",
                "<span class=\"fg1\">a</span>\n<span class=\"fg1\">b</span>c\n",
            ),
            (
                "\u{1b}[38;5;9mx\u{1b}[38;5;200my",
                "<span class=\"fg9\">x</span>y\n",
            ),
            (
                "\u{1b}[38;2;1;2;3;4mx",
                "<span class=\"underline\">x</span>\n",
            ),
            ("\u{1b}[1mb\u{1b}[22mn", "<span class=\"bold\">b</span>n\n"),
            (
                "TASK [a] ***\nok: [h]",
                "<span class=\"line-head\">TASK [a] ***</span>\nok: [h]\n",
            ),
        ] {
            assert_eq!(html(text), want, "{text:?}");
        }
    }

    #[test]
    fn what_steers_a_terminal_is_left_out() {
        for (text, want) in [
            ("a\u{1b}[2Jb\u{1b}[10;20Hc", "abc\n"),
            ("a\u{1b}[?25lb\u{1b}[>4;2mc", "abc\n"),
            ("a\u{1b}]0;title\u{7}b\u{1b}]8;;http://x\u{1b}\\c", "abc\n"),
            ("a\u{1b}]never ended\nb", "a\nb\n"),
            ("a\u{1b}(Bb\u{1b}cc\u{1b}", "abc\n"),
            ("a\u{1b}[31", "a\n"),
            ("a\u{1b}[3\u{1b}[1mb", "a<span class=\"bold\">b</span>\n"),
            ("10%\r20%\r\nend\u{8}\u{0}", "10%\n20%\nend\n"),
            ("a\u{9b}31mb", "a<span class=\"fg1\">b</span>\n"),
            ("user\u{202e}nimda", "user\u{fffd}nimda\n"),
            ("a\u{200f}b\u{61c}c\u{85}d", "a\u{fffd}b\u{fffd}cd\n"),
        ] {
            assert_eq!(html(text), want, "{text:?}");
        }
        assert_eq!(
            to_html(b"a\xff\x1b[31m\xfe"),
            "a\u{fffd}<span class=\"fg1\">\u{fffd}</span>\n"
        );
    }

    #[test]
    fn a_message_keeps_its_text_alone() {
        assert_eq!(
            to_text("said \u{1b}[31mred\u{1b}[0m\r\n<b>"),
            "said red\n<b>"
        );
        assert_eq!(to_text(""), "");
    }

    #[test]
    fn text_is_never_markup() {
        assert_eq!(
            html("<script>\u{1b}[31m\"&'</span>"),
            "&#60;script&#62;<span class=\"fg1\">&#34;&#38;&#39;&#60;/span&#62;</span>\n"
        );
    }

    /// Returns the text of the HTML; `None` if a tag is not ours or not closed.
    fn read_back(html: &str) -> Option<String> {
        let (mut text, mut open) = (String::new(), 0_i32);
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            text.push_str(&rest[..at]);
            let end = at + rest[at..].find('>')?;
            match &rest[at..=end] {
                "</span>" => open -= 1,
                tag => {
                    let class = tag.strip_prefix("<span class=\"")?.strip_suffix("\">")?;
                    let plain = |c: char| c.is_ascii_alphanumeric() || " -".contains(c);
                    if class.is_empty() || !class.chars().all(plain) {
                        return None;
                    }
                    open += 1;
                }
            }
            if open < 0 {
                return None;
            }
            rest = &rest[end + 1..];
        }
        text.push_str(rest);
        for (escaped, plain) in [
            ("&#60;", "<"),
            ("&#62;", ">"),
            ("&#34;", "\""),
            ("&#39;", "'"),
            ("&#38;", "&"),
        ] {
            text = text.replace(escaped, plain);
        }
        (open == 0).then_some(text)
    }

    proptest! {
        #[test]
        fn junk_becomes_well_formed_html(bytes: Vec<u8>) {
            prop_assert!(read_back(&to_html(&bytes)).is_some());
        }

        #[test]
        fn so_does_what_almost_steers_a_terminal(pieces in proptest::collection::vec(
            prop_oneof![
                Just("\u{1b}["), Just("\u{1b}]"), Just("\u{1b}"), Just("\u{9b}"), Just("31"), Just("38;5"), Just("38;2;"), Just(";"),
                Just("m"), Just("H"), Just("\u{7}"), Just("\n"), Just("\r"), Just("<b>"), Just("</span>"), Just("é"), Just("TASK ["), Just("99999"),
            ], 0..40))
        {
            prop_assert!(read_back(&html(&pieces.concat())).is_some());
        }

        #[test]
        fn plain_text_stays_as_it_is(lines in proptest::collection::vec("[ -~äß漢\t]{0,30}", 1..8)) {
            let text = lines.join("\n") + "\n";
            prop_assert_eq!(read_back(&html(&text)), Some(text));
        }
    }
}
