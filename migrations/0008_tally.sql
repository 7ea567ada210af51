-- What pages need to know of a session without reading its notes; filled when the session ends (`store/tally.rs`).
-- NULL while it runs, and in sessions from before until the store is opened next.
-- A landed migration is never edited: add the next one.

-- Notes stored, those that were judged, and those that were right.
ALTER TABLE sessions ADD COLUMN note_count BIGINT;
ALTER TABLE sessions ADD COLUMN judged_count BIGINT;
ALTER TABLE sessions ADD COLUMN right_count BIGINT;
-- Time in which something was played, short rests included.
ALTER TABLE sessions ADD COLUMN practice_s DOUBLE PRECISION;
-- From the summary.
ALTER TABLE sessions ADD COLUMN mean_abs_cents DOUBLE PRECISION;
ALTER TABLE sessions ADD COLUMN timing_sd_ms DOUBLE PRECISION;
-- Tempo set, else the one that was heard.
ALTER TABLE sessions ADD COLUMN played_bpm DOUBLE PRECISION;
-- Pitches played: JSON [[MIDI number, judged, right], …].
ALTER TABLE sessions ADD COLUMN pitch_json TEXT;

-- Lists and trends of years read these alone, never the wide rows.
CREATE INDEX sessions_tally ON sessions (
    user_id, started_at, id, ended_at, scale, mode, deployment, note_count, judged_count, right_count, practice_s,
    mean_abs_cents, timing_sd_ms, played_bpm, pitch_accuracy, scale_conformity, timing_stability, noise_control, overall
);
CREATE INDEX sessions_pitches ON sessions (user_id, started_at, id, scale, note_count, pitch_json);
CREATE INDEX sessions_untallied ON sessions (user_id, id) WHERE note_count IS NULL;
