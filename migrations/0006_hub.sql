-- Plans, chats, what a player has set up, the keys that open the Hub from elsewhere, and recordings.
-- A landed migration is never edited: add the next one.

-- What a player has set up in the Hub, as JSON.
CREATE TABLE user_settings (
    user_id    TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    setup_json TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Tokens open the Hub from other addresses. Only the SHA-256 of one is kept.
CREATE TABLE tokens (
    hash         TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT
);

-- Practice plans; the id is the `practice_id` of their thread.
CREATE TABLE plans (
    id             TEXT PRIMARY KEY,
    user_id        TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at     BIGINT NOT NULL,
    -- Model that made it, or `offline`.
    source         TEXT NOT NULL,
    prompt_version TEXT,
    -- pending | accepted | done | dismissed
    status         TEXT NOT NULL,
    -- When the status became what it is.
    decided_at     BIGINT NOT NULL,
    scale          TEXT,
    focus          TEXT NOT NULL,
    plan_json      TEXT NOT NULL,
    -- Did it help? Computed when the session that carries it out has ended.
    outcome_json   TEXT,
    trace_id       TEXT
);
CREATE INDEX plans_by_user ON plans (user_id, created_at);

-- The plan that a session carries out. No foreign key: deleting a plan deletes no session.
ALTER TABLE sessions ADD COLUMN plan_id TEXT;

CREATE TABLE chats (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX chats_by_user ON chats (user_id, updated_at);

CREATE TABLE chat_messages (
    chat_id     TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    seq         BIGINT NOT NULL,
    -- user | assistant
    role        TEXT NOT NULL,
    content     TEXT NOT NULL,
    -- Queries with their rows' shape, charts, tokens, model, refusal.
    detail_json TEXT,
    trace_id    TEXT,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (chat_id, seq)
);

-- The sound of sessions, where the player chose to keep it. Files lie in `recordings` of the data folder; they stay on
-- the device that made them.
CREATE TABLE recordings (
    session_id  TEXT PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    file        TEXT NOT NULL,
    sample_rate BIGINT NOT NULL,
    -- The session's clock at the first sample.
    from_s      DOUBLE PRECISION NOT NULL,
    seconds     DOUBLE PRECISION NOT NULL,
    bytes       BIGINT NOT NULL
);
