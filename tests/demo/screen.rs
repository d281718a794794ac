//! What the person in front of the terminal sees.

use std::io::{IsTerminal as _, Stdout, Write as _};

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
    Blue,
}

/// The terminal, or the file that stands for it.
pub struct Screen {
    out: Stdout,
    colours: bool,
}

impl Screen {
    /// Colours only for a person: not into a file, and not where `NO_COLOR` is set.
    ///
    /// *Source*: <https://no-color.org>
    pub fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let out = std::io::stdout();
        let colours = out.is_terminal() && !refused;
        Self { out, colours }
    }

    /// A text in a colour.
    pub fn ink(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Green => "32",
            Ink::Red => "31",
            Ink::Yellow => "33",
            Ink::Blue => "34",
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
        self.line(&format!("    {time}  {word}  {text}"));
    }

    /// A name, its value in a column of this width, and what there is to say of it.
    pub fn entry(&self, name: &str, value: &str, width: usize, remark: &str) {
        let value = self.ink(Ink::Blue, &format!("{value:<width$}"));
        let remark = self.ink(Ink::Dim, remark);
        self.line(&format!("    {name:<14} {value}  {remark}"));
    }

    /// Something that was proven.
    pub fn proof(&self, text: &str) {
        let mark = self.ink(Ink::Green, "✓");
        self.line(&format!("    {mark} {text}"));
    }

    /// A line that another program wrote, which knows nothing of where it ends up: without its colours, if need be.
    pub fn quote(&self, text: &str) {
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, escape)) = rest.split_once("\x1b[").filter(|_| !self.colours) {
            plain.push_str(before);
            rest = escape.split_once('m').map_or("", |(_, after)| after);
        }
        plain.push_str(rest);
        let bar = self.ink(Ink::Dim, "│");
        self.line(&format!("    {bar} {plain}"));
    }
}
