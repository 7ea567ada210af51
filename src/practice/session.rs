//! One session as a state machine: events in, windows and a summary out.

use crate::dsp::event::{ChordEvent, DspEvent, NoteEvent};

use super::noise::NoiseSums;
use super::settings::Settings;
use super::timing::{Click, Pulse};
use super::types::{Facts, JudgedChord, JudgedNote, Scores, Summary, Window};
use super::window::{Around, Judgement, add_noise, countable, judge, judged, tuning_offset};

/// Fewest notes that the live scores rest on: just after a window has closed, notes of the one before are added.
const LIVE_FEWEST: usize = 12;
/// Most notes that the live scores rest on, so that they stay cheap.
const LIVE_MOST: usize = 40;
/// Notes older than this are not added to the live scores, seconds.
const LIVE_SECONDS: f64 = 20.0;
/// Gaps in the input that are remembered, latest last. More only come from a device that hardly works.
const GAPS: usize = 256;

/// State over one session. Keeps every note (about 50 bytes each) and sums over frames; all times are seconds on
/// the capture clock.
#[derive(Clone, Debug)]
pub struct Session {
    settings: Settings,
    notes: Vec<NoteEvent>,
    chords: Vec<ChordEvent>,
    /// Deviations of the judged notes, for the offset of the whole guitar.
    cents: Vec<f64>,
    offset: Option<f64>,
    gaps: Vec<(f64, f64)>,
    pulse: Pulse,
    /// Index of the first note of the running window.
    window_first: usize,
    /// And of its first chord.
    window_chord: usize,
    window_start: f64,
    window_noise: NoiseSums,
    /// Noise of the window before, for the live scores of a window that has just begun.
    last_noise: NoiseSums,
    closed_noise: NoiseSums,
    closed: Vec<JudgedNote>,
    closed_chords: Vec<JudgedChord>,
    overall_by_window: Vec<Option<f64>>,
    live: Judgement,
    latest: f64,
}

impl Session {
    /// A session that has heard nothing yet; its first window starts at 0.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            pulse: settings.tempo().into(),
            settings,
            notes: Vec::new(),
            chords: Vec::new(),
            cents: Vec::new(),
            offset: None,
            gaps: Vec::new(),
            window_first: 0,
            window_chord: 0,
            window_start: 0.0,
            window_noise: NoiseSums::default(),
            last_noise: NoiseSums::default(),
            closed_noise: NoiseSums::default(),
            closed: Vec::new(),
            closed_chords: Vec::new(),
            overall_by_window: Vec::new(),
            live: Judgement::default(),
            latest: 0.0,
        }
    }

    /// What the session is judged by.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A metronome is heard from now on, is measured anew, or (`None`) falls silent. Notes that begin while it holds
    /// are judged against its beats; the others against the tempo set, or one found in them.
    pub fn set_click(&mut self, click: Option<Click>) {
        self.pulse.set(self.latest, click);
        self.update_live();
    }

    /// Takes an event. A complete note that counts gets a first verdict, for display; the one to keep comes with
    /// the window ([`closed_notes`](Self::closed_notes)). A gated note is returned unjudged.
    pub fn push(&mut self, event: &DspEvent) -> Option<JudgedNote> {
        match event {
            DspEvent::Frame(frame) => {
                self.advance(frame.t);
                if !self.lost(frame.t) {
                    self.window_noise.add(frame);
                }
                None
            }
            DspEvent::Note(note) => self.note(*note),
            DspEvent::Onset(onset) => {
                self.advance(onset.t);
                None
            }
            DspEvent::NoteStart(start) => {
                self.advance(start.t);
                None
            }
            DspEvent::Chord(chord) => {
                self.advance(chord.offset);
                let gated = chord.gated || self.lost(chord.onset);
                self.chords.push(ChordEvent { gated, ..*chord });
                self.update_live();
                None
            }
            DspEvent::Gap { from, to } => {
                if from.is_finite() && to.is_finite() {
                    if self.gaps.len() == GAPS {
                        self.gaps.remove(0);
                    }
                    self.gaps.push((from.min(*to), from.max(*to)));
                    self.advance(*to);
                }
                None
            }
        }
    }

    /// Closes the running window at `now` and starts the next. Notes belong to the window in which they were
    /// reported, wherever they began. A `now` that is no number, or lies before the window, is taken as its latest
    /// event.
    pub fn close_window(&mut self, now: f64) -> Window {
        self.advance(now);
        let start = self.window_start;
        let end = if now >= start && now.is_finite() { now } else { self.latest.max(start) };
        let judgement = self.judge(
            &self.notes[self.window_first..],
            &self.chords[self.window_chord..],
            &self.window_noise,
            false,
        );
        let (weakest, strongest) = judgement.scores.extremes();
        let index = u32::try_from(self.overall_by_window.len()).unwrap_or(u32::MAX);
        self.closed_noise.merge(&self.window_noise);
        self.last_noise = std::mem::take(&mut self.window_noise);
        self.window_first = self.notes.len();
        self.window_chord = self.chords.len();
        self.window_start = end;
        self.closed = judgement.notes;
        self.closed_chords = judgement.chords;
        self.overall_by_window.push(judgement.scores.overall);
        self.update_live();
        Window { index, start, end, scores: judgement.scores, facts: judgement.facts, weakest, strongest }
    }

    /// Final verdicts on the notes of the window closed last, gated ones among them.
    #[must_use]
    pub fn closed_notes(&self) -> Vec<JudgedNote> {
        self.closed.clone()
    }

    /// The chords of the window closed last, gated ones among them.
    #[must_use]
    pub fn closed_chords(&self) -> Vec<JudgedChord> {
        self.closed_chords.clone()
    }

    /// Scores of the running window so far: of its latest 40 notes, and while it has few, together with those just
    /// before. Costs little: notes are judged when they come, not here.
    #[must_use]
    pub fn current(&self) -> (Scores, Facts) {
        let (mut scores, mut facts) = (self.live.scores, self.live.facts.clone());
        if self.window_noise.ratio_db().is_some() && self.open() {
            add_noise(&self.settings, &self.window_noise, &mut scores, &mut facts);
        } else {
            add_noise(&self.settings, &self.last_noise, &mut scores, &mut facts);
        }
        (scores, facts)
    }

    /// Ends the session at `now`: everything judged together. A window still open with notes in it is closed first.
    pub fn finish(&mut self, now: f64) -> Summary {
        self.advance(now);
        if self.open() {
            self.close_window(now);
        }
        let mut noise = self.closed_noise.clone();
        noise.merge(&self.window_noise);
        let Judgement { scores, facts, .. } = self.judge(&self.notes, &self.chords, &noise, true);
        let (weakest, strongest) = scores.extremes();
        Summary {
            duration: if now.is_finite() && now >= 0.0 { now } else { self.latest },
            scores,
            facts,
            weakest,
            strongest,
            overall_by_window: self.overall_by_window.clone(),
        }
    }

    /// Something was played in the running window.
    fn open(&self) -> bool {
        self.notes.len() > self.window_first || self.chords.len() > self.window_chord
    }

    fn note(&mut self, mut note: NoteEvent) -> Option<JudgedNote> {
        self.advance(note.t);
        note.gated |= self.lost(note.onset);
        if !countable(&note, &self.settings) {
            return None;
        }
        self.notes.push(note);
        if judged(&note, &self.settings) {
            self.cents.push(f64::from(note.cents).clamp(-50.0, 50.0));
            self.offset = tuning_offset(&self.cents);
        }
        self.update_live();
        self.live.notes.last().cloned()
    }

    fn update_live(&mut self) {
        let total = self.notes.len();
        let most = total.saturating_sub(LIVE_MOST);
        let back = self.notes[most..self.window_first.max(most)]
            .iter()
            .rev()
            .take(LIVE_FEWEST.saturating_sub(total - self.window_first))
            .take_while(|n| self.latest - n.onset <= LIVE_SECONDS)
            .count();
        let first = self.window_first.max(most) - back;
        let since = self.notes.get(first).map_or(self.window_start, |n| n.onset.min(self.window_start));
        let chord =
            self.chords.partition_point(|c| c.onset < since).max(self.chords.len().saturating_sub(LIVE_MOST));
        self.live = self.judge(&self.notes[first..], &self.chords[chord..], &self.window_noise, false);
    }

    fn judge(
        &self,
        notes: &[NoteEvent],
        chords: &[ChordEvent],
        noise: &NoiseSums,
        session: bool,
    ) -> Judgement {
        let breaks: Vec<f64> = self.gaps.iter().map(|gap| gap.1).collect();
        judge(
            &self.settings,
            notes,
            Around { offset: self.offset, noise, chords, pulse: &self.pulse, breaks: &breaks, session },
        )
    }

    /// True when input was lost at this time.
    fn lost(&self, t: f64) -> bool {
        self.gaps.iter().rev().any(|(from, to)| (*from..=*to).contains(&t))
    }

    fn advance(&mut self, t: f64) {
        if t.is_finite() && t > self.latest {
            self.latest = t;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::event::FrameReport;
    use crate::dsp::event::Technique;
    use crate::music::grid::Tempo;
    use crate::music::scale::Scale;
    use crate::practice::summary_json;
    use crate::practice::types::Metric;

    fn note(onset: f64, midi: u8, cents: f32) -> NoteEvent {
        NoteEvent {
            onset,
            offset: onset + 0.25,
            t: onset + 0.03,
            midi,
            f0: 110.0,
            cents,
            level_db: -14.0,
            confidence: 0.9,
            settled: onset + 0.03,
            inharmonicity: None,
            technique: Technique::default(),
            gated: false,
        }
    }

    fn frame(t: f64, unwanted: f32) -> DspEvent {
        DspEvent::Frame(FrameReport {
            t,
            w: 0.02,
            f0: Some(110.0),
            confidence: 0.9,
            provisional: false,
            level_db: -20.0,
            wanted: 1e-2,
            unwanted,
            causes: crate::dsp::event::NoisePowers::default(),
        })
    }

    fn session(metrics: &[Metric]) -> Session {
        let scale = Scale::parse("A minor pentatonic").unwrap();
        Session::new(Settings::new(Some(scale), Some(100.0), metrics.to_vec(), 0.5, 0.5, false).unwrap())
    }

    const RUN: [u8; 10] = [45, 48, 50, 52, 55, 57, 55, 52, 50, 48];

    /// Eighths at 100 bpm up and down the scale, with frames.
    fn play(session: &mut Session, from: f64, count: usize) {
        for i in 0..count {
            let onset = from + 0.3 * i as f64;
            session.push(&frame(onset + 0.1, 1e-7));
            session.push(&DspEvent::Note(note(onset, RUN[i % RUN.len()], 0.0)));
        }
    }

    #[test]
    fn a_session_yields_windows_and_a_summary() {
        let mut s = session(&Metric::ALL);
        play(&mut s, 0.0, 40);
        let live = s.current();
        let first = s.close_window(15.0);
        assert_eq!((live.0, live.1), (first.scores, first.facts.clone()));
        assert_eq!((first.index, first.start, first.end, first.facts.note_count), (0, 0.0, 15.0, 40));
        assert_eq!(s.closed_notes().len(), 40);
        assert!(s.closed_notes().iter().all(|n| n.right && n.in_scale == Some(true)));
        let empty = s.close_window(20.0);
        assert_eq!((empty.index, empty.scores, empty.facts.note_count), (1, Scores::default(), 0));
        assert_eq!((empty.weakest, empty.strongest), (None, None));
        play(&mut s, 20.0, 20);
        let summary = s.finish(27.0);
        assert_eq!(summary.facts.note_count, 60);
        assert_eq!(summary.overall_by_window.len(), 3);
        assert_eq!(summary.overall_by_window[1], None);
        for metric in Metric::ALL {
            assert_eq!(summary.scores.get(metric), Some(100.0), "{metric}");
        }
        assert_eq!((summary.scores.overall, summary.duration), (Some(100.0), 27.0));
    }

    #[test]
    fn a_disabled_metric_leaves_no_trace() {
        for off in Metric::ALL {
            let on: Vec<Metric> = Metric::ALL.into_iter().filter(|m| *m != off).collect();
            let mut s = session(&on);
            play(&mut s, 0.0, 20);
            s.push(&DspEvent::Note(note(6.1, 46, 40.0)));
            let w = s.close_window(7.0);
            assert_eq!(w.scores.get(off), None, "{off}");
            assert!(on.iter().all(|m| w.scores.get(*m).is_some()), "{off}");
            let facts = w.facts;
            match off {
                Metric::PitchAccuracy => {
                    assert!(facts.mean_abs_cents.is_none() && facts.tuning_offset_cents.is_none());
                    assert!(facts.mean_signed_cents.is_none() && facts.worst_note.is_none());
                }
                Metric::ScaleConformity => {
                    assert!(facts.in_scale_ratio.is_none() && facts.coverage.is_none());
                    assert!(facts.wrong_notes.is_empty());
                    assert!(s.closed_notes().iter().all(|n| n.in_scale.is_none()));
                }
                Metric::TimingStability => {
                    assert!(facts.timing_sd_ms.is_none() && facts.tendency.is_none());
                    assert!(s.closed_notes().iter().all(|n| n.deviation_ms.is_none()));
                }
                Metric::NoiseControl => assert!(facts.noise_db.is_none() && facts.noise_cause.is_none()),
            }
        }
    }

    #[test]
    fn notes_are_judged_against_the_click_they_were_played_to() {
        for (latency_known, ms) in [(true, 40.0), (false, 0.0)] {
            let mut s = session(&Metric::ALL);
            let click = Click { origin: 0.2, tempo: Tempo::new(100.0).unwrap(), latency_known };
            s.set_click(Some(click));
            play(&mut s, 0.24, 20);
            s.close_window(7.0);
            for n in s.closed_notes() {
                assert!((n.deviation_ms.unwrap() - ms).abs() < 1e-6, "{n:?}");
            }
            // Without the click, evenness alone counts again.
            s.set_click(None);
            play(&mut s, 8.07, 20);
            let w = s.close_window(15.0);
            assert!(s.closed_notes().iter().all(|n| n.deviation_ms.unwrap().abs() < 1e-6));
            assert_eq!(w.scores.timing_stability, Some(100.0));
        }
    }

    fn chord(onset: f64, classes: &[u8]) -> DspEvent {
        let mut set = crate::dsp::event::PitchClasses::default();
        classes.iter().for_each(|c| set.add(*c));
        DspEvent::Chord(ChordEvent {
            onset,
            offset: onset + 0.25,
            t: onset + 0.02,
            classes: set,
            bass: Some(45),
            level_db: -14.0,
            confidence: 0.8,
            gated: false,
        })
    }

    #[test]
    fn chords_count_for_time_and_as_a_whole_for_the_scale_and_never_for_pitch() {
        let mut s = session(&Metric::ALL);
        for i in 0..20 {
            // A minor and, every fifth time, F sharp: not in A minor pentatonic.
            let classes: &[u8] = if i % 5 == 4 { &[6, 10, 1] } else { &[9, 0, 4] };
            s.push(&frame(0.3 * f64::from(i), 1e-7));
            s.push(&chord(0.3 * f64::from(i), classes));
        }
        let late = 0.3 * 20.0 + 0.09;
        s.push(&chord(late, &[9, 0, 4]));
        let w = s.close_window(7.0);
        assert_eq!((w.facts.note_count, w.facts.chord_count), (0, 21));
        assert_eq!(w.facts.chords_in_scale, Some(17.0 / 21.0));
        assert_eq!((w.scores.pitch_accuracy, w.scores.scale_conformity), (None, None));
        assert!(w.facts.mean_abs_cents.is_none() && w.facts.wrong_notes.is_empty());
        assert!(w.scores.timing_stability.is_some() && w.scores.noise_control.is_some());
        let closed = s.closed_chords();
        assert_eq!(closed.len(), 21);
        assert_eq!((closed[0].in_scale, closed[4].in_scale), (Some(true), Some(false)));
        assert!((closed[20].deviation_ms.unwrap() - 90.0).abs() < 10.0, "{:?}", closed[20]);
        assert_eq!(s.finish(7.0).facts.chord_count, 21);
    }

    #[test]
    fn chords_among_notes_leave_the_notes_verdicts_where_they_were() {
        let (mut mixed, mut alone) = (session(&Metric::ALL), session(&Metric::ALL));
        for i in 0..24 {
            let at = 0.3 * f64::from(i);
            mixed.push(&frame(at, 1e-7));
            alone.push(&frame(at, 1e-7));
            if i % 4 == 2 {
                mixed.push(&chord(at, &[9, 4]));
            } else {
                let midi = if i % 6 == 0 { 46 } else { 45 };
                mixed.push(&DspEvent::Note(note(at, midi, 3.0)));
                alone.push(&DspEvent::Note(note(at, midi, 3.0)));
            }
        }
        let (a, b) = (mixed.close_window(8.0), alone.close_window(8.0));
        assert_eq!(a.scores.pitch_accuracy, b.scores.pitch_accuracy);
        assert_eq!(a.scores.scale_conformity, b.scores.scale_conformity);
        let right = |s: &Session| s.closed_notes().iter().map(|n| n.right).collect::<Vec<_>>();
        assert_eq!(right(&mixed), right(&alone));
    }

    #[test]
    fn gated_soft_and_lost_notes_are_not_judged() {
        let mut s = session(&Metric::ALL);
        play(&mut s, 0.0, 10);
        let gated = NoteEvent { gated: true, ..note(3.0, 46, 45.0) };
        let verdict = s.push(&DspEvent::Note(gated)).unwrap();
        assert_eq!((verdict.in_scale, verdict.deviation_ms), (None, None));
        let soft = NoteEvent { level_db: -70.0, ..note(3.3, 46, 45.0) };
        assert_eq!(s.push(&DspEvent::Note(soft)), None);
        s.push(&DspEvent::Gap { from: 3.5, to: 3.9 });
        s.push(&frame(3.6, 1.0));
        assert!(s.push(&DspEvent::Note(note(3.6, 46, 45.0))).unwrap().note.gated);
        let w = s.close_window(4.0);
        assert_eq!((w.facts.note_count, w.facts.gated_count), (10, 2));
        assert_eq!(w.scores.overall, Some(100.0));
        let mut only = session(&Metric::ALL);
        only.push(&frame(0.5, 1e-3));
        only.push(&DspEvent::Note(gated));
        assert_eq!(only.finish(5.0).scores, Scores::default());
    }

    #[test]
    fn a_guitar_out_of_tune_is_one_remark() {
        for offset in [-49.0f32, -18.0, 12.0, 48.0] {
            let mut s = session(&Metric::ALL);
            for i in 0..40usize {
                // Heard to the nearest note: near a quarter tone, some are heard as their neighbours.
                let exact = f32::from(RUN[i % RUN.len()]) * 100.0 + offset + [-3.0, 2.0, 0.0, 3.0][i % 4];
                let midi = (exact / 100.0).round();
                s.push(&frame(0.3 * i as f64, 1e-7));
                s.push(&DspEvent::Note(note(0.3 * i as f64, midi as u8, exact - 100.0 * midi)));
            }
            let summary = s.finish(13.0);
            assert!((summary.facts.tuning_offset_cents.unwrap() - f64::from(offset)).abs() < 3.0);
            assert!(summary.scores.pitch_accuracy.unwrap() > 99.0, "{offset}: {:?}", summary.scores);
            assert_eq!(summary.scores.scale_conformity, Some(100.0), "{offset}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let mut s = session(&Metric::ALL);
        play(&mut s, 0.0, 30);
        for (i, (midi, cents)) in [(54, 0.0), (54, 0.0), (46, 0.0), (48, 30.0), (60, 30.0)].iter().enumerate()
        {
            s.push(&DspEvent::Note(note(9.0 + 0.3 * i as f64, *midi, *cents)));
        }
        let late = s.push(&DspEvent::Note(note(10.6, 45, 0.0))).unwrap();
        assert!(!late.right && (late.deviation_ms.unwrap() - 100.0).abs() < 5.0);
        let w = s.close_window(12.0);
        assert_eq!(w.facts.wrong_notes, [("F#".to_string(), 2), ("A#".to_string(), 1)]);
        let (worst, cents) = w.facts.worst_note.unwrap();
        assert_eq!(worst, "C");
        assert!(cents > 5.0);
    }

    #[test]
    fn coverage_counts_only_where_it_was_asked_for() {
        for whole in [false, true] {
            let mut s = session(&[Metric::ScaleConformity]);
            s.settings.whole_scale = whole;
            for i in 0..20 {
                s.push(&DspEvent::Note(note(f64::from(i) * 0.3, if i % 2 == 0 { 45 } else { 48 }, 0.0)));
            }
            assert_eq!(s.close_window(6.0).scores.scale_conformity, Some(100.0));
            let summary = s.finish(6.0);
            assert_eq!(summary.facts.coverage, Some(0.4));
            assert_eq!(summary.scores.scale_conformity, Some(if whole { 40.0 } else { 100.0 }));
        }
    }

    #[test]
    fn the_summary_keeps_its_field_names_and_nulls() {
        let mut s = session(&Metric::ALL);
        let empty = summary_json(&s.finish(3.0));
        let names: Vec<&str> = empty.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = vec![
            "type",
            "pitch_accuracy",
            "scale_conformity",
            "timing_stability",
            "noise_control",
            "overall",
            "note_count",
            "chord_count",
            "chords_in_scale",
            "in_scale_ratio",
            "coverage",
            "mean_abs_cents",
            "mean_signed_cents",
            "tuning_offset_cents",
            "timing_sd_ms",
            "timing_sd_interval_ms",
            "timing_notes",
            "noise_db",
            "noise_cause",
            "noise_causes",
            "mains_hz",
            "click_offset_ms",
            "subdivision",
            "swing_ratio",
            "drift_bpm_per_min",
            "tendency",
            "bpm",
        ];
        expected.sort_unstable();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        assert!(empty["overall"].is_null() && empty["tendency"].is_null());
        assert_eq!(empty["note_count"], 0);
        play(&mut s, 0.0, 30);
        let full = summary_json(&s.finish(10.0));
        assert_eq!(full["type"], "summary");
        assert_eq!(full["tendency"], "steady");
        assert_eq!(full["bpm"], 100.0);
    }
}
