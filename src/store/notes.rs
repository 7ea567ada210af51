//! The notes and chords of a session.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Row, SessionId, Store, StoreError, Tx, sql};
use crate::dsp::event::{ChordEvent, NoteEvent, PitchClasses, Technique};
use crate::practice::types::{JudgedChord, JudgedNote, Reason};

impl Store {
    pub(super) async fn insert_note(
        &self,
        tx: &mut Tx,
        session: &str,
        judged: &JudgedNote,
    ) -> Result<(), StoreError> {
        let note = &judged.note;
        sql(
            "INSERT INTO notes (session_id, onset_s, offset_s, decided_s, midi, f0_hz, cents, level_db, \
             confidence, gated, in_scale, deviation_ms, is_right, place, reason, reason_value, settled_s, \
             inharmonicity, attack, motion, motion_cents) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
             $21) \
             ON CONFLICT (session_id, onset_s) DO UPDATE SET offset_s = excluded.offset_s, \
             in_scale = excluded.in_scale, deviation_ms = excluded.deviation_ms, is_right = excluded.is_right, \
             place = excluded.place, reason = excluded.reason, reason_value = excluded.reason_value",
        )
        .bind(session)
        .bind(note.onset)
        .bind(note.offset)
        .bind(note.t)
        .bind(i64::from(note.midi))
        .bind(f64::from(note.f0))
        .bind(f64::from(note.cents))
        .bind(f64::from(note.level_db))
        .bind(f64::from(note.confidence))
        .bind(i64::from(note.gated))
        .bind(judged.in_scale.map(i64::from))
        .bind(judged.deviation_ms)
        .bind(i64::from(judged.right))
        .bind(judged.place)
        .bind(judged.reason.map(Reason::code))
        .bind(judged.reason.map(Reason::value))
        .bind(note.settled)
        .bind(note.inharmonicity.map(f64::from))
        .bind(self.word_of(&note.technique.attack)?)
        .bind(self.word_of(&note.technique.motion)?)
        .bind(f64::from(note.technique.motion_cents))
        .execute(&mut *tx).await?;
        Ok(())
    }

    pub(super) async fn insert_chord(
        &self,
        tx: &mut Tx,
        session: &str,
        judged: &JudgedChord,
    ) -> Result<(), StoreError> {
        let chord = &judged.chord;
        sql(
            "INSERT INTO chords (session_id, onset_s, offset_s, decided_s, classes, bass, level_db, confidence, \
             gated, in_scale, deviation_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (session_id, onset_s) DO UPDATE SET offset_s = excluded.offset_s, \
             in_scale = excluded.in_scale, deviation_ms = excluded.deviation_ms",
        )
        .bind(session)
        .bind(chord.onset)
        .bind(chord.offset)
        .bind(chord.t)
        .bind(i64::from(chord.classes.0))
        .bind(chord.bass.map(i64::from))
        .bind(f64::from(chord.level_db))
        .bind(f64::from(chord.confidence))
        .bind(i64::from(chord.gated))
        .bind(judged.in_scale.map(i64::from))
        .bind(judged.deviation_ms)
        .execute(&mut *tx).await?;
        Ok(())
    }

    /// The notes of a session, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn notes(&self, session: &SessionId) -> Result<Vec<JudgedNote>, StoreError> {
        let rows = self.rows_of(session, "SELECT onset_s, offset_s, decided_s, midi, f0_hz, cents, level_db, confidence, gated, in_scale, \
             deviation_ms, is_right, place, reason, reason_value, settled_s, inharmonicity, attack, motion, \
             motion_cents FROM notes WHERE session_id = $1 ORDER BY onset_s").await?;
        rows.iter()
            .map(|row| {
                let midi: i64 = self.get(row, "midi")?;
                let decided: f64 = self.get(row, "decided_s")?;
                Ok(JudgedNote {
                    note: NoteEvent {
                        onset: self.get(row, "onset_s")?,
                        offset: self.get(row, "offset_s")?,
                        t: decided,
                        midi: u8::try_from(midi).map_err(|e| self.unreadable("a note", e))?,
                        f0: self.get::<f64>(row, "f0_hz")? as f32,
                        cents: self.get::<f64>(row, "cents")? as f32,
                        level_db: self.get::<f64>(row, "level_db")? as f32,
                        confidence: self.get::<f64>(row, "confidence")? as f32,
                        settled: self.get::<Option<f64>>(row, "settled_s")?.unwrap_or(decided),
                        inharmonicity: self.get::<Option<f64>>(row, "inharmonicity")?.map(|b| b as f32),
                        technique: self.technique(row)?,
                        gated: self.get::<i64>(row, "gated")? != 0,
                    },
                    in_scale: self.get::<Option<i64>>(row, "in_scale")?.map(|n| n != 0),
                    deviation_ms: self.get(row, "deviation_ms")?,
                    right: self.get::<i64>(row, "is_right")? != 0,
                    place: self.get(row, "place")?,
                    reason: self
                        .get::<Option<String>>(row, "reason")?
                        .zip(self.get::<Option<f64>>(row, "reason_value")?)
                        .and_then(|(code, value)| Reason::of(&code, value)),
                })
            })
            .collect()
    }

    /// The chords of a session, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn chords(&self, session: &SessionId) -> Result<Vec<JudgedChord>, StoreError> {
        let rows = self
            .rows_of(
                session,
                "SELECT onset_s, offset_s, decided_s, classes, bass, level_db, confidence, gated, in_scale, \
             deviation_ms FROM chords WHERE session_id = $1 ORDER BY onset_s",
            )
            .await?;
        rows.iter()
            .map(|row| {
                let unreadable = |e| self.unreadable("a chord", e);
                let bass: Option<i64> = self.get(row, "bass")?;
                Ok(JudgedChord {
                    chord: ChordEvent {
                        onset: self.get(row, "onset_s")?,
                        offset: self.get(row, "offset_s")?,
                        t: self.get(row, "decided_s")?,
                        classes: PitchClasses(
                            u16::try_from(self.get::<i64>(row, "classes")?).map_err(unreadable)?,
                        ),
                        bass: bass.map(u8::try_from).transpose().map_err(unreadable)?,
                        level_db: self.get::<f64>(row, "level_db")? as f32,
                        confidence: self.get::<f64>(row, "confidence")? as f32,
                        gated: self.get::<i64>(row, "gated")? != 0,
                    },
                    in_scale: self.get::<Option<i64>>(row, "in_scale")?.map(|n| n != 0),
                    deviation_ms: self.get(row, "deviation_ms")?,
                })
            })
            .collect()
    }

    /// How a note was played; the default in sessions from before it was stored.
    fn technique(&self, row: &Row) -> Result<Technique, StoreError> {
        let plain = Technique::default();
        let word = |column| self.get::<Option<String>>(row, column);
        Ok(Technique {
            attack: word("attack")?.map_or(Ok(plain.attack), |w| self.word("an attack", &w))?,
            motion: word("motion")?.map_or(Ok(plain.motion), |w| self.word("a motion", &w))?,
            motion_cents: self.get::<Option<f64>>(row, "motion_cents")?.unwrap_or(0.0) as f32,
        })
    }

    /// A plain value of an enumeration as its word in JSON.
    fn word_of<T: Serialize>(&self, value: &T) -> Result<String, StoreError> {
        let json = serde_json::to_value(value).map_err(|e| self.unreadable("a word", e))?;
        Ok(json.as_str().unwrap_or_default().to_owned())
    }

    pub(super) fn word<T: DeserializeOwned>(&self, what: &str, word: &str) -> Result<T, StoreError> {
        serde_json::from_value(serde_json::Value::from(word)).map_err(|e| self.unreadable(what, e))
    }
}
