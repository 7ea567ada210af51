//! Playing that begins a session by itself: a few notes soon after each other, never one knock. Pure.

use std::collections::VecDeque;

use crate::dsp::event::DspEvent;

/// Notes or chords that are playing.
const STROKES: usize = 3;
/// They begin within this time of each other, seconds: quarters at 60 bpm are playing.
const WITHIN: f64 = 2.5;
/// Of two strokes closer than this, one was heard twice, seconds.
const SAME: f64 = 0.04;
/// Rest after which playing counts again, seconds: longer than a player's pause between two phrases.
const REST: f64 = 3.0;
/// Sound before the first note that belongs to the session, seconds: its attack, and the noise before it.
const LEAD: f64 = 0.3;
/// Events older than this are forgotten, seconds.
const KEPT: f64 = WITHIN + 2.0 * LEAD;

/// Looks for playing in what an idle program hears. Times are seconds on the capture clock.
#[derive(Clone, Debug)]
pub struct Autostart {
    armed: bool,
    /// Onsets of the latest strokes.
    strokes: VecDeque<f64>,
    /// When it was last not quiet.
    busy: Option<f64>,
    heard: VecDeque<DspEvent>,
}

impl Autostart {
    /// `armed`: playing counts at once, else only after a rest.
    #[must_use]
    pub fn new(armed: bool) -> Self {
        Self { armed, strokes: VecDeque::new(), busy: None, heard: VecDeque::new() }
    }

    /// Takes an event; the time from which the session counts, once there is playing.
    pub fn hear(&mut self, event: &DspEvent) -> Option<f64> {
        self.keep(*event);
        match event {
            DspEvent::Frame(frame) => {
                let busy = *self.busy.get_or_insert(frame.t);
                self.armed |= frame.t - busy >= REST;
                None
            }
            DspEvent::NoteStart(note) => self.stroke(note.onset),
            DspEvent::Chord(chord) => self.stroke(chord.onset),
            DspEvent::Gap { .. } => {
                self.strokes.clear();
                None
            }
            DspEvent::Onset(_) | DspEvent::Note(_) => None,
        }
    }

    /// What was heard from `origin` on, as it stands on a clock that is 0 there.
    #[must_use]
    pub fn heard_since(&self, origin: f64) -> Vec<DspEvent> {
        self.heard.iter().filter_map(|event| event.since(origin)).collect()
    }

    fn stroke(&mut self, onset: f64) -> Option<f64> {
        self.busy = Some(self.busy.map_or(onset, |busy| busy.max(onset)));
        if self.strokes.back().is_some_and(|last| (onset - last).abs() < SAME) {
            return None;
        }
        self.strokes.push_back(onset);
        while self.strokes.front().is_some_and(|first| onset - first > WITHIN) {
            self.strokes.pop_front();
        }
        let first = *self.strokes.front()?;
        (self.armed && self.strokes.len() >= STROKES).then_some((first - LEAD).max(0.0))
    }

    fn keep(&mut self, event: DspEvent) {
        let now = event.time();
        while self.heard.front().is_some_and(|old| now - old.time() > KEPT) {
            self.heard.pop_front();
        }
        self.heard.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::event::{FrameReport, NoteStart, OnsetEvent};

    fn frame(t: f64) -> DspEvent {
        let causes = crate::dsp::event::NoisePowers::default();
        DspEvent::Frame(FrameReport {
            t,
            w: 0.02,
            f0: None,
            confidence: 0.0,
            provisional: false,
            level_db: -80.0,
            wanted: 0.0,
            unwanted: 0.0,
            causes,
        })
    }

    /// Hears notes at these times, with a frame each 10 ms; when a session begins, if one does.
    fn play(auto: &mut Autostart, from: f64, notes: &[f64], until: f64) -> Option<f64> {
        let mut t = from;
        let mut notes = notes.iter().peekable();
        while t < until {
            while let Some(onset) = notes.next_if(|n| **n + 0.03 <= t) {
                auto.hear(&DspEvent::Onset(OnsetEvent { onset: *onset, t }));
                let note = DspEvent::NoteStart(NoteStart { onset: *onset, t, midi: 45, cents: 0.0 });
                if let Some(origin) = auto.hear(&note) {
                    return Some(origin);
                }
            }
            auto.hear(&frame(t));
            t += 0.01;
        }
        None
    }

    #[test]
    fn three_notes_begin_a_session_just_before_the_first_of_them() {
        let mut auto = Autostart::new(true);
        let origin = play(&mut auto, 0.0, &[5.0, 5.5, 6.0], 9.0).unwrap();
        assert!((origin - 4.7).abs() < 1e-9, "{origin}");
        let heard = auto.heard_since(origin);
        let notes = heard.iter().filter(|e| matches!(e, DspEvent::NoteStart(_))).count();
        assert_eq!(notes, 3, "the notes that began it belong to it");
        assert!(heard.iter().all(|e| e.time() >= 0.0 && e.time() < 1.5));
    }

    #[test]
    fn a_knock_a_note_tried_and_slow_single_notes_begin_nothing() {
        let mut auto = Autostart::new(true);
        assert_eq!(play(&mut auto, 0.0, &[1.0], 4.0), None);
        assert_eq!(
            play(&mut auto, 4.0, &[5.0, 5.01, 5.02, 5.5], 8.0),
            None,
            "heard twice is not played twice"
        );
        assert_eq!(play(&mut auto, 10.0, &[10.0, 12.0, 14.0, 16.0], 18.0), None);
        let mut knocks = Autostart::new(true);
        for t in [1.0, 1.2, 1.4, 1.6] {
            assert_eq!(
                knocks.hear(&DspEvent::Onset(OnsetEvent { onset: t, t })),
                None,
                "a knock has no pitch"
            );
        }
    }

    #[test]
    fn who_plays_on_after_a_session_has_stopped_it_begins_no_other_before_a_rest() {
        let mut auto = Autostart::new(false);
        let on: Vec<f64> = (0..20).map(|i| 0.4 * f64::from(i)).collect();
        assert_eq!(play(&mut auto, 0.0, &on, 8.0), None);
        assert!(play(&mut auto, 8.0, &[11.0, 11.4, 11.8], 13.0).is_some(), "after a rest of three seconds");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut auto = Autostart::new(true);
        play(&mut auto, 0.0, &[], 60.0);
        assert!(auto.heard.len() < 400, "{}", auto.heard.len());
    }
}
