//! What the person in front of the terminal sees.

use std::io::{IsTerminal as _, Stdout, Write as _};

use crate::stack::process;

/// A colour, or weight, of a text.
#[derive(Debug, Clone, Copy)]
pub enum Ink {
    /// For headings.
    Bold,
    /// For what matters less.
    Dim,
    /// For what is well.
    Green,
    /// For what is broken.
    Red,
    /// For what is on its way.
    Yellow,
    /// For addresses.
    Cyan,
}

/// The terminal, or the file that stands for it.
pub struct Screen {
    out: Stdout,
    colours: bool,
    columns: usize,
}

impl Screen {
    /// Colours only for a person: not into a file, and not where `NO_COLOR` is set.
    ///
    /// *Source*: <https://no-color.org>
    pub fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let out = std::io::stdout();
        let colours = out.is_terminal() && !refused;
        Self {
            out,
            colours,
            columns: columns(),
        }
    }

    /// A text in a colour.
    pub fn ink(&self, ink: Ink, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Green => "32",
            Ink::Red => "31",
            Ink::Yellow => "33",
            Ink::Cyan => "36",
        };
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// One line. A terminal that went away is no reason to stop tidying up.
    pub fn line(&self, text: &str) {
        let mut out = self.out.lock();
        let _ = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    }

    /// A heading, and why it is there.
    pub fn heading(&self, title: &str, why: &str) {
        self.line("");
        let title = self.ink(Ink::Bold, title);
        let why = self.ink(Ink::Dim, why);
        self.line(&format!("  {title}  {why}"));
    }

    /// A step with the time since something broke.
    pub fn step(&self, seconds: f64, ink: Ink, word: &str, text: &str) {
        let time = self.ink(Ink::Dim, &format!("{:>7} s", format!("+{seconds:.2}")));
        let word = self.ink(ink, &format!("{word:<9}"));
        let text = shortened(text, self.columns - 26);
        self.line(&format!("    {time}  {word}  {text}"));
    }

    /// A name, its value in a column of this width, and what there is to say of it.
    pub fn entry(&self, name: &str, value: &str, width: usize, remark: &str) {
        let value = self.ink(Ink::Cyan, &format!("{value:<width$}"));
        let remark = self.ink(Ink::Dim, remark);
        self.line(&format!("    {name:<14} {value}  {remark}"));
    }

    /// Something that was proven.
    pub fn proof(&self, text: &str) {
        let mark = self.ink(Ink::Green, "✓");
        self.line(&format!("    {mark} {text}"));
    }

    /// A line that another program wrote, which knows nothing of where it ends up: without its colours, if need be,
    /// without its columns, and cut where it would be too long.
    pub fn quote(&self, text: &str) {
        let mut shown = String::new();
        let (mut columns, mut last) = (0, None);
        let mut indented = true;
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(escape) = rest.strip_prefix("\x1b[") {
                let end = escape
                    .find('m')
                    .map_or(rest.len(), |at| "\x1b[".len() + at + 1);
                if self.colours {
                    shown.push_str(&rest[..end]);
                }
                rest = &rest[end..];
                continue;
            }
            if columns == self.columns - 7 {
                shown.push('…');
                if self.colours {
                    shown.push_str("\x1b[0m");
                }
                break;
            }
            rest = &rest[c.len_utf8()..];
            indented &= c == ' ';
            if indented || (c, last) != (' ', Some(' ')) {
                shown.push(c);
                columns += 1;
            }
            last = Some(c);
        }
        let bar = self.ink(Ink::Dim, "│");
        self.line(&format!("    {bar} {shown}"));
    }
}

/// How wide the terminal is, within reason.
fn columns() -> usize {
    process::run(process::command("stty").args(["-F", "/dev/tty", "size"]))
        .ok()
        .and_then(|size| size.split_whitespace().nth(1)?.parse().ok())
        .filter(|columns| *columns > 0)
        .unwrap_or(100)
        .clamp(80, 120)
}

/// The words of a text that fit; `…` says that there are more.
fn shortened(text: &str, most: usize) -> String {
    let mut ends = text.char_indices().map(|(end, _)| end);
    let (Some(end), Some(_)) = (ends.nth(most - 1), ends.next()) else {
        return text.to_owned();
    };
    let fits = &text[..end];
    let words = match fits.rfind(' ') {
        Some(blank) if !text[end..].starts_with(' ') => &fits[..blank],
        _ => fits,
    };
    format!("{}…", words.trim_end_matches([' ', ',', ':', '-']))
}
