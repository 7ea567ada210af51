-- Spans as they start and end, and how far each backend has got with them.

CREATE TABLE traces (
    trace_id      TEXT PRIMARY KEY,
    root_span_id  TEXT,
    name          TEXT NOT NULL,
    -- The thread id (`session.id`) of the root.
    thread        TEXT,
    started_at    BIGINT NOT NULL,
    -- Set when the root has ended: the trace is complete and stands in the queue at `seq`.
    ended_at      BIGINT,
    seq           BIGINT UNIQUE,
    bytes         BIGINT NOT NULL DEFAULT 0,
    resource_json TEXT NOT NULL,
    owner         TEXT NOT NULL
);
CREATE INDEX traces_by_start ON traces (started_at);
CREATE INDEX traces_by_thread ON traces (thread, started_at);

CREATE TABLE spans (
    trace_id       TEXT NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    span_id        TEXT NOT NULL,
    parent_id      TEXT,
    -- The parent as it was, where that one was lost and the root stands in for it.
    lost_parent_id TEXT,
    name           TEXT NOT NULL,
    started_at     BIGINT NOT NULL,
    ended_at       BIGINT,
    status         TEXT NOT NULL,
    status_message TEXT NOT NULL,
    -- Kind, attributes, events, links.
    detail_json    TEXT NOT NULL,
    PRIMARY KEY (trace_id, span_id)
);

CREATE TABLE outbox (
    backend    TEXT PRIMARY KEY,
    -- The backend was added when the queue stood here: what is older was never meant for it.
    since_seq  BIGINT NOT NULL,
    -- Everything up to here was delivered or parked.
    position   BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE parked (
    backend   TEXT NOT NULL,
    trace_id  TEXT NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    status    BIGINT NOT NULL,
    answer    TEXT NOT NULL,
    parked_at BIGINT NOT NULL,
    -- 1: try once more, before the queue.
    again     BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (backend, trace_id)
);
