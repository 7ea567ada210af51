//! Markdown as plain text for a terminal: no stars and hashes, tables with their columns in line.

use pulldown_cmark::{Alignment, Event, Options, Parser, Tag, TagEnd};

/// Plain text of a piece of Markdown, ending in a line break unless it is empty.
#[must_use]
pub fn text(markdown: &str) -> String {
    let mut page = Page::default();
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        page.take(event);
    }
    let out = page.out.trim_end();
    if out.is_empty() { String::new() } else { format!("{out}\n") }
}

#[derive(Default)]
struct Page {
    out: String,
    /// Numbers of the open lists; `None`: dots.
    lists: Vec<Option<u64>>,
    table: Option<Table>,
}

#[derive(Default)]
struct Table {
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(Tag::Table(alignments)) => {
                let right = alignments.iter().map(|a| *a == Alignment::Right).collect();
                self.table = Some(Table { right, rows: Vec::new() });
            }
            Event::Start(Tag::TableHead | Tag::TableRow) => {
                if let Some(table) = &mut self.table {
                    table.rows.push(Vec::new());
                }
            }
            Event::Start(Tag::TableCell) => {
                if let Some(row) = self.table.as_mut().and_then(|t| t.rows.last_mut()) {
                    row.push(String::new());
                }
            }
            Event::End(TagEnd::Table) => {
                if let Some(table) = self.table.take() {
                    self.out.push_str(&table.text());
                    self.out.push('\n');
                }
            }
            Event::Start(Tag::List(first)) => {
                if !self.lists.is_empty() {
                    self.new_line();
                }
                self.lists.push(first);
            }
            Event::End(TagEnd::List(_)) => {
                self.lists.pop();
                if self.lists.is_empty() {
                    self.out.push('\n');
                }
            }
            Event::Start(Tag::Item) => {
                let depth = self.lists.len().saturating_sub(1);
                self.out.push_str(&"  ".repeat(depth));
                match self.lists.last_mut() {
                    Some(Some(n)) => {
                        self.out.push_str(&format!("{n}. "));
                        *n += 1;
                    }
                    _ => self.out.push_str("- "),
                }
            }
            Event::End(TagEnd::Item) => self.new_line(),
            Event::End(TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::CodeBlock) => {
                self.new_line();
                if self.lists.is_empty() {
                    self.out.push('\n');
                }
            }
            Event::Text(text) | Event::Code(text) | Event::Html(text) | Event::InlineHtml(text) => {
                self.push(&text)
            }
            Event::SoftBreak | Event::HardBreak => self.push("\n"),
            _ => {}
        }
    }

    /// Control characters could move the cursor, or worse.
    fn push(&mut self, text: &str) {
        let plain: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
        match self.table.as_mut().and_then(|t| t.rows.last_mut()).and_then(|r| r.last_mut()) {
            Some(cell) => cell.push_str(&plain),
            None => self.out.push_str(&plain),
        }
    }

    fn new_line(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }
}

impl Table {
    fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |i: usize| {
            self.rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = (0..columns)
                .map(|i| {
                    let cell = row.get(i).map_or("", String::as_str);
                    let space = " ".repeat(widths[i] - cell.chars().count());
                    if self.right.get(i) == Some(&true) {
                        format!("{space}{cell}")
                    } else {
                        format!("{cell}{space}")
                    }
                })
                .collect();
            format!("{}\n", cells.join("  ").trim_end())
        };
        let mut out = String::new();
        for (n, row) in self.rows.iter().enumerate() {
            out.push_str(&line(row));
            if n == 0 {
                let rule: Vec<String> = widths.iter().map(|w| "─".repeat(*w)).collect();
                out.push_str(&format!("{}\n", rule.join("  ")));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stand_in_line_and_marks_are_gone() {
        let text = text(
            "You **improve**:\n\n| | before | now |\n|---|---:|---:|\n| pitch | 70 | 84 |\n| clean sound | 8 | 90 |\n\n- `a`\n- b\n\n1. x\n2. y\u{1b}[31m",
        );
        assert_eq!(
            text,
            "You improve:\n\n             before  now\n───────────  ──────  ───\npitch            70   84\nclean sound       8   90\n\n- a\n- b\n\n1. x\n2. y[31m\n"
        );
    }
}
