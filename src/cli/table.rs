//! Formats tables.

use super::terminal::{Ink, plain};

#[derive(Debug)]
pub(super) struct Cell {
    text: String,
    ink: Ink,
}

impl Cell {
    /// Creates a cell from a text, which may come from outside.
    pub(super) fn new(text: &str) -> Self {
        Self::inked(Ink::Plain, text)
    }

    pub(super) fn inked(ink: Ink, text: &str) -> Self {
        let text = plain(text);
        Self { text, ink }
    }
}

/// Formats a line for each row. Each column is as wide as its widest cell, and two spaces separate the columns.
pub(super) fn columns<const N: usize>(indent: &str, rows: &[[Cell; N]], color: bool) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].text.chars().count());
        cells.max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in rows {
        let filled = row.iter().rposition(|cell| !cell.text.is_empty());
        let filled = filled.map_or(0, |last| last + 1);
        text.push_str(indent);
        for (column, cell) in row[..filled].iter().enumerate() {
            text.push_str(&cell.ink.paint(&cell.text, color));
            if column + 1 < filled {
                let blanks = widths[column] + 2 - cell.text.chars().count();
                text.push_str(&" ".repeat(blanks));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_hostile_text_break_no_column() {
        let rows = [
            [
                Cell::inked(Ink::Red, "unreachable"),
                Cell::new("ünï"),
                Cell::new("a"),
            ],
            [Cell::new("ok"), Cell::new("h\n\x1b[2J"), Cell::new("b")],
            [Cell::new("ok"), Cell::new(""), Cell::new("")],
        ];
        assert_eq!(
            columns("  ", &rows, true),
            "  \x1b[31munreachable\x1b[0m  ünï     a\n  ok           h��[2J  b\n  ok\n"
        );
        assert_eq!(columns::<2>("", &[], false), "");
    }
}
