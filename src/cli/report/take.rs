//! What a report keeps of a take: bounded, however long the take is.
//!
//! The whole take is kept as sums and as series that are halved whenever they are full. In detail (every note, the pitch
//! track, the spectrogram) only a limited time is kept: when there is more, the windows with the best scores go first,
//! since there is least to learn from them.

use super::spectrogram::{Column, Spectrogram};
use crate::dsp::event::{ChordEvent, DspEvent, FrameReport};
use crate::dsp::{ANALYSIS_RATE, HOP};
use crate::music::note::{OCTAVE, hz_to_midi};
use crate::practice::types::{JudgedNote, Scores, Window};

/// Seconds that are kept in detail. With [`DETAIL_NOTES`] this bounds the page (tests measure it).
const DETAIL_SECONDS: f64 = 1200.0;
/// Notes that are kept in detail.
const DETAIL_NOTES: usize = 5000;
/// Points of a series over the whole take.
const SERIES: usize = 960;
/// Windows shown one by one; of longer takes neighbours are taken together.
const WINDOWS: usize = 240;
/// Hops between two points of the pitch track.
const TRACK_HOPS: usize = 3;
/// Time between two points of the pitch track, seconds.
pub const TRACK_SECONDS: f64 = (TRACK_HOPS * HOP) as f64 / ANALYSIS_RATE as f64;
/// Reach of the histogram of timing, ms, and width of a bar.
pub const TIMING_REACH: (f64, f64) = (100.0, 5.0);
/// The same of intonation, cents.
pub const PITCH_REACH: (f64, f64) = (50.0, 2.5);

/// Counts over deviations of one kind, with mean and standard deviation (Welford 1962).
#[derive(Clone, Debug)]
pub struct Spread {
    /// Half width of the histogram, and width of a bar, in the unit of the values.
    pub reach: (f64, f64),
    /// Values in each bar; the outermost take in what lies beyond.
    pub bars: Vec<u64>,
    /// Values.
    pub count: u64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn new(reach: (f64, f64)) -> Self {
        let bars = (2.0 * reach.0 / reach.1).round() as usize;
        Self { reach, bars: vec![0; bars], count: 0, mean: 0.0, squares: 0.0 }
    }

    fn add(&mut self, value: f64) {
        let place = ((value + self.reach.0) / self.reach.1).floor();
        let last = self.bars.len() - 1;
        self.bars[(place.max(0.0) as usize).min(last)] += 1;
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    /// Mean; `None` without values.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Standard deviation (ddof 1); `None` with fewer than two values.
    #[must_use]
    pub fn sd(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.squares / (self.count - 1) as f64).sqrt())
    }
}

/// Onset deviations over the whole take: when there are too many, every second one is dropped.
#[derive(Clone, Debug)]
pub struct Onsets {
    /// (seconds, ms).
    pub points: Vec<(f64, f64)>,
    /// Every how-many-th note is in `points`.
    pub every: usize,
    seen: usize,
}

impl Onsets {
    fn add(&mut self, t: f64, ms: f64) {
        if self.seen.is_multiple_of(self.every) {
            if self.points.len() == SERIES {
                let mut keep = false;
                self.points.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.every *= 2;
            }
            // After halving, this one may be one of those left out.
            if self.seen.is_multiple_of(self.every) {
                self.points.push((t, ms));
            }
        }
        self.seen += 1;
    }
}

/// Wanted and unwanted sound over the whole take, in bins of equal length.
#[derive(Clone, Debug)]
pub struct Noise {
    /// Hops in each bin.
    pub hops: u64,
    /// (wanted, unwanted) summed power, and how many hops.
    pub bins: Vec<(f64, f64, u64)>,
}

impl Noise {
    /// Hops in a bin at first: half a second.
    const FIRST: u64 = (ANALYSIS_RATE as usize / HOP / 2) as u64;

    fn add(&mut self, frame: &FrameReport) {
        let usable = |p: f32| if p.is_finite() && p > 0.0 { f64::from(p) } else { 0.0 };
        if self.bins.last().is_none_or(|bin| bin.2 == self.hops) {
            if self.bins.len() == SERIES {
                self.bins = self
                    .bins
                    .chunks(2)
                    .map(|two| two.iter().fold((0.0, 0.0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2)))
                    .collect();
                self.hops *= 2;
            }
            self.bins.push((0.0, 0.0, 0));
        }
        if let Some(bin) = self.bins.last_mut() {
            *bin = (bin.0 + usable(frame.wanted), bin.1 + usable(frame.unwanted), bin.2 + 1);
        }
    }
}

/// One window, or several neighbours, in a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Index of the first window.
    pub index: u32,
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
    /// Notes judged.
    pub notes: usize,
    /// Of them wrong.
    pub wrong: usize,
    /// Scores; of several windows their mean, weighted by notes.
    pub scores: Scores,
}

impl Row {
    fn with(&self, other: &Self) -> Self {
        let mean = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => {
                let (n, m) = (self.notes.max(1) as f64, other.notes.max(1) as f64);
                Some((a * n + b * m) / (n + m))
            }
            (a, b) => a.or(b),
        };
        let (a, b) = (&self.scores, &other.scores);
        Self {
            index: self.index,
            start: self.start,
            end: other.end,
            notes: self.notes + other.notes,
            wrong: self.wrong + other.wrong,
            scores: Scores {
                pitch_accuracy: mean(a.pitch_accuracy, b.pitch_accuracy),
                scale_conformity: mean(a.scale_conformity, b.scale_conformity),
                timing_stability: mean(a.timing_stability, b.timing_stability),
                noise_control: mean(a.noise_control, b.noise_control),
                overall: mean(a.overall, b.overall),
            },
        }
    }
}

/// How one pitch class was played.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Class {
    /// How often.
    pub times: usize,
    /// Notes of it that were wrong in some way.
    pub wrong: usize,
    /// Sum of the deviations, cents.
    pub cents: f64,
    /// Sum of the absolute deviations, cents.
    pub off: f64,
}

/// A note with its deviation in cents, the offset of the whole guitar taken out.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// The note and its verdict.
    pub judged: JudgedNote,
    /// Cents.
    pub cents: f64,
}

/// A window in detail.
#[derive(Clone, Debug)]
pub struct Detail {
    /// Its scores and facts.
    pub window: Window,
    /// Its notes.
    pub notes: Vec<Played>,
    /// Its chords.
    pub chords: Vec<ChordEvent>,
    /// Pitch as fractional MIDI number at every [`TRACK_SECONDS`] from its start; `None` where none was heard.
    pub track: Vec<Option<f32>>,
    /// Spectrogram, with the time of the first column's centre.
    pub columns: Vec<Column>,
    /// See `columns`.
    pub first_column: f64,
}

/// The window under way.
#[derive(Debug, Default)]
struct Running {
    track: Vec<Option<f32>>,
    chords: Vec<ChordEvent>,
    hops: usize,
    columns: Vec<Column>,
    first_column: f64,
}

/// Everything that a report is made from.
#[derive(Debug)]
pub struct Take {
    a4: f64,
    spectrogram: Spectrogram,
    running: Running,
    /// A window that is over, but for the last columns of its spectrogram.
    closing: Option<Detail>,
    /// Windows in detail, in order of time.
    pub details: Vec<Detail>,
    /// Windows that are left out of `details`.
    pub dropped: usize,
    /// All windows.
    pub rows: Vec<Row>,
    /// Windows taken together in each row.
    pub windows_a_row: usize,
    windows: usize,
    /// Onset deviations.
    pub onsets: Onsets,
    /// Timing, ms.
    pub timing: Spread,
    /// Intonation, cents.
    pub pitch: Spread,
    /// Noise.
    pub noise: Noise,
    /// By pitch class, from C.
    pub classes: [Class; OCTAVE as usize],
    /// Chords heard.
    pub chords: usize,
    /// Notes judged right and wrong.
    pub right: usize,
    /// See `right`.
    pub wrong: usize,
}

impl Take {
    /// Nothing heard yet. `a4` in Hz.
    #[must_use]
    pub fn new(a4: f64) -> Self {
        Self {
            a4,
            spectrogram: Spectrogram::default(),
            running: Running::default(),
            closing: None,
            details: Vec::new(),
            dropped: 0,
            rows: Vec::new(),
            windows_a_row: 1,
            windows: 0,
            onsets: Onsets { points: Vec::new(), every: 1, seen: 0 },
            timing: Spread::new(TIMING_REACH),
            pitch: Spread::new(PITCH_REACH),
            noise: Noise { hops: Noise::FIRST, bins: Vec::new() },
            classes: [Class::default(); OCTAVE as usize],
            chords: 0,
            right: 0,
            wrong: 0,
        }
    }

    /// Samples at [`ANALYSIS_RATE`], before the events that they cause.
    pub fn samples(&mut self, samples: &[f32]) {
        let Self { spectrogram, running, closing, .. } = self;
        spectrogram.push(samples, &mut |t, column| place(running, closing, t, column));
    }

    /// What was heard.
    pub fn event(&mut self, event: &DspEvent) {
        let frame = match event {
            DspEvent::Frame(frame) => frame,
            DspEvent::Chord(chord) => {
                self.chords += 1;
                return self.running.chords.push(*chord);
            }
            _ => return,
        };
        self.noise.add(frame);
        if self.running.hops.is_multiple_of(TRACK_HOPS) {
            let pitch = frame.f0.filter(|_| !frame.provisional).map(f64::from);
            self.running.track.push(pitch.map(|hz| hz_to_midi(hz, self.a4) as f32).filter(|m| m.is_finite()));
        }
        self.running.hops += 1;
    }

    /// A window was closed, with the final verdicts on its notes.
    pub fn window(&mut self, window: &Window, notes: &[JudgedNote]) {
        let offset = window.facts.tuning_offset_cents.unwrap_or(0.0);
        let played: Vec<Played> = notes
            .iter()
            .map(|n| {
                let cents = f64::from(n.note.cents) - offset;
                Played { judged: n.clone(), cents: cents - 100.0 * (cents / 100.0).round() }
            })
            .collect();
        let mut wrong = 0;
        for note in played.iter().filter(|p| !p.judged.note.gated) {
            self.count(note);
            wrong += usize::from(!note.judged.right);
        }
        self.row(Row {
            index: window.index,
            start: window.start,
            end: window.end,
            notes: window.facts.note_count,
            wrong,
            scores: window.scores,
        });
        if let Some(before) = self.closing.take() {
            self.keep(before);
        }
        let running = std::mem::take(&mut self.running);
        self.closing = Some(Detail {
            window: window.clone(),
            notes: played,
            chords: running.chords,
            track: running.track,
            columns: running.columns,
            first_column: running.first_column,
        });
    }

    /// The take is over.
    pub fn finish(&mut self) {
        let Self { spectrogram, running, closing, .. } = self;
        spectrogram.finish(&mut |t, column| place(running, closing, t, column));
        if let Some(last) = self.closing.take() {
            self.keep(last);
        }
    }

    fn count(&mut self, note: &Played) {
        let judged = &note.judged;
        *(if judged.right { &mut self.right } else { &mut self.wrong }) += 1;
        self.pitch.add(note.cents);
        if let Some(ms) = judged.deviation_ms {
            self.timing.add(ms);
            self.onsets.add(judged.note.onset, ms);
        }
        let class = &mut self.classes[usize::from(judged.note.midi % OCTAVE)];
        class.times += 1;
        class.wrong += usize::from(!judged.right);
        class.cents += note.cents;
        class.off += note.cents.abs();
    }

    fn row(&mut self, row: Row) {
        if self.windows.is_multiple_of(self.windows_a_row) && self.rows.len() == WINDOWS {
            let joined = |two: &[Row]| if let [a, b] = two { a.with(b) } else { two[0].clone() };
            self.rows = self.rows.chunks(2).map(joined).collect();
            self.windows_a_row *= 2;
        }
        match self.rows.last_mut() {
            Some(last) if !self.windows.is_multiple_of(self.windows_a_row) => *last = last.with(&row),
            _ => self.rows.push(row),
        }
        self.windows += 1;
    }

    fn keep(&mut self, detail: Detail) {
        self.details.push(detail);
        let notes = |d: &[Detail]| d.iter().map(|d| d.notes.len() + d.chords.len()).sum::<usize>();
        let seconds = |d: &[Detail]| d.iter().map(|d| d.window.end - d.window.start).sum::<f64>();
        while self.details.len() > 1
            && (notes(&self.details) > DETAIL_NOTES || seconds(&self.details) > DETAIL_SECONDS)
        {
            // Nothing played: nothing to learn. Between equals the later one goes.
            let worth = |d: &Detail| d.window.scores.overall.unwrap_or(f64::INFINITY);
            let best = (0..self.details.len())
                .max_by(|&a, &b| worth(&self.details[a]).total_cmp(&worth(&self.details[b])))
                .unwrap_or(0);
            self.details.remove(best);
            self.dropped += 1;
        }
    }
}

/// A column of the spectrogram comes later than the events of its time: it may belong to the window just closed.
fn place(running: &mut Running, closing: &mut Option<Detail>, t: f64, column: Column) {
    match closing {
        Some(detail) if t < detail.window.end => {
            if detail.columns.is_empty() {
                detail.first_column = t;
            }
            detail.columns.push(column);
        }
        _ => {
            if running.columns.is_empty() {
                running.first_column = t;
            }
            running.columns.push(column);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::event::NoisePowers;
    use crate::dsp::event::{NoteEvent, Technique};
    use crate::practice::types::Facts;

    fn note(onset: f64, cents: f32, ms: f64) -> JudgedNote {
        let note = NoteEvent {
            onset,
            offset: onset + 0.2,
            t: onset + 0.02,
            settled: onset + 0.02,
            midi: 57,
            f0: 220.0,
            cents,
            level_db: -20.0,
            confidence: 0.9,
            inharmonicity: None,
            technique: Technique::default(),
            gated: false,
        };
        JudgedNote {
            note,
            in_scale: None,
            deviation_ms: Some(ms),
            place: None,
            right: ms.abs() < 30.0,
            reason: None,
        }
    }

    fn window(index: u32, overall: f64, seconds: f64) -> Window {
        Window {
            index,
            start: f64::from(index) * seconds,
            end: f64::from(index + 1) * seconds,
            scores: Scores { overall: Some(overall), ..Scores::default() },
            facts: Facts { note_count: 4, tuning_offset_cents: Some(-10.0), ..Facts::default() },
            weakest: None,
            strongest: None,
        }
    }

    #[test]
    fn a_spread_has_the_mean_and_deviation_of_its_values() {
        let mut s = Spread::new((100.0, 5.0));
        assert_eq!((s.mean(), s.sd()), (None, None));
        for x in [-130.0, -2.0, 0.0, 4.9, 5.0, 300.0] {
            s.add(x);
        }
        assert_eq!((s.bars[0], s.bars[19], s.bars[20], s.bars[21], s.bars[39]), (1, 1, 2, 1, 1));
        assert!((s.mean().unwrap() - 29.65).abs() < 1e-9);
        assert!((s.sd().unwrap() - 142.603).abs() < 0.001, "{:?}", s.sd());
    }

    #[test]
    fn however_long_nothing_grows_without_end_and_counts_stay_true() {
        let mut take = Take::new(440.0);
        let frame = FrameReport {
            t: 0.0,
            w: 0.0,
            f0: Some(220.0),
            confidence: 1.0,
            provisional: false,
            level_db: -20.0,
            wanted: 1e-3,
            unwanted: 1e-6,
            causes: NoisePowers::default(),
        };
        for i in 0..5000u32 {
            (0..500).for_each(|_| take.event(&DspEvent::Frame(frame)));
            let notes: Vec<JudgedNote> =
                (0..4).map(|k| note(f64::from(i) * 30.0 + f64::from(k), -4.0, f64::from(k) * 20.0)).collect();
            take.window(&window(i, f64::from(i % 97), 30.0), &notes);
        }
        take.finish();
        assert!(take.rows.len() <= WINDOWS && take.windows_a_row == 32, "{}", take.windows_a_row);
        assert_eq!(take.rows.iter().map(|r| r.notes).sum::<usize>(), 20_000);
        assert_eq!(take.rows.iter().map(|r| r.wrong).sum::<usize>(), 10_000);
        assert_eq!((take.right, take.wrong), (10_000, 10_000));
        assert!(take.onsets.points.len() <= SERIES && take.onsets.points.is_sorted());
        assert!(take.noise.bins.len() <= SERIES);
        assert_eq!(take.noise.bins.iter().map(|b| b.2).sum::<u64>(), 2_500_000);
        assert_eq!((take.timing.count, take.pitch.count), (20_000, 20_000));
        assert!((take.pitch.mean().unwrap() - 6.0).abs() < 1e-9, "the guitar's offset is taken out");
        // The worst windows are there in detail, in order of time.
        assert_eq!(take.details.len(), 40);
        assert_eq!(take.dropped, 4960);
        assert!(take.details.iter().all(|d| d.window.scores.overall == Some(0.0)));
        assert!(take.details.is_sorted_by_key(|d| d.window.index));
    }

    #[test]
    fn columns_fall_into_the_window_of_their_time() {
        let mut take = Take::new(440.0);
        for i in 0..3u32 {
            take.samples(&[0.1; 48_000]);
            take.window(&window(i, 50.0, 1.0), &[]);
        }
        take.finish();
        for (i, d) in take.details.iter().enumerate() {
            assert_eq!(d.columns.len(), 20, "window {i}");
            assert!((d.first_column - i as f64 - 0.025).abs() < 1e-9);
        }
    }
}
