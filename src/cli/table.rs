//! Plain tables for the terminal.

/// Head of a column and where its cells stand.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    head: &'static str,
    right: bool,
}

impl Column {
    /// Words.
    #[must_use]
    pub const fn left(head: &'static str) -> Self {
        Self { head, right: false }
    }

    /// Numbers.
    #[must_use]
    pub const fn right(head: &'static str) -> Self {
        Self { head, right: true }
    }
}

/// A table with its head, two spaces between columns, no spaces at line ends.
#[must_use]
pub fn render(columns: &[Column], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        let cells = rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count());
        cells.chain([columns[i].head.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(columns.iter().zip(&widths))
            .map(
                |(cell, (column, &w))| {
                    if column.right { format!("{cell:>w$}") } else { format!("{cell:<w$}") }
                },
            )
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut out = line(&mut columns.iter().map(|c| c.head));
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

/// Each line two spaces further right.
#[must_use]
pub fn indent(text: &str) -> String {
    text.lines().map(|l| format!("  {l}\n")).collect()
}
