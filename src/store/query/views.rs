//! What a query can see: tables with friendly names that hold one player's practice. One description per table and column,
//! from which the views of both engines and the schema that a model is told are made.
//!
//! Days, weeks and months are texts in local time, and `days_ago` counts back from today, so that questions of time need no
//! date functions and read the same on both engines.

use super::Dialect;

/// A column of a view.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// `TEXT`, `BIGINT` or `DOUBLE PRECISION`.
    pub kind: &'static str,
    /// What it holds, with unit and range.
    pub about: &'static str,
}

/// A view.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Its name in queries.
    pub name: &'static str,
    /// What a row is.
    pub about: &'static str,
    /// In order; the body yields them so.
    pub columns: &'static [Column],
}

const fn text(name: &'static str, about: &'static str) -> Column {
    Column { name, kind: "TEXT", about }
}
const fn whole(name: &'static str, about: &'static str) -> Column {
    Column { name, kind: "BIGINT", about }
}
const fn real(name: &'static str, about: &'static str) -> Column {
    Column { name, kind: "DOUBLE PRECISION", about }
}

const SESSION: Column = text("session", "the session's id; joins all tables");
const DAY: Column = text("day", "'2026-11-20', local");
const DAYS_AGO: Column = whole("days_ago", "0 is today, 1 yesterday; the last 7 days are days_ago < 7");
const PITCH: Column = real("pitch_score", "in tune, 0-100; NULL: not measured");
const SCALE_SCORE: Column = real("scale_score", "notes in the scale, 0-100");
const TIMING: Column = real("timing_score", "evenness of timing, 0-100");
const CLEAN: Column = real("clean_score", "little unwanted noise, 0-100");
const OVERALL: Column = real("overall_score", "all scores weighed, 0-100");
const SCALE: Column = text("scale", "as 'A minor pentatonic'; NULL: none chosen");

/// All views, those that others rest on first.
pub const VIEWS: &[View] = &[
    View {
        name: "sessions",
        about: "one row per practice session",
        columns: &[
            SESSION,
            whole("recency", "1 is the latest session, 2 the one before"),
            text("started_at", "'2026-11-20 18:30', local"),
            DAY,
            text("week", "the Monday of its week, '2026-11-16'"),
            text("month", "'2026-11'"),
            text("weekday", "'Mon' to 'Sun'"),
            DAYS_AGO,
            real("minutes", "length"),
            SCALE,
            real("bpm", "metronome tempo; NULL or 0: free"),
            text("plan", "the plan it carried out, NULL: none"),
            PITCH,
            SCALE_SCORE,
            TIMING,
            CLEAN,
            OVERALL,
            whole("notes", "notes judged"),
            real("cents_off", "mean deviation from pitch, cents, 0 is perfect"),
            real("timing_spread_ms", "spread about the beat, ms, small is even"),
            text("tendency", "'rushing', 'dragging' or 'steady'"),
        ],
    },
    View {
        name: "windows",
        about: "a session in stretches of about half a minute",
        columns: &[
            SESSION,
            DAY,
            whole("number", "1 is the first of its session"),
            real("from_s", "seconds into the session"),
            real("to_s", "seconds into the session"),
            PITCH,
            SCALE_SCORE,
            TIMING,
            CLEAN,
            OVERALL,
            text("weakest", "'pitch_accuracy', 'scale_conformity', 'timing_stability' or 'noise_control'"),
        ],
    },
    View {
        name: "notes",
        about: "every judged note; large, so aggregate it",
        columns: &[
            SESSION,
            DAY,
            real("at_s", "seconds into the session"),
            text("note", "'A', 'C#', without octave"),
            whole("octave", "scientific: the open low E is E2"),
            whole("midi", "MIDI number"),
            real("cents", "deviation, flat negative"),
            real("early_late_ms", "from the beat, early negative; NULL: no beat known"),
            whole("in_scale", "1 or 0; NULL: no scale"),
            whole("is_right", "1 or 0: nothing marked wrong"),
            text("mistake", "why it was marked wrong; NULL: right"),
            text("attack", "'picked', 'hammer_on', 'pull_off', 'slide'"),
            text("motion", "'steady', 'vibrato', 'bend', 'release', 'slide'"),
        ],
    },
    View {
        name: "advice",
        about: "what the coach said",
        columns: &[
            SESSION,
            text("given_at", "'2026-11-20 18:31', local"),
            DAY,
            real("at_s", "seconds into the session"),
            text("kind", "'live' or 'summary'"),
            text("words", "its words"),
        ],
    },
    View {
        name: "plans",
        about: "practice plans",
        columns: &[
            text("plan", "the plan's id; joins sessions.plan"),
            text("created_at", "'2026-11-20 18:31', local"),
            DAY,
            DAYS_AGO,
            text("status", "'pending', 'accepted', 'done' or 'dismissed'"),
            text("scale", "NULL: any"),
            text("focus", "what it works on"),
        ],
    },
    View {
        name: "scales",
        about: "one row per scale practised, with averages over its sessions",
        columns: &[
            text("scale", "as 'A minor pentatonic'"),
            whole("sessions", "how many"),
            real("minutes", "in all"),
            whole("last_days_ago", "days since it was last practised"),
            real("average_score", "mean overall score"),
            real("best_score", "best overall score"),
        ],
    },
    View {
        name: "days",
        about: "one row per day with practice",
        columns: &[
            DAY,
            DAYS_AGO,
            whole("sessions", "how many"),
            real("minutes", "in all"),
            real("average_score", "mean overall score"),
        ],
    },
];

/// Names of all views.
#[must_use]
pub fn names() -> Vec<&'static str> {
    VIEWS.iter().map(|v| v.name).collect()
}

/// The schema as a model is told of it.
#[must_use]
pub fn schema(dialect: Dialect) -> String {
    let mut out = format!(
        "SQL dialect: {}. One SELECT per call, only these tables, without schema names. All rows are this player's.\n",
        dialect.name()
    );
    for view in VIEWS {
        out.push_str(&format!("\n{}: {}\n", view.name, view.about));
        for c in view.columns {
            out.push_str(&format!("  {} {}: {}\n", c.name, c.kind, c.about));
        }
    }
    out.push_str(&format!("\nFunctions: {}\n", super::guard::functions(dialect).join(", ")));
    out
}

/// How the two engines say the same; what differs stands side by side.
pub(super) struct Words<'a> {
    pub dialect: Dialect,
    /// Schema of the tables: `main`, or its quoted name on Postgres.
    pub base: &'a str,
    /// An expression that yields the id of the asking user.
    pub asker: &'a str,
    /// Before the name of each view that a body names.
    pub inner: &'a str,
}

impl Words<'_> {
    /// A moment in microseconds as local text: SQLite's and Postgres' patterns.
    fn local(&self, micros: &str, sqlite: &str, postgres: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => format!("strftime('{sqlite}', {micros} / 1000000, 'unixepoch', 'localtime')"),
            Dialect::Postgres => format!("to_char(to_timestamp({micros} / 1000000.0), '{postgres}')"),
        }
    }

    fn day(&self, micros: &str) -> String {
        self.local(micros, "%Y-%m-%d", "YYYY-MM-DD")
    }

    fn minute(&self, micros: &str) -> String {
        self.local(micros, "%Y-%m-%d %H:%M", "YYYY-MM-DD HH24:MI")
    }

    fn month(&self, micros: &str) -> String {
        self.local(micros, "%Y-%m", "YYYY-MM")
    }

    fn week(&self, micros: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => {
                format!("date({micros} / 1000000, 'unixepoch', 'localtime', '-6 days', 'weekday 1')")
            }
            Dialect::Postgres => {
                format!("to_char(date_trunc('week', to_timestamp({micros} / 1000000.0)), 'YYYY-MM-DD')")
            }
        }
    }

    fn weekday(&self, micros: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => {
                let digit = self.local(micros, "%w", "");
                format!("substr('SunMonTueWedThuFriSat', CAST({digit} AS INTEGER) * 3 + 1, 3)")
            }
            Dialect::Postgres => self.local(micros, "", "Dy"),
        }
    }

    fn days_ago(&self, micros: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => {
                let day = self.day(micros);
                format!("CAST(julianday(date('now', 'localtime')) - julianday({day}) AS INTEGER)")
            }
            Dialect::Postgres => {
                format!("CAST(current_date - CAST(to_timestamp({micros} / 1000000.0) AS date) AS bigint)")
            }
        }
    }

    /// A value of a JSON column, or NULL.
    fn json(&self, column: &str, path: &[&str], kind: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => format!("json_extract({column}, '$.{}')", path.join(".")),
            Dialect::Postgres => {
                format!("CAST(CAST({column} AS json) #>> '{{{}}}' AS {kind})", path.join(","))
            }
        }
    }

    /// The asking user's rows of a table, by a subquery that no condition from outside is moved into: what fails on
    /// another's row would tell of it. (Postgres' views are security barriers.)
    fn mine(&self, table: &str) -> String {
        let Words { base, asker, .. } = self;
        let barrier = match self.dialect {
            Dialect::Sqlite => " LIMIT -1",
            Dialect::Postgres => "",
        };
        format!("(SELECT * FROM {base}.{table} WHERE user_id = {asker}{barrier})")
    }

    /// The select that a view of this name is made of.
    pub fn body(&self, view: &str) -> String {
        let Words { base, inner, .. } = self;
        let scores = |t: &str| {
            ["pitch_accuracy", "scale_conformity", "timing_stability", "noise_control", "overall"]
                .map(|c| format!("{t}.{c}"))
                .join(", ")
        };
        // A session's rows in another table: the asker's sessions are the outer loop of the join.
        let joined = |table: &str| {
            format!("{} s CROSS JOIN {base}.{table} t WHERE t.session_id = s.id", self.mine("sessions"))
        };
        let day = self.day("s.started_at");
        match view {
            "sessions" => {
                let json = |path: &[&str], kind| self.json("s.summary_json", path, kind);
                format!(
                    "SELECT s.id, CAST(ROW_NUMBER() OVER (ORDER BY s.started_at DESC, s.id DESC) AS BIGINT), \
                     {minute}, {day}, {week}, {month}, {weekday}, {ago}, \
                     COALESCE({duration}, (s.ended_at - s.started_at) / 1000000.0) / 60.0, s.scale, s.bpm, s.plan_id, \
                     {scores}, {count}, {cents}, {spread}, {tendency} FROM {mine} s",
                    minute = self.minute("s.started_at"),
                    week = self.week("s.started_at"),
                    month = self.month("s.started_at"),
                    weekday = self.weekday("s.started_at"),
                    ago = self.days_ago("s.started_at"),
                    duration = json(&["duration"], "double precision"),
                    scores = scores("s"),
                    count = json(&["facts", "note_count"], "bigint"),
                    cents = json(&["facts", "mean_abs_cents"], "double precision"),
                    spread = json(&["facts", "timing_sd_ms"], "double precision"),
                    tendency = json(&["facts", "tendency"], "text"),
                    mine = self.mine("sessions"),
                )
            }
            "windows" => format!(
                "SELECT t.session_id, {day}, t.idx + 1, t.start_s, t.end_s, {}, t.weakest FROM {}",
                scores("t"),
                joined("windows")
            ),
            "notes" => format!(
                "SELECT t.session_id, {day}, t.onset_s, \
                 trim(substr('C C#D D#E F F#G G#A A#B ', CAST(t.midi % 12 AS INTEGER) * 2 + 1, 2)), t.midi / 12 - 1, \
                 t.midi, t.cents, t.deviation_ms, t.in_scale, t.is_right, t.reason, t.attack, t.motion \
                 FROM {} AND t.gated = 0",
                joined("notes")
            ),
            "advice" => format!(
                "SELECT t.session_id, {}, {}, t.at_s, t.kind, substr(t.body, 1, 2000) FROM {}",
                self.minute("t.given_at"),
                self.day("t.given_at"),
                joined("advice")
            ),
            "plans" => format!(
                "SELECT p.id, {}, {}, {}, p.status, p.scale, substr(p.focus, 1, 500) FROM {} p",
                self.minute("p.created_at"),
                self.day("p.created_at"),
                self.days_ago("p.created_at"),
                self.mine("plans")
            ),
            "scales" => format!(
                "SELECT scale, CAST(COUNT(*) AS BIGINT), CAST(SUM(minutes) AS DOUBLE PRECISION), MIN(days_ago), \
                 AVG(overall_score), MAX(overall_score) FROM {inner}sessions WHERE scale IS NOT NULL GROUP BY scale"
            ),
            _ => format!(
                "SELECT day, MIN(days_ago), CAST(COUNT(*) AS BIGINT), CAST(SUM(minutes) AS DOUBLE PRECISION), \
                 AVG(overall_score) FROM {inner}sessions GROUP BY day"
            ),
        }
    }
}
