//! What a command prints.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

/// The result of a command, in both forms.
#[derive(Debug)]
pub(super) struct Output {
    json: Option<Value>,
    text: String,
    good: bool,
}

impl Output {
    /// Nothing is printed.
    pub(super) fn nothing() -> Self {
        Self { json: None, text: String::new(), good: true }
    }

    /// One thing, with its text for people.
    pub(super) fn one(json: &impl Serialize, text: impl Into<String>) -> Self {
        // The values are our own plain structures, which have a JSON form.
        Self { json: Some(serde_json::to_value(json).unwrap_or(Value::Null)), text: text.into(), good: true }
    }

    /// A list: an array, or a table with a row for each.
    pub(super) fn list<T: Serialize, const N: usize>(
        items: &[T],
        head: [&str; N],
        row: impl Fn(&T) -> [String; N],
    ) -> Self {
        let rows: Vec<_> = items.iter().map(row).collect();
        let text = if rows.is_empty() { "none".to_owned() } else { table(head, &rows) };
        Self::one(&items, text)
    }

    /// One thing, for people as rows of name and value.
    pub(super) fn table(json: &impl Serialize, rows: &[[String; 2]]) -> Self {
        let rows: Vec<_> = rows.iter().map(|[name, value]| [format!("{name}:"), value.clone()]).collect();
        let [head, rest @ ..] = rows.as_slice() else { return Self::one(json, "") };
        Self::one(json, table(head.each_ref().map(String::as_str), rest))
    }

    /// The command did what it should, and what it found is bad: exit code 1.
    pub(super) fn bad(mut self) -> Self {
        self.good = false;
        self
    }

    /// One more line for people.
    pub(super) fn say(&mut self, line: &str) {
        self.text.push('\n');
        self.text.push_str(line);
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn good(&self) -> bool {
        self.good
    }

    pub(super) fn print(&self, json: bool) -> io::Result<()> {
        let Some(value) = &self.json else { return Ok(()) };
        let mut out = io::stdout().lock();
        let text: &dyn std::fmt::Display = if json { value } else { &self.text };
        writeln!(out, "{text}")?;
        out.flush()
    }
}

fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    // What users and callers named must not reach the operator's terminal as commands or as further lines.
    let plain = |cell: &String| cell.chars().filter(|c| !c.is_control()).collect::<String>();
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(plain)).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    });
    let line = |cells: [&str; N]| {
        let cells: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(head)];
    lines.extend(rows.iter().map(|row| line(std::array::from_fn(|column| row[column].as_str()))));
    lines.join("\n")
}

/// An optional value for a table.
pub(super) fn dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_cannot_command_the_terminal_or_forge_a_row() {
        let text = table(["A"], &[["x\u{1b}[2J\nforged\u{9b}0m".to_owned()]]);
        assert_eq!(text, "A\nx[2Jforged0m");
    }
}
