//! The tools of the model: how they are described to it, and how rows are told.

use serde_json::{Value, json};

use super::graph::{Node, Outcome};
use crate::llm::Tool;
use crate::practice::plan;
use crate::store::query::{Dialect, Rows, views};

/// Rows that a model is told of one query; it can aggregate in SQL.
const ROWS_TOLD: usize = 30;
/// Characters of one value.
const CELL_TOLD: usize = 80;
/// Characters of all rows together: about a thousand tokens.
const TOLD: usize = 3500;

/// The node of a tool by its name.
pub fn outcome(name: &str) -> Outcome {
    match name {
        n if n == Node::Schema.id() => Outcome::CallsSchema,
        n if n == Node::Query.id() => Outcome::CallsQuery,
        n if n == Node::Plan.id() => Outcome::CallsPlan,
        _ => Outcome::Unknown,
    }
}

/// All tools.
pub fn all(dialect: Dialect) -> Vec<Tool> {
    let none = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let sql = json!({
        "type": "object",
        "properties": { "sql": { "type": "string", "description": format!("one {} SELECT", dialect.name()) } },
        "required": ["sql"],
        "additionalProperties": false,
    });
    vec![
        Tool {
            name: Node::Schema.id().into(),
            description: "Tells the tables, columns and functions that queries can use.".into(),
            parameters: none,
        },
        Tool {
            name: Node::Query.id().into(),
            description: "Runs one SELECT over this player's practice history and returns its rows.".into(),
            parameters: sql,
        },
        Tool {
            name: Node::Plan.id().into(),
            description: "Shows the player a practice plan with a button that saves it. Use it only when they want a plan."
                .into(),
            parameters: plan::schema(),
        },
    ]
}

/// The query in a call's arguments.
pub fn query_of(arguments: &str) -> Result<String, String> {
    let value: Value =
        serde_json::from_str(arguments).map_err(|e| format!("the arguments are no JSON: {e}"))?;
    let sql = ["sql", "query", "sql_query"].iter().find_map(|k| value.get(k)?.as_str());
    sql.map(|s| s.trim().to_owned())
        .filter(|s| !s.is_empty())
        .ok_or_else(|| "the argument `sql` is missing".into())
}

/// Rows as text for the model, trimmed.
pub fn told(rows: &Rows) -> String {
    if rows.rows.is_empty() {
        return "no rows".into();
    }
    let mut out = rows.columns.join(" | ");
    let mut count = 0;
    for row in rows.rows.iter().take(ROWS_TOLD) {
        let cells: Vec<String> = row
            .iter()
            .map(|c| {
                let text = c.to_string();
                let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                if text.chars().count() > CELL_TOLD {
                    text.chars().take(CELL_TOLD).chain(['…']).collect()
                } else {
                    text
                }
            })
            .collect();
        let line = cells.join(" | ");
        if out.len() + line.len() > TOLD {
            break;
        }
        out.push('\n');
        out.push_str(&line);
        count += 1;
    }
    let all = rows.rows.len();
    if count < all || rows.more {
        let more = if rows.more { "more than " } else { "" };
        out.push_str(&format!("\n({count} of {more}{all} rows shown; the chart gets them all)"));
    }
    out
}

/// What to add to a failure that names something the tables do not have: the columns of the tables in the query.
pub fn hint(sql: &str, error: &str) -> String {
    if !["no such column", "does not exist", "ambiguous"].iter().any(|w| error.contains(w)) {
        return String::new();
    }
    let sql = sql.to_lowercase();
    let tables = views::VIEWS.iter().filter(|v| sql.contains(v.name)).map(|v| {
        let columns: Vec<&str> = v.columns.iter().map(|c| c.name).collect();
        format!("\n{}: {}", v.name, columns.join(", "))
    });
    tables.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::query::Cell;

    #[test]
    fn rows_are_trimmed_before_a_model_reads_them() {
        let row = |n: i64| vec![Cell::Whole(n), Cell::Text("x".repeat(500))];
        let rows = Rows {
            columns: vec!["n".into(), "words".into()],
            rows: (0..200).map(row).collect(),
            more: true,
            ..Rows::default()
        };
        let text = told(&rows);
        assert!(text.len() < TOLD + 200, "{}", text.len());
        assert!(
            text.contains("30 of more than 200 rows") && !text.contains(&"x".repeat(CELL_TOLD + 1)),
            "{text}"
        );
        assert_eq!(told(&Rows::default()), "no rows");
    }

    #[test]
    fn a_wrong_column_is_answered_with_the_right_ones() {
        assert!(
            hint("SELECT score FROM sessions", "no such column: score")
                .contains("sessions: session, recency")
        );
        assert_eq!(hint("SELECT score FROM sessions", "syntax error"), "");
    }
}
