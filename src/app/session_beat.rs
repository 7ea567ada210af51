//! The session and its metronome.

use super::Session;
use crate::app::metronome::{Known, Source};
use crate::dsp::event::DspEvent;
use crate::names::{attr, span};
use crate::span::{Kind, SpanExt};

impl Session {
    /// Starts the metronome with its count-in.
    pub(super) fn begin_beat(&mut self) {
        let Some(beat) = &mut self.p.beat else { return };
        match beat.begin() {
            Ok(()) => {}
            Err(why) => self.say(why),
        }
    }

    /// The player's wish.
    pub(super) fn toggle_beat(&mut self) {
        let Some(beat) = &mut self.p.beat else {
            self.say("no metronome: it needs a tempo (--bpm) and a guitar that is played now");
            return;
        };
        if beat.is_on() {
            beat.end();
            self.p.judge.set_click(None);
            self.say("the metronome is off");
        } else if !self.paused {
            self.begin_beat();
        }
    }

    /// The metronome is silent in a pause, and counts in anew after it.
    pub(super) fn pause_beat(&mut self) {
        let Some(beat) = &mut self.p.beat else { return };
        if self.paused && beat.is_on() {
            beat.end();
            self.p.judge.set_click(None);
            self.beat_waits = true;
        } else if !self.paused && std::mem::take(&mut self.beat_waits) {
            self.begin_beat();
        }
    }

    /// Tells the judge where the beats are, as soon as they are known and whenever they have moved.
    pub(super) fn follow_beat(&mut self) {
        let Some(beat) = &mut self.p.beat else { return };
        let known = beat.follow(self.now);
        let unheard = beat.unheard();
        if let Some(known) = known {
            self.p.judge.set_click(Some(known.click));
            if known.news {
                self.tell_beat(&known);
            }
        }
        if let Some(said) = unheard {
            self.say(said);
        }
    }

    fn tell_beat(&mut self, known: &Known) {
        let step = self.p.thread.child(&self.p.root, span::CALIBRATION, Kind::Chain);
        step.put(attr::ROUND_TRIP_SOURCE, known.source.word());
        step.put(attr::CLICK_ORIGIN, known.click.origin);
        self.p.root.put(attr::ROUND_TRIP_SOURCE, known.source.word());
        if let Some((seconds, error)) = known.round_trip {
            step.put(attr::ROUND_TRIP_MS, 1000.0 * seconds);
            step.put(attr::ROUND_TRIP_SPREAD_MS, 1000.0 * error);
            self.p.root.put(attr::ROUND_TRIP_MS, 1000.0 * seconds);
            let ms = 1000.0 * seconds;
            self.say(match known.source {
                Source::Heard => format!("the clicks are heard after {ms:.1} ms, and taken out of the input"),
                _ => format!("the latency is {ms:.1} ms, as measured by `fretcoach calibrate`"),
            });
        }
    }

    /// False for what begins in the count-in.
    pub(super) fn is_judged(&self, event: &DspEvent) -> bool {
        let Some(beat) = &self.p.beat else { return true };
        match event {
            DspEvent::Frame(f) => beat.is_judged(f.t),
            DspEvent::Onset(o) => beat.is_judged(o.onset),
            DspEvent::NoteStart(n) => beat.is_judged(n.onset),
            DspEvent::Note(n) => beat.is_judged(n.onset),
            DspEvent::Chord(c) => beat.is_judged(c.onset),
            DspEvent::Gap { .. } => true,
        }
    }
}
