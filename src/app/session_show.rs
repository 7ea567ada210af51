//! What is shown of the session.

use std::sync::atomic::Ordering::Relaxed;

use super::{Session, TEXT_ONLY};
use crate::app::metronome::Beat;
use crate::audio::live::LiveFrame;
use crate::audio::recorder::Recorder;
use crate::cli::screen::RecentNote;
use crate::cli::text;
use crate::dsp::event::ChordEvent;
use crate::hub::link::LiveEvent;
use crate::music::chord::chord_name;
use crate::music::note;
use crate::practice::types::JudgedNote;

impl Session {
    /// A remark; what was said last is not repeated.
    pub(super) fn say(&mut self, said: impl Into<String>) {
        let said = said.into();
        if self.last_said != said {
            self.last_said.clone_from(&said);
            self.p.stage.say(said);
        }
    }

    pub(super) fn show_live(&self) {
        // The last frame of an input that is closed says nothing.
        let silence = LiveFrame { level_db: f32::NEG_INFINITY, ..LiveFrame::default() };
        let live = if self.engine.is_some() { self.live.read() } else { silence };
        let (dropped_samples, dropped_events) =
            (self.stats.dropped_samples.load(Relaxed), self.stats.dropped_events.load(Relaxed));
        let next = self.p.config.practice.coach_every.as_secs_f64() - self.played_in_window();
        let beat = self.p.beat.as_ref().map(Beat::view);
        if let Some(bpm) = self.p.beat.as_ref().filter(|b| b.is_on()).map(Beat::bpm) {
            self.p.stage.tempo(bpm);
        }
        self.p.stage.change(|s| {
            s.elapsed = self.now;
            s.level_db = live.level_db;
            s.note = live
                .midi
                .zip(live.cents)
                .map(|(midi, cents)| (self.note_name(midi), cents, live.provisional));
            s.next_advice = next.max(0.0);
            s.beat = beat;
            (s.dropped_samples, s.dropped_events) = (dropped_samples, dropped_events);
        });
        self.p.stage.publish(&live, self.p.scale.as_ref());
    }

    pub(super) fn show_scores(&mut self) {
        let (scores, facts) = self.p.judge.current();
        let player = self.p.player.status();
        let voice = match (&player.device, &player.reason) {
            _ if self.p.voice == TEXT_ONLY => TEXT_ONLY.to_owned(),
            (Some(device), _) => format!("{} on {device} (period {})", self.p.voice, player.period),
            (None, Some(why)) => format!("no sound: {why}"),
            (None, None) => self.p.voice.clone(),
        };
        let store = self.p.writer.state().borrow().trouble.clone();
        self.p.stage.change(|s| {
            s.scores = scores;
            s.previous = self.previous;
            s.facts = facts;
            s.voice = voice;
            if let Some(advice) = &mut s.advice {
                advice.speaking = player.speaking;
            }
        });
        let recording = self.recorder.as_ref().and_then(Recorder::trouble);
        for trouble in store.into_iter().chain(recording) {
            self.say(trouble);
        }
    }

    pub(super) fn show_note(&self, judged: &JudgedNote) {
        let note = RecentNote {
            name: self.note_name(judged.note.midi),
            right: (!judged.note.gated).then_some(judged.right),
            reason: self.reason(judged),
            deviation_ms: judged.deviation_ms,
        };
        self.p.stage.tell(LiveEvent::Note {
            onset: judged.note.onset,
            midi: Some(judged.note.midi),
            name: note.name.clone(),
            cents: Some(judged.note.cents),
            right: note.right,
            in_scale: judged.in_scale,
            deviation_ms: note.deviation_ms,
            reason: note.reason.clone(),
        });
        self.p.stage.change(|s| s.add_note(note));
    }

    pub(super) fn show_chord(&self, chord: &ChordEvent) {
        let spell = |class| match &self.p.scale {
            Some(scale) => scale.spell(class),
            None => note::NoteName::of_pitch_class(class, true),
        };
        let name = chord_name(chord.classes.0, chord.bass, spell).unwrap_or_else(|| {
            chord.classes.iter().map(|c| spell(c).to_string()).collect::<Vec<_>>().join("-")
        });
        self.p.stage.tell(LiveEvent::Note {
            onset: chord.onset,
            midi: None,
            name: name.clone(),
            cents: None,
            right: None,
            in_scale: None,
            deviation_ms: None,
            reason: None,
        });
        let chord = RecentNote { name, right: None, reason: None, deviation_ms: None };
        self.p.stage.change(|s| s.add_note(chord));
    }

    pub(super) fn note_name(&self, midi: u8) -> String {
        text::note_name(self.p.scale.as_ref(), midi)
    }

    /// Why a note was wrong, in a few words.
    pub(super) fn reason(&self, judged: &JudgedNote) -> Option<String> {
        judged.reason.map(|reason| reason.words(|midi| self.note_name(midi)))
    }
}
