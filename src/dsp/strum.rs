//! Strokes over several strings become chords; their strings are kept from being told as notes.
//!
//! The tracker follows one pitch. When several strings sound together it follows one of them, or none that was played. So
//! every note it reports passes through here and waits until its stroke has been looked at ([`super::chord`]): notes
//! of a stroke over one string go on, those of a chord are dropped and the chord is reported in their place.
//!
//! A strum is slow: its strings speak 8 to 30 ms apart. Onsets that follow each other within [`CHAIN`] are one stroke.
use super::chord::{ChordFinder, Heard as Sound, Look, SINGLE};
use super::event::{ChordEvent, DspEvent, NoteEvent, PitchClasses};
use super::note::{DEAD_AFTER, DEAD_DB};
use super::onset::Onset;
use super::tracker::{Clock, Heard};
use super::{ANALYSIS_RATE, DECIMATION, LOW_HOP, cents_between, db};

const MS: u64 = ANALYSIS_RATE as u64 / 1000;
/// Onsets closer than this may belong to one stroke: two strings between which several were not heard. Faster notes one
/// after the other are looked at together too, but only the last of them still sounds then, unless they ring on.
const CHAIN: u64 = 115 * MS;
/// What follows a chord within this is the rest of its strum.
const MERGE: u64 = 90 * MS;
/// The longest strum.
const LONGEST: u64 = 190 * MS;
/// A stroke is looked at this long after its first string, when its last has sounded for 100 ms.
const LOOK: u64 = 190 * MS;
/// A note may be timed this much before the onset that was proposed for it, seconds.
const EARLY: f64 = 0.012;
/// Onsets of a stroke that are remembered: strings, and touches of the pick before them.
const MEMBERS: usize = 8;
/// The chord begins with the first that rises by this share of the highest; what is lower is a touch.
const TOUCH_SHARE: f32 = 0.3;
/// Strokes whose verdict is remembered, and notes that wait for one.
const STROKES: usize = 8;
const WAITING: usize = 8;
/// Smallest share of what is new that is the second string's alone, of that part of it that all strings account for: where
/// two strings were found, and where more (measured: of 326 strums the lowest 2 in 100 lie at 0.15 and one below, of 250
/// single notes and noises that looked like two strings half lie below 0.14).
const SECOND: f32 = 0.15;
const SECOND_OF_MORE: f32 = 0.125;
/// Smallest share of the sound that is new lines, unless a chord rings already (of 326 strums one lies below) …
const TONAL: f32 = 0.6;
/// … and that the best string alone accounts for: less is a cloud of lines (strums 0.2 to 0.8, kitchen noise 0.1).
const BEST: f32 = 0.18;
/// Smallest share that all strings account for: noise is no sum of strings.
const EXPLAINED: f32 = 0.7;
/// A strum rises by as much at least; what stirs in noise and still looks like strings mostly does not.
const LEAST_RISE: f32 = 1.25;
/// No string of a guitar, tuned down to B1, sounds below this. Two strings a fifth apart do, through a distorting
/// amplifier: their difference tone lies an octave below the root.
const LOWEST_HZ: f32 = 58.0;
/// A chord has ended when it lies this much under its peak, for so many hops.
const FADED_DB: f32 = -30.0;
const ENDED_HOPS: u32 = 8;

#[derive(Clone, Copy, Debug)]
struct Stroke {
    first: u64,
    latest: u64,
    /// `first` on the capture clock.
    onset: f64,
    /// Its onsets: when, when that was known (both on the capture clock), and how high they rose.
    strings: [(f64, f64, f32); MEMBERS],
    count: usize,
    /// It is a chord, it is not; `None`: not looked at yet.
    chord: Option<bool>,
    /// Highest 21 ms mean square since, and the level that a note must reach, dBFS.
    peak: f32,
    threshold_db: f32,
    /// 21 ms mean square [`DEAD_AFTER`] its last string: muted strings are gone by then.
    after: Option<f32>,
}

#[derive(Clone, Copy, Debug)]
struct Ringing {
    event: ChordEvent,
    peak: f32,
    quiet: u32,
}

/// See the module.
pub(crate) struct Strums {
    finder: ChordFinder,
    a4_hz: f32,
    /// Latest last.
    strokes: [Option<Stroke>; STROKES],
    waiting: [Option<NoteEvent>; WAITING],
    ringing: Option<Ringing>,
    /// Onset of the latest note that was recognised.
    started: f64,
}

impl Strums {
    pub(crate) fn new(a4_hz: f32) -> Self {
        Self {
            finder: ChordFinder::new(),
            a4_hz,
            strokes: [None; STROKES],
            waiting: [None; WAITING],
            ringing: None,
            started: f64::NEG_INFINITY,
        }
    }

    /// A hop begins: its decimated samples.
    pub(crate) fn push(&mut self, low: &[f32; LOW_HOP]) {
        self.finder.push(low);
    }

    /// Something was struck; the samples before `end` have been heard.
    pub(crate) fn struck(&mut self, onset: Onset, end: u64, clock: Clock, sink: &mut impl FnMut(DspEvent)) {
        let at = onset.at;
        let string = (clock.seconds(at), clock.seconds(end), onset.rise);
        if let Some(s) = self.newest()
            && s.chord == Some(true)
            && at.saturating_sub(s.latest) < MERGE
        {
            s.latest = s.latest.max(at);
            return;
        }
        if let Some(s) = self.newest()
            && s.chord.is_none()
        {
            if at.saturating_sub(s.latest) < CHAIN && at.saturating_sub(s.first) < LONGEST {
                s.latest = s.latest.max(at);
                if let Some(place) = s.strings.get_mut(s.count) {
                    *place = string;
                    s.count += 1;
                }
                return;
            }
            self.decide(at, end, clock, sink);
            if let Some(s) = self.newest()
                && s.chord == Some(true)
                && at.saturating_sub(s.latest) < MERGE
            {
                s.latest = s.latest.max(at);
                return;
            }
        }
        self.strokes.copy_within(1.., 0);
        self.strokes[STROKES - 1] = Some(Stroke {
            first: at,
            latest: at,
            onset: clock.seconds(at),
            strings: [string; MEMBERS],
            count: 1,
            chord: None,
            peak: 0.0,
            threshold_db: 0.0,
            after: None,
        });
    }

    /// A hop has been heard.
    pub(crate) fn step(&mut self, heard: &Heard<'_>, clock: Clock, sink: &mut impl FnMut(DspEvent)) {
        let (end, power) = (heard.end, heard.power);
        if let Some(s) = self.newest()
            && s.chord.is_none()
        {
            s.peak = s.peak.max(power);
            s.threshold_db = heard.threshold_db;
            if s.after.is_none() && end > s.latest + DEAD_AFTER {
                s.after = Some(power);
            }
            if end >= s.latest + LOOK {
                self.decide(end, end, clock, sink);
            }
        }
        if let Some(r) = &mut self.ringing {
            r.peak = r.peak.max(power);
            r.event.level_db = db(r.peak);
            r.quiet = if db(power) < db(r.peak) + FADED_DB { r.quiet + 1 } else { 0 };
            r.event.offset = if r.quiet == 0 { clock.seconds(end) } else { r.event.offset };
            if r.quiet >= ENDED_HOPS {
                self.end_chord(None, sink);
            }
        }
    }

    /// What the tracker says: everything but notes goes on at once.
    pub(crate) fn pass(&mut self, event: DspEvent, sink: &mut impl FnMut(DspEvent)) {
        match event {
            DspEvent::Note(note) => match self.verdict(note.onset) {
                Some(Some(true)) => {}
                Some(None) => self.wait(note, sink),
                _ => self.note(note, sink),
            },
            DspEvent::NoteStart(start) if self.verdict(start.onset) == Some(Some(true)) => {}
            other => {
                if let DspEvent::NoteStart(start) = other {
                    self.started = start.onset;
                }
                sink(other);
            }
        }
    }

    /// Nothing after sample `end` may be used: everything that waits is decided with what was heard.
    pub(crate) fn close(&mut self, end: u64, clock: Clock, sink: &mut impl FnMut(DspEvent)) {
        if self.newest().is_some_and(|s| s.chord.is_none()) {
            self.decide(end, end, clock, sink);
        }
        self.end_chord(Some(clock.seconds(end)), sink);
        self.strokes = [None; STROKES];
    }

    /// A chord sounds.
    pub(crate) fn ringing(&self) -> bool {
        self.ringing.is_some()
    }

    /// Input was lost.
    pub(crate) fn reset(&mut self) {
        self.finder.reset();
    }

    fn newest(&mut self) -> Option<&mut Stroke> {
        self.strokes[STROKES - 1].as_mut()
    }

    /// The verdict on the stroke that a note of this onset belongs to.
    fn verdict(&self, onset: f64) -> Option<Option<bool>> {
        self.strokes.iter().rev().flatten().find(|s| s.onset - EARLY <= onset).map(|s| s.chord)
    }

    fn wait(&mut self, note: NoteEvent, sink: &mut impl FnMut(DspEvent)) {
        match self.waiting.iter_mut().find(|w| w.is_none()) {
            Some(place) => *place = Some(note),
            None => self.note(note, sink),
        }
    }

    fn note(&mut self, note: NoteEvent, sink: &mut impl FnMut(DspEvent)) {
        if self.ringing.is_some_and(|r| note.onset > r.event.onset) {
            self.end_chord(Some(note.onset), sink);
        }
        if note.f0 >= LOWEST_HZ {
            sink(DspEvent::Note(note));
            return;
        }
        let mut classes = PitchClasses::default();
        [0, 7].into_iter().for_each(|fifth| classes.add((note.midi + fifth) % 12));
        sink(DspEvent::Chord(ChordEvent {
            onset: note.onset,
            offset: note.offset,
            t: note.t,
            classes,
            bass: Some(note.midi.saturating_add(12)),
            level_db: note.level_db,
            confidence: 0.5 * note.confidence,
            gated: note.gated,
        }));
    }

    fn end_chord(&mut self, at: Option<f64>, sink: &mut impl FnMut(DspEvent)) {
        if let Some(mut r) = self.ringing.take() {
            r.event.offset = at.map_or(r.event.offset, |at| r.event.offset.min(at)).max(r.event.onset);
            sink(DspEvent::Chord(r.event));
        }
    }

    fn midi(&self, f1: f32) -> u8 {
        (69.0 + cents_between(f1, self.a4_hz) / 100.0).round().clamp(0.0, 127.0) as u8
    }

    fn classes(&self, look: &Look) -> PitchClasses {
        let mut classes = PitchClasses::default();
        look.strings[..look.count].iter().for_each(|&f1| classes.add(self.midi(f1) % 12));
        classes
    }

    /// Looks at the newest stroke, with what was heard until sample `until`.
    fn decide(&mut self, until: u64, end: u64, clock: Clock, sink: &mut impl FnMut(DspEvent)) {
        let Some(stroke) = self.strokes[STROKES - 1] else { return };
        let low = |n: u64| n as usize / DECIMATION;
        let since = |at: u64| low(end.saturating_sub(at));
        let sound = self.finder.look(since(stroke.first), since(stroke.latest), since(until));
        let several = if let Sound::Several(look) = sound { Some(look) } else { None };
        let dead = stroke.after.is_some_and(|p| db(p) < db(stroke.peak) + DEAD_DB);
        let look = several.filter(|l| {
            !dead
                && l.explained >= EXPLAINED
                && l.second * l.explained >= if l.count > 2 { SECOND_OF_MORE } else { SECOND }
                && (l.tonal >= TONAL || self.ringing.is_some())
                && l.single >= BEST
                && db(stroke.peak) >= stroke.threshold_db
                && stroke.strings[..stroke.count].iter().any(|s| s.2 >= LEAST_RISE)
        });
        // Where a chord rings and nothing new sounds, it is still that chord.
        let chord = look.is_some() || (self.ringing.is_some() && sound == Sound::NothingNew);
        self.strokes[STROKES - 1] = Some(Stroke { chord: Some(chord), ..stroke });
        if let (true, None) = (chord, look) {
            self.waiting = [None; WAITING];
        } else if let Some(look) = look {
            self.waiting = [None; WAITING];
            let strings = &stroke.strings[..stroke.count];
            let highest = strings.iter().fold(0.0f32, |m, s| m.max(s.2));
            let (onset, t, _) =
                strings.iter().find(|s| s.2 >= TOUCH_SHARE * highest).copied().unwrap_or(stroke.strings[0]);
            self.end_chord(Some(onset), sink);
            let bass = look.strings[..look.count].iter().map(|&f1| self.midi(f1)).min();
            let classes = self.classes(&look);
            self.ringing = Some(Ringing {
                event: ChordEvent {
                    onset,
                    offset: clock.seconds(until),
                    t,
                    classes,
                    bass,
                    level_db: db(stroke.peak),
                    // From the border to where next to nothing is one string's.
                    confidence: ((SINGLE - look.single) / SINGLE + look.second).clamp(0.0, 1.0),
                    gated: false,
                },
                peak: stroke.peak,
                quiet: 0,
            });
        } else {
            if self.started >= stroke.onset - EARLY {
                self.end_chord(Some(self.started), sink);
            }
            for i in 0..WAITING {
                if let Some(note) = self.waiting[i].take() {
                    self.note(note, sink);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::testsig::{Pluck, Signal, hz};
    use crate::dsp::{Analyzer, AnalyzerConfig};

    /// What is heard of strings struck at these times, over a little noise.
    fn heard(strings: &[(f64, u8, f64)], seconds: f64) -> (Vec<ChordEvent>, Vec<NoteEvent>) {
        let mut signal = Signal::silence(seconds);
        for &(onset, midi, length) in strings {
            signal.pluck(&Pluck::new(onset, hz(midi), length));
        }
        signal.noise(1e-4, 3);
        let (mut chords, mut notes) = (Vec::new(), Vec::new());
        let mut sink = |e| match e {
            DspEvent::Chord(c) => chords.push(c),
            DspEvent::Note(n) => notes.push(n),
            _ => {}
        };
        let mut analyzer = Analyzer::new(AnalyzerConfig::default());
        analyzer.process(&signal.samples, &mut sink);
        analyzer.finish(&mut sink);
        (chords, notes)
    }

    fn strum(at: f64, gap: f64, midi: &[u8]) -> Vec<(f64, u8, f64)> {
        midi.iter().enumerate().map(|(i, m)| (at + gap * i as f64, *m, 1.2)).collect()
    }

    fn classes(midi: &[u8]) -> Vec<u8> {
        let mut set = PitchClasses::default();
        midi.iter().for_each(|m| set.add(m % 12));
        set.iter().collect()
    }

    const CHORDS: [&[u8]; 6] = [
        &[40, 47],
        &[45, 52, 57],
        &[50, 57, 62, 66],
        &[45, 52, 57, 60, 64],
        &[40, 47, 52, 56, 59, 64],
        &[43, 47, 50, 55, 59, 67],
    ];

    #[test]
    fn a_strum_down_or_up_is_one_chord_with_its_classes_and_no_note() {
        for midi in CHORDS {
            for gap in [0.004, 0.012, 0.024] {
                let mut up = midi.to_vec();
                up.reverse();
                for order in [midi, &up] {
                    let (chords, notes) = heard(&strum(0.6, gap, order), 2.2);
                    assert_eq!((chords.len(), notes.len()), (1, 0), "{order:?} {gap}: {chords:?} {notes:?}");
                    let chord = chords[0];
                    assert_eq!(chord.classes.iter().collect::<Vec<_>>(), classes(midi), "{order:?} {gap}");
                    assert!((chord.onset - 0.6).abs() < 0.03, "{order:?} {gap}: {}", chord.onset);
                    assert!(chord.t > chord.onset && chord.offset > chord.onset + 0.5, "{chord:?}");
                    assert!((0.0..=1.0).contains(&chord.confidence));
                }
            }
        }
    }

    #[test]
    fn the_lowest_string_is_told() {
        for midi in CHORDS {
            let (chords, _) = heard(&strum(0.6, 0.012, midi), 2.2);
            assert_eq!(chords[0].bass, Some(midi[0]), "{midi:?}");
        }
    }

    #[test]
    fn strings_struck_one_after_the_other_that_ring_on_are_notes() {
        let line: Vec<(f64, u8, f64)> = [45u8, 52, 57, 60, 64, 60, 57, 52]
            .iter()
            .enumerate()
            .map(|(i, m)| (0.6 + 0.25 * i as f64, *m, 1.5))
            .collect();
        let (chords, notes) = heard(&line, 4.0);
        assert_eq!(chords, []);
        let midi: Vec<u8> = notes.iter().map(|n| n.midi).collect();
        assert_eq!(midi, [45, 52, 57, 60, 64, 60, 57, 52]);
    }

    #[test]
    fn a_note_after_a_chord_is_a_note_again() {
        let mut strings = strum(0.6, 0.012, &[45, 52, 57, 60, 64]);
        strings.push((1.6, 67, 0.6));
        let (chords, notes) = heard(&strings, 3.0);
        assert_eq!(chords.len(), 1);
        assert_eq!(notes.iter().map(|n| n.midi).collect::<Vec<_>>(), [67]);
        assert!(chords[0].offset <= notes[0].onset + 1e-9);
    }

    #[test]
    fn the_gate_and_lost_input_end_a_chord_at_once() {
        let mut signal = Signal::silence(2.0);
        for (onset, midi, length) in strum(0.6, 0.012, &[45, 52, 57, 60, 64]) {
            signal.pluck(&Pluck::new(onset, hz(midi), length));
        }
        let mut analyzer = Analyzer::new(AnalyzerConfig::default());
        let mut chords = Vec::new();
        let mut sink = |e| {
            if let DspEvent::Chord(c) = e {
                chords.push(c);
            }
        };
        analyzer.process(&signal.samples[..48_000], &mut sink);
        analyzer.skip(4800, &mut sink);
        analyzer.process(&[0.0; 48_000], &mut sink);
        assert_eq!(chords.len(), 1);
        assert!(chords[0].offset <= 1.0 + 1e-9, "{:?}", chords[0]);
    }
}
