//! The end of a session: sum up, speak, store.

use std::time::Duration;

use jiff::Timestamp;

use super::{Command, News, SCORE_EVERY, Session};
use crate::app::course::Why;
use crate::audio::ANALYSIS_RATE;
use crate::audio::engine::Engine;
use crate::audio::recorder::{Recorded, Recorder};
use crate::cli::exit::{Exit, Stop};
use crate::cli::text;
use crate::coach::plan::follow_up;
use crate::hub::link::LiveEvent;
use crate::practice::types::Summary;
use crate::span::{SpanExt, chain};
use crate::store::{RecordingRow, SessionId, Store};

/// Longest time for the summary to be written and heard: sixty words take half a minute to say, a model and its fallbacks
/// up to another minute to write.
const SUMMARY_PATIENCE: Duration = Duration::from_secs(120);
/// Longest time for a voice that was told to be silent.
const SILENCE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of a session waits for a store that cannot be written.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// How a session ended.
pub struct Ended {
    /// What came of it.
    pub summary: Summary,
    /// Why the program should end with an error, if so.
    pub failure: Option<Stop>,
    /// The session.
    pub id: SessionId,
    /// Why it ended.
    pub why: Why,
    /// The player has muted the coach.
    pub muted: bool,
}

impl Session {
    /// The end: hears what is left, sums up, lets the coach speak, stores.
    pub(super) async fn finish(mut self) -> Ended {
        self.p.stage.change(|s| s.closing = true);
        if let Some(beat) = &mut self.p.beat {
            beat.end();
        }
        let engine = self.engine.take();
        // Joining the loop's thread may take a period of the device; a panic there has been printed already.
        let _ = tokio::task::spawn_blocking(move || engine.map(Engine::stop)).await;
        // It writes its last seconds while the summary is spoken.
        let recorder = self.recorder.take();
        let recorded = tokio::task::spawn_blocking(move || recorder.map(Recorder::finish));
        self.listen();
        if self.now > self.window_start {
            self.close_window(false);
        }
        let summary = self.p.judge.finish(self.now);
        self.show_scores();
        self.show_live();
        self.p.pause.send_replace(true);
        if summary.facts.strokes() > 0 {
            let coach = self.p.coach.clone();
            let mut spoken = std::pin::pin!(coach.summary(summary.clone()));
            let mut patience = std::pin::pin!(tokio::time::sleep(SUMMARY_PATIENCE));
            let mut silenced = false;
            let mut tick = tokio::time::interval(SCORE_EVERY);
            loop {
                tokio::select! {
                    () = &mut spoken => break,
                    _ = tick.tick() => {
                        self.show_scores();
                        self.show_live();
                    }
                    () = &mut patience => {
                        if silenced {
                            tracing::warn!("the summary did not end; the session ends without it");
                            break;
                        }
                        self.p.coach.stop_voice();
                        silenced = true;
                        patience.as_mut().reset(tokio::time::Instant::now() + SILENCE_PATIENCE);
                    }
                    Some(event) = self.p.coach_events.recv() => self.coach(event),
                    Some(command) = self.p.commands.recv() => match command {
                        Command::StopVoice | Command::Stop => self.p.coach.stop_voice(),
                        Command::Quit => {
                            self.why = Why::Quit;
                            self.p.coach.stop_voice();
                        }
                        Command::ToggleMute => { self.obey(command); }
                        _ => {}
                    },
                }
            }
            while let Ok(event) = self.p.coach_events.try_recv() {
                self.coach(event);
            }
        }
        // Muted, replaced before its turn, or without any engine: it will not be heard any more.
        for (_, mut row) in self.unspoken.drain() {
            row.spoken = Some(false);
            self.p.writer.advice(row);
        }
        if let Some(said) = text::loop_cost(&self.costs, self.stats.deadline_ns()) {
            self.p.stage.news(News::Message(said));
        }
        self.p.stage.news(News::Summary(Box::new(summary.clone())));
        self.p.root.output_json(&crate::practice::summary_json(&summary));
        let id = self.p.writer.id();
        let stored = self.p.writer.clone().finish(&summary, Timestamp::now(), STORE_PATIENCE).await;
        if let Ok(Some((recorded, trouble))) = recorded.await {
            if let Some(trouble) = trouble {
                self.p.stage.say(trouble);
            }
            if let Some(recorded) = recorded.filter(|_| stored.is_ok()) {
                keep_recording(&self.p.store, id, &recorded, self.p.origin).await;
            }
        }
        if self.p.steps.is_some() && stored.is_ok() {
            match follow_up(&self.p.store, &id).await {
                Ok(Some(outcome)) => self.p.stage.say(outcome.said),
                Ok(None) => {}
                // It is caught up with when the next plan is made.
                Err(e) => tracing::warn!("the plan could not be followed up: {}", chain(&e)),
            }
        }
        self.p.stage.tell(LiveEvent::Ended { session: id.to_string() });
        let failure = stored.err().map(|e| {
            Stop::new(Exit::Data, format!("the end of the session could not be stored: {}", chain(&e)))
        });
        if let Some(stop) = &failure {
            tracing::error!("{stop}");
        }
        Ended { summary, failure, id, why: self.why, muted: self.muted }
    }
}

/// Makes a recording known. One that cannot be is found again at the next start.
async fn keep_recording(store: &Store, session: SessionId, recorded: &Recorded, origin: f64) {
    let rate = f64::from(ANALYSIS_RATE);
    let row = RecordingRow {
        session,
        file: recorded.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sample_rate: ANALYSIS_RATE,
        from_s: recorded.from as f64 / rate - origin,
        seconds: recorded.samples as f64 / rate,
        bytes: recorded.bytes,
    };
    if let Err(e) = store.add_recording(&row).await {
        tracing::warn!("the recording {} waits for the next start: {}", row.file, chain(&e));
    }
}
