//! # FretCoach: the map of the house
//!
//! A daemon that listens to a guitar through the sound card, scores the playing while it happens, speaks one short
//! piece of advice about every 30 s, and leaves a trace of every step it took. The `README` says how it is used; this
//! page says where everything is and why.
//!
//! ## Three domains, never mixed
//! ```text
//!  sound card ─callback─▶ SPSC ring ─▶ DSP thread ─────▶ SPSC ring of DspEvents (every value) ─▶ app::session
//!  copies only:            resample → hops → Analyzer └▶ audio::live (latest value) ─▶ cli::display
//!  audio::capture          audio::listener, dsp
//!                                                        app::session ─window─▶ coach ─▶ llm ─▶ sentences ─▶ speech
//!                                                             │                                       │ PCM
//!  speaker ◀─callback─ one source ◀─ SPSC ring ◀─ audio::player ◀─────────────── app::mouth ◀─────────┘
//!                                                             │
//!  every step ─▶ span ─▶ bounded queue ─▶ store (SQLite) ─▶ telemetry: one delivery worker per backend
//! ```
//! - The **callback** copies and nothing else. The **DSP thread** never waits, and after its start neither allocates,
//!   locks nor logs (`tests/alloc_guard.rs`, `tests/alloc_callback.rs`, and lints on those modules prove it). Everything
//!   that can wait is **async**. They meet in SPSC rings, atomics and latest-value cells; each says which it is, and what
//!   is dropped is counted and shown.
//! - The clock of the music is the sample counter of the capture stream. Times in seconds on it run through notes,
//!   windows, the store and the traces.
//! - The **player** is one thread that owns the output device. A new utterance silences the one before.
//! - A **recording** is fed from the loop by a ring ([`audio::tap`]) and written by a thread of its own ([`audio::recorder`]):
//!   a disk that cannot keep up loses the recording, not the session.
//! - The **Hub** sees the playing through one joint ([`hub::link`]): a latest-value view that [`app::stage`] fills, events, and
//!   wishes, of which [`app::course`] says what they mean in which phase.
//! - The **metronome** ([`audio::metronome`]) clicks at exact frames of the output; the loop finds the clicks in the input,
//!   takes them out before the analyser ([`dsp::click`]), and tells the session when its beats were heard.
//! - **Several devices**: the daemon writes to its own SQLite alone; [`store::copy`] carries the rows to a shared Postgres from an
//!   outbox that triggers fill, so that an outage makes the copy late and nothing else. Hub, chat and plans read either.
//! - **Telemetry** delays neither playing nor advice: spans are stored in the background and delivered from the store.
//!
//! ## Layers: an import only points downwards (`tests/house.rs`)
//! | layer | modules |
//! |---|---|
//! | 4 | [`cli`] (command line, display, report, tuner), [`app`] (wiring, [`app::studio`] with its sessions, signals, ordered shutdown) |
//! | 3 actors | [`chat`] (questions in words: agent, graph, charts, Markdown), [`coach`] (live advice, offline coach, summary, practice plans), [`hub`] (web pages and their API, behind one guard) |
//! | 2 ports | [`audio`] (capture, loop, player, virtual guitarist), [`llm`], [`speech`], [`store`] (the only SQL, for SQLite and Postgres alike), [`telemetry`] |
//! | 1 | [`config`] (all settings), [`prompt`] (versioned templates), [`span`] (the one way to make a span), [`http`] (the one client) |
//! | 0 pure | [`dsp`] (hearing), [`music`] (notes, scales, tunings), [`practice`] (scores, windows, session), [`names`] (every span and attribute name) |
//!
//! Ports never name each other, except `telemetry → store`. Pure modules take time as an argument and do no I/O.
//!
//! ## The way of one sample
//! [`audio::capture`] (callback) → [`audio::listener`] (one round of the loop) → [`dsp::Analyzer`] → [`dsp::event`] →
//! [`app::session`] → [`practice::session`] → [`store`].
//!
//! ## The way of one piece of advice
//! [`app::session`] closes a window → [`coach`] renders the [`prompt`] → [`llm`] streams, each attempt a span (or
//! [`coach::offline`] chooses its words) → sentence by sentence to [`speech`] → [`app::mouth`] → [`audio::player`]. Text and
//! voice are two traces, linked: a failed voice never fails the text.
//!
//! ## The way of one question
//! [`hub::pages::chat`] or [`cli`] → [`chat`] walks its graph ([`chat::graph`]): is it about practice, is there a model → the model
//! calls a tool → [`store::query`] parses the SQL, asks the database through views of one player's rows, within limits → rows go
//! back trimmed → the answer as Markdown, its chart made from the rows.
//!
//! ## Where the code departs from the design it grew from
//! - `span` and `http` stand in layer 1, so that every port can make spans and none needs another's client.
//! - The session actor lives in `app`: it is where audio, practice, store and coach meet.
//! - Notes that begin while the coach's voice may be in the microphone are left out altogether rather than stored as
//!   unjudged: what was heard there cannot be told from the voice.
//! - Begins of spans are stored too, so that open traces can be looked at and those of a killed process are closed.
#![warn(missing_docs)]

pub mod alloc_count;
pub mod app;
pub mod audio;
pub mod chat;
pub mod cli;
pub mod coach;
pub mod config;
pub mod dsp;
pub mod http;
pub mod hub;
pub mod llm;
pub mod music;
pub mod names;
pub mod practice;
pub mod prompt;
pub mod span;
pub mod speech;
pub mod store;
pub mod telemetry;
