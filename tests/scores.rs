//! The promise of the scores: flawless playing has full marks, each kind of mistake lowers its own score and no other,
//! and nothing that can be heard makes a score leave 0..=100.
//!
//! Everything here works on what a perfect ear would report of the virtual guitarist; the ear itself is tested elsewhere.

use fretcoach::audio::guitarist::{Mistakes, Pattern, Performance, TruthNote, truth};
use fretcoach::dsp::event::{DspEvent, FrameReport, NoteEvent, NoteStart, Technique};
use fretcoach::music::grid::Tempo;
use fretcoach::music::note::midi_to_hz;
use fretcoach::music::scale::Scale;
use fretcoach::practice::score::{right_cents, right_ms};
use fretcoach::practice::timing::Click;
use fretcoach::practice::types::{JudgedNote, Metric, Reason, Scores, Summary};
use fretcoach::practice::{Session, Settings, summary_json};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Frames per second of the simulated ear.
const FRAMES: f64 = 100.0;
/// Power of a note at -18 dBFS RMS, and what is left between notes on a clean cable.
const WANTED: f32 = 1.6e-2;
const HISS: f32 = 1e-7;

/// What a perfect ear reports of these notes; `noise` (0..=1) is the amplitude of string noise between them.
fn heard(notes: &[TruthNote], noise: f64) -> Vec<DspEvent> {
    let mut events: Vec<(f64, DspEvent)> = Vec::new();
    for note in notes {
        // Heard to the nearest semitone.
        let exact = f64::from(note.midi) + note.cents / 100.0;
        let midi = exact.round();
        let event = NoteEvent {
            onset: note.onset,
            offset: note.offset,
            t: note.onset + 0.05,
            midi: midi as u8,
            f0: midi_to_hz(exact, 440.0) as f32,
            cents: (100.0 * (exact - midi)) as f32,
            level_db: -13.0,
            confidence: 0.95,
            settled: note.onset + 0.05,
            inharmonicity: None,
            technique: Technique::default(),
            gated: false,
        };
        events.push((note.offset, DspEvent::Note(event)));
    }
    let end = notes.iter().map(|n| n.offset).fold(0.0, f64::max) + 0.3;
    for i in 0..(end * FRAMES) as usize {
        let t = i as f64 / FRAMES;
        let sounding = notes.iter().find(|n| (n.onset..n.offset - 0.04).contains(&t));
        let squeak = if sounding.is_none() { noise * noise * 0.02 } else { 0.0 };
        let frame = FrameReport {
            t,
            w: 0.02,
            f0: sounding.map(|n| midi_to_hz(f64::from(n.midi), 440.0) as f32),
            confidence: if sounding.is_some() { 0.95 } else { 0.0 },
            provisional: false,
            level_db: -18.0,
            wanted: if sounding.is_some() { WANTED } else { 0.0 },
            unwanted: HISS + squeak as f32,
            causes: fretcoach::dsp::event::NoisePowers::default(),
        };
        events.push((t, DspEvent::Frame(frame)));
    }
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    events.into_iter().map(|(_, event)| event).collect()
}

fn scale(name: &str) -> Scale {
    Scale::parse(name).unwrap()
}

fn judge(scale: Scale, bpm: Option<f64>, strictness: f64, events: &[DspEvent]) -> Summary {
    let settings = Settings::new(Some(scale), bpm, Metric::ALL.to_vec(), 0.5, strictness, false).unwrap();
    let mut session = Session::new(settings);
    let mut now = 0.0;
    let mut closed = 0.0;
    for event in events {
        session.push(event);
        if let DspEvent::Frame(frame) = event {
            now = frame.t;
        }
        if now - closed >= 30.0 {
            session.close_window(now);
            closed = now;
        }
    }
    session.finish(now)
}

/// Plays and judges, with the tempo known or not.
fn play(performance: &Performance, known: bool) -> Summary {
    let events = heard(&truth(performance), performance.mistakes.noise);
    judge(performance.scale, known.then_some(performance.bpm), 0.5, &events)
}

fn each(scores: &Scores) -> [f64; 4] {
    Metric::ALL.map(|m| scores.get(m).unwrap_or_else(|| panic!("{m} was not measured: {scores:?}")))
}

const PATTERNS: [Pattern; 5] =
    [Pattern::Scale, Pattern::Thirds, Pattern::Fours, Pattern::Riff, Pattern::Mixed];

#[test]
fn flawless_playing_has_full_marks() {
    for pattern in PATTERNS {
        for (name, bpm) in
            [("A minor pentatonic", 100.0), ("F# dorian", 60.0), ("Eb major", 144.0), ("E blues", 84.0)]
        {
            for known in [true, false] {
                let performance =
                    Performance { scale: scale(name), bpm, pattern, bars: 12, ..Performance::default() };
                let summary = play(&performance, known);
                assert!(
                    each(&summary.scores).iter().all(|s| *s >= 98.0),
                    "{pattern} {name} {bpm} {known}: {summary:?}"
                );
                assert!(summary.scores.overall.unwrap() >= 98.0);
                assert!(summary.facts.timing_sd_ms.unwrap() < 2.0);
            }
        }
    }
}

/// Plays one kind of mistake in rising size and checks that its own score falls and no other moves.
fn only_lowers(
    metric: Metric,
    sizes: &[f64],
    mistakes: impl Fn(f64) -> Mistakes,
    tempos: &[bool],
    least_fall: f64,
) {
    let own = Metric::ALL.iter().position(|m| *m == metric).unwrap();
    for &known in tempos {
        for pattern in [Pattern::Scale, Pattern::Mixed] {
            for seed in 1..3 {
                let performance = |size| Performance {
                    mistakes: mistakes(size),
                    pattern,
                    seed,
                    bars: 14,
                    ..Performance::default()
                };
                let clean = each(&play(&performance(0.0), known).scores);
                let mut last = clean[own];
                for &size in sizes {
                    let summary = play(&performance(size), known);
                    let scores = each(&summary.scores);
                    let context = format!("{metric} {size} {pattern} known {known} seed {seed}: {summary:?}");
                    // Among scores that all need work, chance decides which grid lies nearest to the chaos.
                    let slack = if last < 30.0 { 3.0 } else { 0.0 };
                    assert!(scores[own] <= last + slack, "{last} before {context}");
                    last = scores[own];
                    for i in (0..4).filter(|i| *i != own) {
                        assert!((clean[i] - scores[i]).abs() <= 3.0, "{i} {clean:?} {context}");
                    }
                }
                assert!(
                    clean[own] - last >= least_fall,
                    "{metric} {pattern} known {known} seed {seed}: {last}"
                );
            }
        }
    }
}

#[test]
fn uneven_timing_lowers_timing_alone() {
    let of = |timing_ms| Mistakes { timing_ms, ..Mistakes::default() };
    only_lowers(Metric::TimingStability, &[6.0, 12.0, 20.0, 30.0, 45.0], of, &[true, false], 40.0);
}

#[test]
fn a_drifting_tempo_lowers_timing_alone() {
    let of = |drift_bpm_per_min| Mistakes { drift_bpm_per_min, ..Mistakes::default() };
    only_lowers(Metric::TimingStability, &[1.0, 2.0, 4.0, 8.0], of, &[false], 20.0);
    only_lowers(Metric::TimingStability, &[0.3, 0.6, 1.2], of, &[true], 20.0);
}

#[test]
fn wrong_notes_lower_the_scale_alone() {
    let of = |wrong| Mistakes { wrong, ..Mistakes::default() };
    only_lowers(Metric::ScaleConformity, &[0.05, 0.1, 0.2, 0.4], of, &[true, false], 20.0);
}

#[test]
fn detuned_notes_lower_pitch_alone() {
    // At 15 cents of spread one note in a thousand is beyond a quarter tone and heard as its neighbour.
    let of = |detune_cents| Mistakes { detune_cents, ..Mistakes::default() };
    only_lowers(Metric::PitchAccuracy, &[4.0, 8.0, 12.0, 16.0], of, &[true, false], 20.0);
}

#[test]
fn string_noise_lowers_noise_control_alone() {
    let of = |noise| Mistakes { noise, ..Mistakes::default() };
    only_lowers(Metric::NoiseControl, &[0.1, 0.2, 0.4, 0.8], of, &[true, false], 20.0);
}

#[test]
fn a_guitar_out_of_tune_lowers_nothing() {
    for offset in [-48.0, -25.0, -10.0, 7.0, 30.0, 49.0] {
        let mistakes = Mistakes { guitar_offset_cents: offset, ..Mistakes::default() };
        let summary = play(&Performance { mistakes, bars: 12, ..Performance::default() }, true);
        assert!(each(&summary.scores).iter().all(|s| *s >= 98.0), "{offset}: {summary:?}");
        assert!((summary.facts.tuning_offset_cents.unwrap() - offset).abs() < 1.0);
        // What was heard is told as it was heard.
        if offset.abs() < 40.0 {
            assert!((summary.facts.mean_signed_cents.unwrap() - offset).abs() < 1.0);
        }
    }
}

/// Seconds of silence before the virtual guitarist's first beat.
const LEAD_IN: f64 = fretcoach::audio::guitarist::LEAD_IN_SECONDS;

/// What the session says of each note of a performance played to a click whose round trip is known.
fn to_a_click(performance: &Performance, strictness: f64) -> (Vec<TruthNote>, Vec<JudgedNote>) {
    let notes = truth(performance);
    let settings =
        Settings::new(Some(performance.scale), None, Metric::ALL.to_vec(), 0.5, strictness, false).unwrap();
    let mut session = Session::new(settings);
    let tempo = Tempo::new(performance.bpm).unwrap();
    session.set_click(Some(Click { origin: LEAD_IN, tempo, latency_known: true }));
    for event in heard(&notes, 0.0) {
        session.push(&event);
    }
    session.finish(notes.last().unwrap().offset);
    let judged = session.closed_notes();
    assert_eq!(notes.len(), judged.len());
    (notes, judged)
}

#[test]
fn every_mistake_comes_back_with_its_note_and_its_reason() {
    let mut found = [0; 3];
    for mistakes in
        ["none", "wrong=0.2", "detune=15", "timing=30", "wrong=0.1,detune=12,timing=25,offset=-12"]
    {
        for (pattern, seed) in [(Pattern::Scale, 1), (Pattern::Riff, 3), (Pattern::Mixed, 4)] {
            let mistakes: Mistakes = mistakes.parse().unwrap();
            let performance = Performance { mistakes, pattern, seed, bars: 12, ..Performance::default() };
            for strictness in [0.2, 0.8] {
                let (notes, judged) = to_a_click(&performance, strictness);
                for (t, n) in notes.iter().zip(&judged) {
                    let what = format!("{mistakes:?} {pattern} {strictness}: {t:?} {n:?}");
                    let ms = 1000.0 * (t.onset - t.grid);
                    // Among sixteenths such a note lies nearer to the next place.
                    if pattern == Pattern::Mixed && ms.abs() > 55.0 {
                        continue;
                    }
                    assert!((n.deviation_ms.unwrap() - ms).abs() < 1.0, "{what}");
                    assert_eq!(n.right, n.reason.is_none());
                    let cents = t.cents - mistakes.guitar_offset_cents;
                    if let Some(Reason::NotInScale(nearest)) = n.reason {
                        assert!(
                            t.wrong && nearest.abs_diff(t.midi) == 1 && performance.scale.contains(nearest),
                            "{what}"
                        );
                        found[0] += 1;
                        continue;
                    }
                    assert!(!t.wrong, "{what}");
                    // The place decides how fast notes follow each other; sixteenths at 100 bpm are 150 ms apart.
                    let (late, off) =
                        (ms.abs() / right_ms(strictness, 150.0), cents.abs() / right_cents(strictness));
                    match n.reason {
                        Some(Reason::Late(v) | Reason::Early(v)) => {
                            assert_eq!(matches!(n.reason, Some(Reason::Late(_))), ms > 0.0, "{what}");
                            assert!((v - ms.abs()).abs() < 1.0 && late > 0.98 && late > 0.8 * off, "{what}");
                            found[1] += 1;
                        }
                        Some(Reason::Sharp(v) | Reason::Flat(v)) => {
                            assert_eq!(matches!(n.reason, Some(Reason::Sharp(_))), cents > 0.0, "{what}");
                            // The guitar's own offset is estimated from these very notes.
                            assert!((v - cents.abs()).abs() < 4.0 && off > 0.7, "{what}");
                            found[2] += 1;
                        }
                        _ => {
                            assert!(ms.abs() < right_ms(strictness, 600.0) + 1.0 && off < 1.3, "{what}");
                        }
                    }
                }
            }
        }
    }
    assert!(found.iter().all(|f| *f >= 20), "{found:?}");
}

#[test]
fn few_notes_have_an_interval_and_no_score() {
    let notes = line(&[0.0, 0.3, 0.61, 0.9, 1.19], 0.5, |i| RUN[i % 5]);
    let summary = judge(scale("A minor pentatonic"), Some(100.0), 0.5, &heard(&notes, 0.0));
    assert_eq!((summary.scores.timing_stability, summary.facts.timing_sd_ms), (None, None));
    assert_eq!(summary.facts.timing_notes, 5);
    let (low, high) = summary.facts.timing_sd_interval_ms.unwrap();
    assert!(low > 3.0 && low < high && high < 30.0, "{low} to {high}");
    assert!(summary.scores.overall.unwrap() >= 98.0);
}

#[test]
fn swung_playing_costs_nothing() {
    let swung: Vec<f64> =
        (0..48).map(|i| 0.6 * f64::from(i / 2) + if i % 2 == 1 { 0.38 } else { 0.0 }).collect();
    for bpm in [Some(100.0), None] {
        let notes = line(&swung, 1.0, |i| RUN[i % 5]);
        let summary = judge(scale("A minor pentatonic"), bpm, 0.5, &heard(&notes, 0.0));
        assert!(summary.scores.timing_stability.unwrap() >= 98.0, "{summary:?}");
        assert!((summary.facts.swing_ratio.unwrap() - 0.38 / 0.22).abs() < 0.05, "{summary:?}");
    }
}

#[test]
fn strictness_weighs_errors_harder() {
    let mistakes: Mistakes = "timing=15,detune=10,noise=0.3".parse().unwrap();
    let performance = Performance { mistakes, bars: 16, ..Performance::default() };
    let events = heard(&truth(&performance), mistakes.noise);
    let at = |s| each(&judge(performance.scale, Some(100.0), s, &events).scores);
    let (mild, middle, strict) = (at(0.0), at(0.5), at(1.0));
    for i in [0, 2, 3] {
        assert!(mild[i] > middle[i] + 2.0 && middle[i] > strict[i] + 2.0, "{mild:?} {middle:?} {strict:?}");
    }
    assert_eq!(mild[1], strict[1]);
}

#[test]
fn live_windows_and_session_tell_the_same_story() {
    let mistakes: Mistakes = "timing=15,detune=8,wrong=0.1,noise=0.2".parse().unwrap();
    let performance = Performance { mistakes, bars: 50, ..Performance::default() };
    let summary = play(&performance, true);
    let windows: Vec<f64> = summary.overall_by_window.iter().flatten().copied().collect();
    assert!(windows.len() >= 4);
    let mean = windows.iter().sum::<f64>() / windows.len() as f64;
    assert!((mean - summary.scores.overall.unwrap()).abs() < 3.0, "{windows:?} {summary:?}");
}

/// Note lengths in beats: quarters, eighths, rests, and now and then triplets.
fn rhythm(triplets: u32) -> impl Strategy<Value = Vec<(f64, bool)>> {
    let third = 1.0 / 3.0;
    let beat = prop_oneof![
        4 => Just(vec![(1.0, true)]),
        4 => Just(vec![(0.5, true), (0.5, true)]),
        triplets => Just(vec![(third, true), (third, true), (third, true)]),
        1 => Just(vec![(1.0, false)]),
        1 => Just(vec![(0.5, false), (0.5, true)]),
    ];
    prop::collection::vec(beat, 16..48).prop_map(|beats| beats.concat())
}

fn onsets(rhythm: &[(f64, bool)], bpm: f64) -> Vec<f64> {
    let mut beat = 0.0;
    rhythm
        .iter()
        .filter_map(|(length, sounds)| {
            let onset = beat * 60.0 / bpm;
            beat += length;
            sounds.then_some(onset)
        })
        .collect()
}

fn line(onsets: &[f64], start: f64, midi: impl Fn(usize) -> u8) -> Vec<TruthNote> {
    onsets
        .iter()
        .enumerate()
        .map(|(i, at)| TruthNote {
            onset: start + at,
            offset: start + at + 0.12,
            midi: midi(i),
            cents: 0.0,
            wrong: false,
            grid: start + at,
        })
        .collect()
}

const RUN: [u8; 5] = [45, 48, 50, 52, 55];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        // The same cases on every run: a failure is a change of the program, never of luck.
        rng_seed: RngSeed::Fixed(20_261_120),
        ..ProptestConfig::default()
    })]

    #[test]
    fn mixed_note_lengths_and_rests_are_no_errors(
        rhythm in rhythm(2), bpm in 60.0..150.0f64, latency in 0.0..3.0f64,
    ) {
        let notes = line(&onsets(&rhythm, bpm), latency, |i| RUN[i % 5]);
        prop_assume!(notes.len() >= 12);
        let summary = judge(scale("A minor pentatonic"), Some(bpm), 0.5, &heard(&notes, 0.0));
        prop_assert!(summary.scores.timing_stability.unwrap() >= 98.0, "{summary:?}");
    }

    // Without a tempo, one triplet among many eighths cannot be told from three notes off the beat.
    #[test]
    fn mixed_note_lengths_are_no_errors_without_a_tempo(
        rhythm in rhythm(0), bpm in 60.0..150.0f64, latency in 0.0..3.0f64,
    ) {
        let notes = line(&onsets(&rhythm, bpm), latency, |i| RUN[i % 5]);
        prop_assume!(notes.len() >= 12);
        let summary = judge(scale("A minor pentatonic"), None, 0.5, &heard(&notes, 0.0));
        prop_assert!(summary.scores.timing_stability.unwrap() >= 98.0, "{summary:?}");
    }

    #[test]
    fn latency_changes_nothing(latency in 0.0..2.0f64, seed in 0..50u64) {
        let performance = Performance {
            mistakes: "timing=12".parse().unwrap(), pattern: Pattern::Riff, bars: 12, seed, ..Performance::default()
        };
        let early = truth(&performance);
        let mut late = early.clone();
        for note in &mut late {
            note.onset += latency;
            note.offset += latency;
        }
        let score = |notes: &[TruthNote]| {
            each(&judge(performance.scale, Some(100.0), 0.5, &heard(notes, 0.0)).scores)[2]
        };
        prop_assert!((score(&early) - score(&late)).abs() < 0.5);
    }

    #[test]
    fn transposing_changes_nothing(steps in -5i8..20, seed in 0..50u64) {
        let performance = Performance {
            mistakes: "timing=10,wrong=0.2,detune=8".parse().unwrap(), pattern: Pattern::Mixed, bars: 12, seed,
            ..Performance::default()
        };
        let low = truth(&performance);
        let mut high = low.clone();
        for note in &mut high {
            note.midi = note.midi.saturating_add_signed(steps);
        }
        let root = (9 + i32::from(steps)).rem_euclid(12) as u8;
        let moved = Scale::new(fretcoach::music::note::NoteName::of_pitch_class(root, true), performance.scale.kind());
        let a = judge(performance.scale, None, 0.5, &heard(&low, 0.0));
        let b = judge(moved, None, 0.5, &heard(&high, 0.0));
        prop_assert_eq!(a.scores, b.scores);
        prop_assert_eq!(a.facts.coverage, b.facts.coverage);
    }

    #[test]
    fn nothing_that_is_reported_breaks_the_scores(
        events in prop::collection::vec(hostile(), 0..70),
        bpm in prop::option::of(20.0..400.0f64),
        strictness in 0.0..=1.0f64,
    ) {
        let settings = Settings::new(
            Some(scale("A minor")), bpm, Metric::ALL.to_vec(), 1.0, strictness, true).unwrap();
        let mut session = Session::new(settings);
        let check = |scores: &Scores| {
            let all = Metric::ALL.iter().filter_map(|m| scores.get(*m)).chain(scores.overall);
            for score in all {
                assert!((0.0..=100.0).contains(&score), "{scores:?}");
            }
        };
        let mut ends = 0.0;
        for (i, event) in events.iter().enumerate() {
            if let Some(note) = session.push(event) {
                assert!(note.deviation_ms.is_none_or(f64::is_finite));
            }
            check(&session.current().0);
            if i % 17 == 16 {
                let now = match event { DspEvent::Frame(f) => f.t, _ => i as f64 };
                let window = session.close_window(now);
                check(&window.scores);
                assert!(window.start >= ends && window.end >= window.start);
                ends = window.end;
            }
        }
        let summary = session.finish(f64::NAN);
        check(&summary.scores);
        assert!(summary.duration.is_finite());
        for (name, value) in summary_json(&summary).as_object().unwrap() {
            // NaN and infinity would have become null beside a score that was measured.
            if summary.facts.note_count > 0 && ["note_count", "in_scale_ratio", "mean_abs_cents", "mean_signed_cents"].contains(&name.as_str()) {
                assert!(value.is_number(), "{name}: {value}");
            }
        }
    }
}

fn wild() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.0..60.0f64,
        1 => any::<f64>(),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1e300), Just(1e300), Just(-0.0), Just(1e7)],
    ]
}

fn hostile() -> impl Strategy<Value = DspEvent> {
    let note = (
        wild(),
        wild(),
        wild(),
        any::<u8>(),
        wild(),
        prop_oneof![4 => -50.0..50.0f64, 1 => wild()],
        wild(),
        any::<bool>(),
    )
        .prop_map(|(onset, offset, t, midi, f0, cents, level, gated)| {
            DspEvent::Note(NoteEvent {
                onset,
                offset,
                t,
                midi,
                f0: f0 as f32,
                cents: cents as f32,
                level_db: level as f32,
                confidence: 0.5,
                settled: t,
                inharmonicity: None,
                technique: Technique::default(),
                gated: gated && onset > 30.0,
            })
        });
    let frame = (wild(), wild(), wild(), any::<bool>()).prop_map(|(t, wanted, unwanted, voiced)| {
        DspEvent::Frame(FrameReport {
            t,
            w: 0.02,
            f0: voiced.then_some(100.0),
            confidence: 0.5,
            provisional: false,
            level_db: 0.0,
            wanted: wanted as f32,
            unwanted: unwanted as f32,
            causes: fretcoach::dsp::event::NoisePowers::default(),
        })
    });
    let start = (wild(), wild())
        .prop_map(|(onset, t)| DspEvent::NoteStart(NoteStart { onset, t, midi: 40, cents: 0.0 }));
    let gap = (wild(), wild()).prop_map(|(from, to)| DspEvent::Gap { from, to });
    prop_oneof![6 => note, 3 => frame, 1 => start, 1 => gap]
}
