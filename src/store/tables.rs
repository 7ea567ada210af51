//! The tables that leave this file whole: copied to a shared database, exported, imported. One description of each,
//! from which every statement is made; a test holds it against both schemas.

use std::collections::HashMap;
use std::fmt::Write;

use super::db::{Row, Tx, Value, sql_owned};
use super::{Store, StoreError};

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Float,
    Text,
}
use Kind::{Float, Int, Text};

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// Columns that name a row.
    pub(super) key: &'static [&'static str],
    /// The column that says to whose session or chat a row belongs.
    pub(super) parent: Option<&'static str>,
    /// When a row that is there already gives way to the one that comes.
    newer: &'static str,
}

/// Players. Their ids differ from machine to machine; they are joined by name.
pub(super) const USERS: Table = Table {
    name: "users",
    columns: &[("id", Text), ("name", Text), ("created_at", Int)],
    key: &["id"],
    parent: None,
    newer: "",
};

pub(super) const SETTINGS: Table = Table {
    name: "user_settings",
    columns: &[("user_id", Text), ("setup_json", Text), ("updated_at", Int)],
    key: &["user_id"],
    parent: None,
    newer: "excluded.updated_at >= user_settings.updated_at",
};

pub(super) const SESSIONS: Table = Table {
    name: "sessions",
    columns: &[
        ("id", Text),
        ("user_id", Text),
        ("deployment", Text),
        ("mode", Text),
        ("scale", Text),
        ("bpm", Float),
        ("input", Text),
        ("config_json", Text),
        ("started_at", Int),
        ("ended_at", Int),
        ("end_reason", Text),
        ("summary_json", Text),
        ("pitch_accuracy", Float),
        ("scale_conformity", Float),
        ("timing_stability", Float),
        ("noise_control", Float),
        ("overall", Float),
        ("trace_id", Text),
        ("owner", Text),
        ("plan_id", Text),
        ("note_count", Int),
        ("judged_count", Int),
        ("right_count", Int),
        ("practice_s", Float),
        ("mean_abs_cents", Float),
        ("timing_sd_ms", Float),
        ("played_bpm", Float),
        ("pitch_json", Text),
    ],
    key: &["id"],
    parent: None,
    // A copy made while it ran must not take back its end.
    newer: "excluded.ended_at IS NOT NULL OR sessions.ended_at IS NULL",
};

pub(super) const WINDOWS: Table = Table {
    name: "windows",
    columns: &[
        ("session_id", Text),
        ("idx", Int),
        ("start_s", Float),
        ("end_s", Float),
        ("closed_at", Int),
        ("pitch_accuracy", Float),
        ("scale_conformity", Float),
        ("timing_stability", Float),
        ("noise_control", Float),
        ("overall", Float),
        ("weakest", Text),
        ("strongest", Text),
        ("facts_json", Text),
        ("dsp_json", Text),
    ],
    key: &["session_id", "idx"],
    parent: Some("session_id"),
    newer: "",
};

pub(super) const NOTES: Table = Table {
    name: "notes",
    columns: &[
        ("session_id", Text),
        ("onset_s", Float),
        ("offset_s", Float),
        ("decided_s", Float),
        ("midi", Int),
        ("f0_hz", Float),
        ("cents", Float),
        ("level_db", Float),
        ("confidence", Float),
        ("gated", Int),
        ("in_scale", Int),
        ("deviation_ms", Float),
        ("is_right", Int),
        ("settled_s", Float),
        ("inharmonicity", Float),
        ("attack", Text),
        ("motion", Text),
        ("motion_cents", Float),
        ("place", Float),
        ("reason", Text),
        ("reason_value", Float),
    ],
    key: &["session_id", "onset_s"],
    parent: Some("session_id"),
    newer: "",
};

pub(super) const CHORDS: Table = Table {
    name: "chords",
    columns: &[
        ("session_id", Text),
        ("onset_s", Float),
        ("offset_s", Float),
        ("decided_s", Float),
        ("classes", Int),
        ("bass", Int),
        ("level_db", Float),
        ("confidence", Float),
        ("gated", Int),
        ("in_scale", Int),
        ("deviation_ms", Float),
    ],
    key: &["session_id", "onset_s"],
    parent: Some("session_id"),
    newer: "",
};

pub(super) const ADVICE: Table = Table {
    name: "advice",
    columns: &[
        ("id", Text),
        ("session_id", Text),
        ("kind", Text),
        ("given_at", Int),
        ("at_s", Float),
        ("window_idx", Int),
        ("body", Text),
        ("source", Text),
        ("prompt_version", Text),
        ("spoken", Int),
        ("trace_id", Text),
        ("span_id", Text),
    ],
    key: &["id"],
    parent: Some("session_id"),
    newer: "",
};

pub(super) const GAPS: Table = Table {
    name: "gaps",
    columns: &[("session_id", Text), ("seq", Int), ("from_s", Float), ("to_s", Float), ("cause", Text)],
    key: &["session_id", "seq"],
    parent: Some("session_id"),
    newer: "",
};

pub(super) const PLANS: Table = Table {
    name: "plans",
    columns: &[
        ("id", Text),
        ("user_id", Text),
        ("created_at", Int),
        ("source", Text),
        ("prompt_version", Text),
        ("status", Text),
        ("decided_at", Int),
        ("scale", Text),
        ("focus", Text),
        ("plan_json", Text),
        ("outcome_json", Text),
        ("trace_id", Text),
    ],
    key: &["id"],
    parent: None,
    newer: "excluded.decided_at >= plans.decided_at",
};

pub(super) const CHATS: Table = Table {
    name: "chats",
    columns: &[("id", Text), ("user_id", Text), ("title", Text), ("created_at", Int), ("updated_at", Int)],
    key: &["id"],
    parent: None,
    newer: "excluded.updated_at >= chats.updated_at",
};

pub(super) const MESSAGES: Table = Table {
    name: "chat_messages",
    columns: &[
        ("chat_id", Text),
        ("seq", Int),
        ("role", Text),
        ("content", Text),
        ("detail_json", Text),
        ("trace_id", Text),
        ("created_at", Int),
    ],
    key: &["chat_id", "seq"],
    parent: Some("chat_id"),
    newer: "excluded.created_at >= chat_messages.created_at",
};

/// All of them, each after those that it refers to.
pub(super) const ALL: [&Table; 11] =
    [&USERS, &SETTINGS, &PLANS, &SESSIONS, &WINDOWS, &NOTES, &CHORDS, &ADVICE, &GAPS, &CHATS, &MESSAGES];

/// What belongs to a session.
pub(super) const OF_SESSION: [&Table; 5] = [&WINDOWS, &NOTES, &CHORDS, &ADVICE, &GAPS];

/// Rows in one statement: few sizes, so that each is prepared once. A hundred rows of the widest table are 2,100
/// parameters, of 32,766 that SQLite and 65,535 that Postgres take.
const SIZES: [usize; 3] = [100, 10, 1];

/// The table of that name.
pub(super) fn by_name(name: &str) -> Option<&'static Table> {
    ALL.into_iter().find(|table| table.name == name)
}

impl Table {
    /// Place of a column.
    pub(super) fn place(&self, column: &str) -> usize {
        self.columns
            .iter()
            .position(|(name, _)| *name == column)
            .expect("constants name columns of their table")
    }

    /// `SELECT` of its columns, in order, with what follows.
    pub(super) fn select(&self, rest: &str) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        format!("SELECT {} FROM {} {rest}", columns.join(", "), self.name)
    }

    /// The values of a row of [`Table::select`].
    pub(super) fn read(&self, store: &Store, row: &Row) -> Result<Vec<Value>, StoreError> {
        let value = |(at, (_, kind)): (usize, &(&str, Kind))| match kind {
            Int => row.at(at).map(Value::Int),
            Float => row.at(at).map(Value::Float),
            Text => row.at(at).map(Value::Text),
        };
        self.columns.iter().enumerate().map(value).collect::<Result<_, _>>().map_err(|e| store.failed(e))
    }

    fn upsert_text(&self, rows: usize) -> String {
        let width = self.columns.len();
        let mut text = String::with_capacity(64 + rows * width * 6);
        let columns: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        // Writing into a text never fails.
        let _ = write!(text, "INSERT INTO {} ({}) VALUES ", self.name, columns.join(", "));
        for row in 0..rows {
            text.push_str(if row == 0 { "(" } else { ", (" });
            for column in 0..width {
                let comma = if column == 0 { "" } else { ", " };
                let _ = write!(text, "{comma}${}", row * width + column + 1);
            }
            text.push(')');
        }
        let rest = columns.iter().filter(|c| !self.key.contains(c));
        let rest: Vec<String> = rest.map(|c| format!("{c} = excluded.{c}")).collect();
        let _ = write!(text, " ON CONFLICT ({}) DO UPDATE SET {}", self.key.join(", "), rest.join(", "));
        if !self.newer.is_empty() {
            let _ = write!(text, " WHERE {}", self.newer);
        }
        text
    }

    /// Stores rows, each in place of the one with its key. Of rows with the same key the last counts.
    pub(super) async fn upsert(&self, tx: &mut Tx, rows: Vec<Vec<Value>>) -> Result<(), StoreError> {
        let mut rest = self.last_of_each(rows);
        for size in SIZES {
            while rest.len() >= size {
                let later = rest.split_off(size);
                sql_owned(self.upsert_text(size))
                    .bind_all(rest.into_iter().flatten())
                    .execute(&mut *tx)
                    .await?;
                rest = later;
            }
        }
        Ok(())
    }

    /// Postgres refuses a statement that stores the same row twice.
    fn last_of_each(&self, rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
        let places: Vec<usize> = self.key.iter().map(|column| self.place(column)).collect();
        let mut last: HashMap<Vec<String>, usize> = HashMap::with_capacity(rows.len());
        for (n, row) in rows.iter().enumerate() {
            last.insert(places.iter().map(|at| format!("{:?}", row[*at])).collect(), n);
        }
        if last.len() == rows.len() {
            return rows;
        }
        let kept: std::collections::HashSet<usize> = last.into_values().collect();
        rows.into_iter().enumerate().filter(|(n, _)| kept.contains(n)).map(|(_, row)| row).collect()
    }

    /// The rows of one session or chat, up to `limit` of them after the row with key `after` (the last column of the
    /// key), in order of the key.
    pub(super) async fn page(
        &self,
        store: &Store,
        parent: &str,
        after: Option<&Value>,
        limit: i64,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        let (column, key) =
            (self.parent.expect("only rows that belong to something"), self.key[self.key.len() - 1]);
        let rows = match after {
            None => sql_owned(self.select(&format!("WHERE {column} = $1 ORDER BY {key} LIMIT $2")))
                .bind(parent)
                .bind(limit),
            Some(after) => {
                sql_owned(self.select(&format!("WHERE {column} = $1 AND {key} > $3 ORDER BY {key} LIMIT $2")))
                    .bind(parent)
                    .bind(limit)
                    .bind_all([after.clone()])
            }
        };
        rows.all(store.reader()).await?.iter().map(|row| self.read(store, row)).collect()
    }

    /// The last column of a row's key.
    pub(super) fn last_key<'r>(&self, row: &'r [Value]) -> &'r Value {
        &row[self.place(self.key[self.key.len() - 1])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sql;

    #[tokio::test]
    async fn tables_are_as_described() {
        let store = Store::memory().await.unwrap();
        for table in ALL {
            let columns: Vec<String> =
                sql_owned(format!("SELECT name FROM pragma_table_info('{}')", table.name))
                    .scalars(store.reader())
                    .await
                    .unwrap();
            let mut described: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
            let mut found: Vec<&str> = columns.iter().map(String::as_str).collect();
            described.sort_unstable();
            found.sort_unstable();
            assert_eq!(described, found, "{}", table.name);
            let types: Vec<String> = sql("SELECT type FROM pragma_table_info($1) ORDER BY name")
                .bind(table.name)
                .scalars(store.reader())
                .await
                .unwrap();
            let mut kinds: Vec<_> = table.columns.to_vec();
            kinds.sort_unstable_by_key(|(name, _)| *name);
            let kinds: Vec<&str> = kinds
                .iter()
                .map(|(_, kind)| match kind {
                    Int => "BIGINT",
                    Float => "DOUBLE PRECISION",
                    Text => "TEXT",
                })
                .collect();
            assert_eq!(kinds, types, "{}", table.name);
        }
    }

    #[test]
    fn of_rows_with_one_key_the_last_counts() {
        let row = |id: &str, n: i64| vec![id.into(), n.into(), 0.0.into(), 0.0.into(), "x".into()];
        let kept = GAPS.last_of_each(vec![row("a", 1), row("a", 2), row("b", 1), row("a", 1)]);
        assert_eq!(kept, [row("a", 2), row("b", 1), row("a", 1)]);
    }
}
