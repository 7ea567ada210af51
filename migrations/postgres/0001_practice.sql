-- The shared database: what the daemons copy, and what a Hub adds. The same tables as in SQLite, with the same types
-- (times are BIGINT microseconds UTC, switches are BIGINT 0/1, JSON is TEXT), without what stays on a device (traces,
-- calibrations). Text by which rows are named or ordered compares by its bytes, as in SQLite, whatever the locale.
-- A landed migration is never edited: add the next one.

CREATE TABLE users (
    id         TEXT COLLATE "C" PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE user_settings (
    user_id    TEXT COLLATE "C" PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    setup_json TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE tokens (
    hash         TEXT COLLATE "C" PRIMARY KEY,
    user_id      TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT
);

CREATE TABLE sessions (
    id               TEXT COLLATE "C" PRIMARY KEY,
    user_id          TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    deployment       TEXT NOT NULL,
    mode             TEXT NOT NULL,
    scale            TEXT COLLATE "C",
    bpm              DOUBLE PRECISION,
    input            TEXT NOT NULL,
    config_json      TEXT NOT NULL,
    started_at       BIGINT NOT NULL,
    ended_at         BIGINT,
    end_reason       TEXT,
    summary_json     TEXT,
    pitch_accuracy   DOUBLE PRECISION,
    scale_conformity DOUBLE PRECISION,
    timing_stability DOUBLE PRECISION,
    noise_control    DOUBLE PRECISION,
    overall          DOUBLE PRECISION,
    trace_id         TEXT,
    owner            TEXT NOT NULL,
    plan_id          TEXT COLLATE "C"
);
CREATE INDEX sessions_by_start ON sessions (started_at);
CREATE INDEX sessions_by_user ON sessions (user_id, started_at);

CREATE TABLE notes (
    session_id    TEXT COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    onset_s       DOUBLE PRECISION NOT NULL,
    offset_s      DOUBLE PRECISION NOT NULL,
    decided_s     DOUBLE PRECISION NOT NULL,
    midi          BIGINT NOT NULL,
    f0_hz         DOUBLE PRECISION NOT NULL,
    cents         DOUBLE PRECISION NOT NULL,
    level_db      DOUBLE PRECISION NOT NULL,
    confidence    DOUBLE PRECISION NOT NULL,
    gated         BIGINT NOT NULL,
    in_scale      BIGINT,
    deviation_ms  DOUBLE PRECISION,
    is_right      BIGINT NOT NULL,
    settled_s     DOUBLE PRECISION,
    inharmonicity DOUBLE PRECISION,
    attack        TEXT,
    motion        TEXT,
    motion_cents  DOUBLE PRECISION,
    place         DOUBLE PRECISION,
    reason        TEXT,
    reason_value  DOUBLE PRECISION,
    PRIMARY KEY (session_id, onset_s)
);

CREATE TABLE chords (
    session_id   TEXT COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    onset_s      DOUBLE PRECISION NOT NULL,
    offset_s     DOUBLE PRECISION NOT NULL,
    decided_s    DOUBLE PRECISION NOT NULL,
    classes      BIGINT NOT NULL,
    bass         BIGINT,
    level_db     DOUBLE PRECISION NOT NULL,
    confidence   DOUBLE PRECISION NOT NULL,
    gated        BIGINT NOT NULL,
    in_scale     BIGINT,
    deviation_ms DOUBLE PRECISION,
    PRIMARY KEY (session_id, onset_s)
);

CREATE TABLE windows (
    session_id       TEXT COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
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
    dsp_json         TEXT,
    PRIMARY KEY (session_id, idx)
);

CREATE TABLE advice (
    id             TEXT COLLATE "C" PRIMARY KEY,
    session_id     TEXT COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
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
    session_id TEXT COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    seq        BIGINT NOT NULL,
    from_s     DOUBLE PRECISION NOT NULL,
    to_s       DOUBLE PRECISION NOT NULL,
    cause      TEXT NOT NULL,
    PRIMARY KEY (session_id, seq)
);

CREATE TABLE plans (
    id             TEXT COLLATE "C" PRIMARY KEY,
    user_id        TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at     BIGINT NOT NULL,
    source         TEXT NOT NULL,
    prompt_version TEXT,
    status         TEXT NOT NULL,
    decided_at     BIGINT NOT NULL,
    scale          TEXT COLLATE "C",
    focus          TEXT NOT NULL,
    plan_json      TEXT NOT NULL,
    outcome_json   TEXT,
    trace_id       TEXT
);
CREATE INDEX plans_by_user ON plans (user_id, created_at);

CREATE TABLE chats (
    id         TEXT COLLATE "C" PRIMARY KEY,
    user_id    TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX chats_by_user ON chats (user_id, updated_at);

CREATE TABLE chat_messages (
    chat_id     TEXT COLLATE "C" NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    seq         BIGINT NOT NULL,
    role        TEXT NOT NULL,
    content     TEXT NOT NULL,
    detail_json TEXT,
    trace_id    TEXT,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (chat_id, seq)
);

-- Recordings stay on the device that made them; the table is here so that a session is read the same way everywhere.
CREATE TABLE recordings (
    session_id  TEXT COLLATE "C" PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    file        TEXT NOT NULL,
    sample_rate BIGINT NOT NULL,
    from_s      DOUBLE PRECISION NOT NULL,
    seconds     DOUBLE PRECISION NOT NULL,
    bytes       BIGINT NOT NULL
);
