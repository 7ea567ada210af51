-- What waits to be copied to a shared Postgres. Triggers fill the queue, so that nothing that is stored can be left
-- out, whatever part of the program stores it; they rest until a shared database was named once.
-- A landed migration is never edited: add the next one.

-- One row as soon as a shared database was named.
CREATE TABLE copy_target (
    one       BIGINT PRIMARY KEY CHECK (one = 1),
    -- Which database has had everything up to the queue; '' until it was reached for the first time.
    server_id TEXT NOT NULL DEFAULT '',
    -- Deletions that others made there are known up to this one.
    tombstone BIGINT NOT NULL DEFAULT 0,
    -- Players that others deleted there up to this one were other people: a name says nothing from before the joining.
    players_from BIGINT NOT NULL DEFAULT 0,
    -- 1 within a transaction whose changes are not to be queued (by row).
    quiet     BIGINT NOT NULL DEFAULT 0
);

-- In the order of storing. The row itself is read when it is copied, so that the newest state is copied once.
CREATE TABLE copy_queue (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    -- A table; `delete TABLE`; `whole` for a session with all that belongs to it.
    kind TEXT NOT NULL,
    -- Of the session, chat, plan or player.
    id   TEXT NOT NULL,
    -- Which note, chord, window, gap or message of it: its onset or number.
    part DOUBLE PRECISION,
    -- Which advice of it; the name of a deleted player.
    name TEXT,
    -- When it was deleted.
    at   BIGINT
);

-- Where daemons say that they run; only filled in a shared database, here for queries that are the same on both.
CREATE TABLE daemons (
    owner   TEXT PRIMARY KEY,
    seen_at BIGINT NOT NULL
);

CREATE TRIGGER copy_users_insert AFTER INSERT ON users WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('users', NEW.id, NULL, NULL); END;

CREATE TRIGGER copy_users_update AFTER UPDATE ON users WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('users', NEW.id, NULL, NULL); END;

CREATE TRIGGER copy_user_settings_insert AFTER INSERT ON user_settings WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('user_settings', NEW.user_id, NULL, NULL); END;

CREATE TRIGGER copy_user_settings_update AFTER UPDATE ON user_settings WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('user_settings', NEW.user_id, NULL, NULL); END;

CREATE TRIGGER copy_sessions_insert AFTER INSERT ON sessions WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('sessions', NEW.id, NULL, NULL); END;

CREATE TRIGGER copy_sessions_update AFTER UPDATE ON sessions WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('sessions', NEW.id, NULL, NULL); END;

CREATE TRIGGER copy_windows_insert AFTER INSERT ON windows WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('windows', NEW.session_id, NEW.idx, NULL); END;

CREATE TRIGGER copy_windows_update AFTER UPDATE ON windows WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('windows', NEW.session_id, NEW.idx, NULL); END;

CREATE TRIGGER copy_notes_insert AFTER INSERT ON notes WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('notes', NEW.session_id, NEW.onset_s, NULL); END;

CREATE TRIGGER copy_notes_update AFTER UPDATE ON notes WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('notes', NEW.session_id, NEW.onset_s, NULL); END;

CREATE TRIGGER copy_chords_insert AFTER INSERT ON chords WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('chords', NEW.session_id, NEW.onset_s, NULL); END;

CREATE TRIGGER copy_chords_update AFTER UPDATE ON chords WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('chords', NEW.session_id, NEW.onset_s, NULL); END;

CREATE TRIGGER copy_advice_insert AFTER INSERT ON advice WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('advice', NEW.session_id, NULL, NEW.id); END;

CREATE TRIGGER copy_advice_update AFTER UPDATE ON advice WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('advice', NEW.session_id, NULL, NEW.id); END;

CREATE TRIGGER copy_gaps_insert AFTER INSERT ON gaps WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('gaps', NEW.session_id, NEW.seq, NULL); END;

CREATE TRIGGER copy_gaps_update AFTER UPDATE ON gaps WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('gaps', NEW.session_id, NEW.seq, NULL); END;

CREATE TRIGGER copy_plans_insert AFTER INSERT ON plans WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('plans', NEW.id, NULL, NULL); END;

CREATE TRIGGER copy_plans_update AFTER UPDATE ON plans WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('plans', NEW.id, NULL, NULL); END;

CREATE TRIGGER copy_chats_insert AFTER INSERT ON chats WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('chats', NEW.id, NULL, NULL); END;

CREATE TRIGGER copy_chats_update AFTER UPDATE ON chats WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('chats', NEW.id, NULL, NULL); END;

CREATE TRIGGER copy_chat_messages_insert AFTER INSERT ON chat_messages WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('chat_messages', NEW.chat_id, NEW.seq, NULL); END;

CREATE TRIGGER copy_chat_messages_update AFTER UPDATE ON chat_messages WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, part, name) VALUES ('chat_messages', NEW.chat_id, NEW.seq, NULL); END;

CREATE TRIGGER copy_users_delete AFTER DELETE ON users WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, name, at)
VALUES ('delete users', OLD.id, OLD.name, CAST(unixepoch('subsec') * 1000000 AS BIGINT)); END;

CREATE TRIGGER copy_sessions_delete AFTER DELETE ON sessions WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, name, at)
VALUES ('delete sessions', OLD.id, NULL, CAST(unixepoch('subsec') * 1000000 AS BIGINT)); END;

CREATE TRIGGER copy_plans_delete AFTER DELETE ON plans WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, name, at)
VALUES ('delete plans', OLD.id, NULL, CAST(unixepoch('subsec') * 1000000 AS BIGINT)); END;

CREATE TRIGGER copy_chats_delete AFTER DELETE ON chats WHEN EXISTS (SELECT 1 FROM copy_target WHERE quiet = 0)
BEGIN INSERT INTO copy_queue (kind, id, name, at)
VALUES ('delete chats', OLD.id, NULL, CAST(unixepoch('subsec') * 1000000 AS BIGINT)); END;
