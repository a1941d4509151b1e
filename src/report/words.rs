//! Small words that several reports share: counts, sizes, tables, names from a file that may hold anything.

#![forbid(unsafe_code)]

/// `1 channel`, `2 channels`.
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// A size in the largest unit that leaves a whole number.
pub fn bytes(size: u64) -> String {
    match size {
        size if size >= 1 << 30 && size % (1 << 30) == 0 => format!("{} GiB", size >> 30),
        size if size >= 1 << 20 && size % (1 << 20) == 0 => format!("{} MiB", size >> 20),
        size if size >= 1 << 10 && size % 1024 == 0 => format!("{} KiB", size >> 10),
        size => count(usize::try_from(size).unwrap_or(usize::MAX), "byte"),
    }
}

/// Two digits a byte, as sha256sum(1) writes them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text of the system file for a terminal: control characters are shown, not obeyed.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_bidirectional_control(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Characters that reorder what stands around them, so that a line could read as something else.
fn is_bidirectional_control(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A name in backquotes, fit for a terminal.
pub fn quoted(name: &str) -> String {
    format!("`{}`", printable(name))
}

/// `a, b and c`
pub fn list(items: &[String]) -> String {
    match items {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Which way a column of a table leans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows in columns two blanks apart, each line indented; no blanks at the ends of lines. Rows may be shorter than others.
pub fn table(indent: usize, columns: &[Align], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for ((cell, width), align) in row.iter().zip(&widths).zip(columns) {
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            match align {
                Align::Left => line += &format!("{cell}{blanks}  "),
                Align::Right => line += &format!("{blanks}{cell}  "),
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole() {
        let written = [0, 1, 4096, 0x5000, 1 << 20, 3 << 20, 1 << 30, 100].map(bytes);
        assert_eq!(written, ["0 bytes", "1 byte", "4 KiB", "20 KiB", "1 MiB", "3 MiB", "1 GiB", "100 bytes"]);
    }

    #[test]
    fn names_cannot_play_with_the_terminal() {
        assert_eq!(quoted("a\u{1b}[2J\u{202e}\n"), "`a\\u{1b}[2J\\u{202e}\\u{a}`");
        assert_eq!(quoted("größe"), "`größe`");
    }

    #[test]
    fn tables_line_up() {
        let rows = [vec!["name".into(), "n".into()], vec!["ü".into(), "120".into()], vec!["alone".into()]];
        assert_eq!(table(2, &[Align::Left, Align::Right], &rows), "  name     n\n  ü      120\n  alone\n");
    }
}
