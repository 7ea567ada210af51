-- Players, sessions and what was heard, said and scored in them.
-- Types that SQLite and Postgres share: times are BIGINT microseconds UTC, switches are BIGINT 0/1, JSON is TEXT.
-- A landed migration is never edited: add the next one.

CREATE TABLE users (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE sessions (
    id               TEXT PRIMARY KEY,
    user_id          TEXT NOT NULL REFERENCES users (id),
    deployment       TEXT NOT NULL,
    mode             TEXT NOT NULL,
    scale            TEXT,
    bpm              DOUBLE PRECISION,
    input            TEXT NOT NULL,
    config_json      TEXT NOT NULL,
    started_at       BIGINT NOT NULL,
    ended_at         BIGINT,
    end_reason       TEXT,
    summary_json     TEXT,
    -- The scores once more as columns, so that trends are one query.
    pitch_accuracy   DOUBLE PRECISION,
    scale_conformity DOUBLE PRECISION,
    timing_stability DOUBLE PRECISION,
    noise_control    DOUBLE PRECISION,
    overall          DOUBLE PRECISION,
    trace_id         TEXT,
    -- The process that writes the session; its file lock tells whether it still runs.
    owner            TEXT NOT NULL
);
CREATE INDEX sessions_by_start ON sessions (started_at);
CREATE INDEX sessions_by_user ON sessions (user_id, started_at);

CREATE TABLE notes (
    session_id   TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    -- Onset on the capture clock: no two notes of a session begin at the same sample, so it names the note, and a
    -- later verdict on it replaces the first.
    onset_s      DOUBLE PRECISION NOT NULL,
    offset_s     DOUBLE PRECISION NOT NULL,
    decided_s    DOUBLE PRECISION NOT NULL,
    midi         BIGINT NOT NULL,
    f0_hz        DOUBLE PRECISION NOT NULL,
    cents        DOUBLE PRECISION NOT NULL,
    level_db     DOUBLE PRECISION NOT NULL,
    confidence   DOUBLE PRECISION NOT NULL,
    gated        BIGINT NOT NULL,
    in_scale     BIGINT,
    deviation_ms DOUBLE PRECISION,
    is_right     BIGINT NOT NULL,
    PRIMARY KEY (session_id, onset_s)
);

CREATE TABLE windows (
    session_id       TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    idx              BIGINT NOT NULL,
    start_s          DOUBLE PRECISION NOT NULL,
    end_s            DOUBLE PRECISION NOT NULL,
    closed_at        BIGINT NOT NULL,
    pitch_accuracy   DOUBLE PRECISION,
    scale_conformity DOUBLE PRECISION,
    timing_stability DOUBLE PRECISION,
    noise_control    DOUBLE PRECISION,
    overall          DOUBLE PRECISION,
    weakest          TEXT,
    strongest        TEXT,
    facts_json       TEXT NOT NULL,
    -- Cost of the real-time loop during the window.
    dsp_json         TEXT,
    PRIMARY KEY (session_id, idx)
);

CREATE TABLE advice (
    id             TEXT PRIMARY KEY,
    session_id     TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    kind           TEXT NOT NULL,
    given_at       BIGINT NOT NULL,
    at_s           DOUBLE PRECISION NOT NULL,
    window_idx     BIGINT,
    body           TEXT NOT NULL,
    source         TEXT NOT NULL,
    prompt_version TEXT,
    spoken         BIGINT,
    trace_id       TEXT,
    span_id        TEXT
);
CREATE INDEX advice_by_session ON advice (session_id, given_at);

CREATE TABLE gaps (
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    seq        BIGINT NOT NULL,
    from_s     DOUBLE PRECISION NOT NULL,
    to_s       DOUBLE PRECISION NOT NULL,
    cause      TEXT NOT NULL,
    PRIMARY KEY (session_id, seq)
);
