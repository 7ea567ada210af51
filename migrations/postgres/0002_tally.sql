-- As `../0008_tally.sql`: what pages need to know of a session without reading its notes.
-- A landed migration is never edited: add the next one.

ALTER TABLE sessions ADD COLUMN note_count BIGINT;
ALTER TABLE sessions ADD COLUMN judged_count BIGINT;
ALTER TABLE sessions ADD COLUMN right_count BIGINT;
ALTER TABLE sessions ADD COLUMN practice_s DOUBLE PRECISION;
ALTER TABLE sessions ADD COLUMN mean_abs_cents DOUBLE PRECISION;
ALTER TABLE sessions ADD COLUMN timing_sd_ms DOUBLE PRECISION;
ALTER TABLE sessions ADD COLUMN played_bpm DOUBLE PRECISION;
ALTER TABLE sessions ADD COLUMN pitch_json TEXT;

CREATE INDEX sessions_untallied ON sessions (user_id, id) WHERE note_count IS NULL;
