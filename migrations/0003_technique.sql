-- How a note was played, as far as it could be heard, and chords.
-- Words are those of the JSON form: attack picked|hammer_on|pull_off|slide, motion steady|vibrato|bend|release|slide.
-- NULL in sessions from before.

ALTER TABLE notes ADD COLUMN settled_s DOUBLE PRECISION;
ALTER TABLE notes ADD COLUMN inharmonicity DOUBLE PRECISION;
ALTER TABLE notes ADD COLUMN attack TEXT;
ALTER TABLE notes ADD COLUMN motion TEXT;
ALTER TABLE notes ADD COLUMN motion_cents DOUBLE PRECISION;

CREATE TABLE chords (
    session_id   TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    -- Onset of the first string on the capture clock: names the chord, as for notes.
    onset_s      DOUBLE PRECISION NOT NULL,
    offset_s     DOUBLE PRECISION NOT NULL,
    decided_s    DOUBLE PRECISION NOT NULL,
    -- Pitch classes as bits, bit 0 is C.
    classes      BIGINT NOT NULL,
    -- MIDI number of the lowest note.
    bass         BIGINT,
    level_db     DOUBLE PRECISION NOT NULL,
    confidence   DOUBLE PRECISION NOT NULL,
    gated        BIGINT NOT NULL,
    -- All of its pitch classes are in the scale.
    in_scale     BIGINT,
    deviation_ms DOUBLE PRECISION,
    PRIMARY KEY (session_id, onset_s)
);
