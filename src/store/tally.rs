//! What pages need to know of a session without reading its notes: counted once when the session ends, and on the spot
//! for the few sessions that still run.

use serde::Serialize;

use super::{Row, SessionId, Store, StoreError, sql};
use crate::practice::types::Summary;

/// A rest up to here belongs to practising, seconds: long enough to listen to a piece of advice, read a bar or shake out
/// the hand. Of a longer one so much counts, so that a session left running by itself adds nothing.
pub const REST_S: f64 = 20.0;

/// Sessions tallied in one transaction: others that write wait no longer than a moment.
const AT_ONCE: usize = 50;

/// A session in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Notes stored (gated ones too).
    pub note_count: u64,
    /// Notes judged.
    pub judged_count: u64,
    /// Notes right by every enabled metric.
    pub right_count: u64,
    /// Seconds in which something was played: from stroke to stroke, of each rest at most [`REST_S`].
    pub practice_s: f64,
    /// Mean absolute deviation, cents, once the session is summed up.
    pub mean_abs_cents: Option<f64>,
    /// Spread about the grid, ms, once the session is summed up.
    pub timing_sd_ms: Option<f64>,
    /// Tempo set, else heard, beats per minute.
    pub bpm: Option<f64>,
    /// Pitches played, lowest first.
    pub pitches: Vec<PitchTally>,
}

/// How often a pitch was played, and how often right. As JSON `[midi, judged, right]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PitchTally {
    /// MIDI number.
    pub midi: u8,
    /// Times judged.
    pub judged: u64,
    /// Times right.
    pub right: u64,
}

impl Serialize for PitchTally {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.midi, self.judged, self.right).serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for PitchTally {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (midi, judged, right) = serde::Deserialize::deserialize(deserializer)?;
        Ok(Self { midi, judged, right })
    }
}

/// A note or chord as the tally needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stroke {
    /// Seconds on the session's clock.
    pub onset: f64,
    /// Seconds on the session's clock.
    pub offset: f64,
    /// The note, if it was one, with its verdict: `None` where it was not judged.
    pub note: Option<(u8, Option<bool>)>,
}

impl Tally {
    /// Counts strokes, in any order.
    #[must_use]
    pub fn of(mut strokes: Vec<Stroke>) -> Self {
        strokes.sort_by(|a, b| a.onset.total_cmp(&b.onset));
        let mut tally = Self { practice_s: practice_seconds(&strokes), ..Self::default() };
        let mut pitches = [(0, 0); 128];
        for (midi, verdict) in strokes.iter().filter_map(|s| s.note) {
            tally.note_count += 1;
            if let Some(right) = verdict {
                tally.judged_count += 1;
                tally.right_count += u64::from(right);
                let (judged_here, right_here) = &mut pitches[usize::from(midi.min(127))];
                *judged_here += 1;
                *right_here += u64::from(right);
            }
        }
        tally.pitches = (0..128)
            .zip(pitches)
            .filter(|(_, (judged, _))| *judged > 0)
            .map(|(midi, (judged, right))| PitchTally { midi, judged, right })
            .collect();
        tally
    }
}

/// Seconds of playing in strokes that stand in order.
fn practice_seconds(strokes: &[Stroke]) -> f64 {
    let between: f64 = strokes.windows(2).map(|pair| (pair[1].onset - pair[0].onset).min(REST_S)).sum();
    let last = strokes.last().map_or(0.0, |s| (s.offset - s.onset).clamp(0.0, REST_S));
    between + last
}

impl Store {
    /// Counts one session anew from its notes, chords and summary, and keeps the figures beside it.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn tally(&self, session: &SessionId) -> Result<(), StoreError> {
        let id = session.to_string();
        let tally = self.count_session(&id).await?;
        self.keep_tally(&id, &tally).await
    }

    /// Counts ended sessions that have no figures: those from before there were any, and imported ones.
    ///
    /// # Errors
    /// When the store cannot be read or written; those counted before that stay counted.
    pub async fn tally_missing(&self) -> Result<u64, StoreError> {
        let ids: Vec<String> =
            sql("SELECT id FROM sessions WHERE note_count IS NULL AND ended_at IS NOT NULL ORDER BY id")
                .scalars(self.reader())
                .await?;
        for some in ids.chunks(AT_ONCE) {
            let mut counted = Vec::with_capacity(some.len());
            for id in some {
                counted.push(self.count_session(id).await?);
            }
            let mut tx = self.begin().await?;
            for (id, tally) in some.iter().zip(&counted) {
                self.update(id, tally)?.execute(&mut tx).await?;
            }
            tx.commit().await?;
        }
        Ok(ids.len() as u64)
    }

    async fn keep_tally(&self, id: &str, tally: &Tally) -> Result<(), StoreError> {
        self.update(id, tally)?.execute(self.writer()).await?;
        Ok(())
    }

    fn update(&self, id: &str, tally: &Tally) -> Result<super::db::Sql, StoreError> {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let update = sql(
            "UPDATE sessions SET note_count = $2, judged_count = $3, right_count = $4, practice_s = $5, \
             mean_abs_cents = $6, timing_sd_ms = $7, played_bpm = $8, pitch_json = $9 WHERE id = $1",
        );
        Ok(update
            .bind(id)
            .bind(number(tally.note_count))
            .bind(number(tally.judged_count))
            .bind(number(tally.right_count))
            .bind(tally.practice_s)
            .bind(tally.mean_abs_cents)
            .bind(tally.timing_sd_ms)
            .bind(tally.bpm)
            .bind(self.json("the pitches of a session", &tally.pitches)?))
    }

    /// The figures of a session, from its notes.
    pub(super) async fn count_session(&self, id: &str) -> Result<Tally, StoreError> {
        let notes = sql("SELECT onset_s, offset_s, midi, gated, is_right FROM notes WHERE session_id = $1")
            .bind(id)
            .all(self.reader())
            .await?;
        let chords = sql("SELECT onset_s, offset_s FROM chords WHERE session_id = $1")
            .bind(id)
            .all(self.reader())
            .await?;
        let mut strokes = Vec::with_capacity(notes.len() + chords.len());
        for row in &notes {
            let midi: i64 = self.get(row, "midi")?;
            let midi = u8::try_from(midi).map_err(|e| self.unreadable("a note", e))?;
            let judged = self.get::<i64>(row, "gated")? == 0;
            let right = self.get::<i64>(row, "is_right")? != 0;
            strokes.push(self.stroke(row, Some((midi, judged.then_some(right))))?);
        }
        for row in &chords {
            strokes.push(self.stroke(row, None)?);
        }
        let mut tally = Tally::of(strokes);
        let row =
            sql("SELECT bpm, summary_json FROM sessions WHERE id = $1").bind(id).one(self.reader()).await?;
        tally.bpm = self.get(&row, "bpm")?;
        if let Some(text) = self.get::<Option<String>>(&row, "summary_json")? {
            let facts = self.parse::<Summary>("the summary of a session", &text)?.facts;
            tally.mean_abs_cents = facts.mean_abs_cents;
            tally.timing_sd_ms = facts.timing_sd_ms;
            tally.bpm = tally.bpm.or(facts.bpm);
        }
        Ok(tally)
    }

    fn stroke(&self, row: &Row, note: Option<(u8, Option<bool>)>) -> Result<Stroke, StoreError> {
        Ok(Stroke { onset: self.get(row, "onset_s")?, offset: self.get(row, "offset_s")?, note })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(onset: f64, midi: u8, verdict: Option<bool>) -> Stroke {
        Stroke { onset, offset: onset + 0.5, note: Some((midi, verdict)) }
    }

    #[test]
    fn a_tally_counts_what_was_judged_and_what_was_right() {
        let chord = Stroke { onset: 1.0, offset: 2.0, note: None };
        let tally = Tally::of(vec![
            note(3.0, 60, None),
            chord,
            note(0.0, 57, Some(true)),
            note(2.0, 57, Some(false)),
        ]);
        assert_eq!((tally.note_count, tally.judged_count, tally.right_count), (3, 2, 1));
        assert_eq!(tally.pitches, [PitchTally { midi: 57, judged: 2, right: 1 }]);
        assert_eq!(tally.practice_s, 3.5);
        assert_eq!(serde_json::to_string(&tally.pitches).unwrap(), "[[57,2,1]]");
    }

    #[test]
    fn a_long_rest_counts_no_more_than_a_short_one() {
        assert_eq!(Tally::of(Vec::new()).practice_s, 0.0);
        let hours_later = Tally::of(vec![note(0.0, 57, Some(true)), note(9000.0, 57, Some(true))]);
        assert_eq!(hours_later.practice_s, REST_S + 0.5);
    }
}
