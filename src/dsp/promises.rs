//! What the hearing core promises, on signals whose truth is exactly known.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::bench::only_plain;
use super::event::{ChordEvent, DspEvent, FrameReport, NoteEvent, OnsetEvent};
use super::testsig::{Pluck, Random, Signal, hz};
use super::{ANALYSIS_RATE, Analyzer, AnalyzerConfig, DetectorKind, HOP};

/// Everything that was reported.
#[derive(Debug, Default, PartialEq)]
struct Log {
    frames: Vec<FrameReport>,
    onsets: Vec<OnsetEvent>,
    starts: usize,
    chords: Vec<ChordEvent>,
    notes: Vec<NoteEvent>,
    gaps: Vec<(f64, f64)>,
}

impl Log {
    fn take(&mut self, event: DspEvent) {
        match event {
            DspEvent::Frame(f) => self.frames.push(f),
            DspEvent::NoteStart(_) => self.starts += 1,
            DspEvent::Onset(o) => self.onsets.push(o),
            DspEvent::Chord(c) => self.chords.push(c),
            DspEvent::Note(n) => self.notes.push(n),
            DspEvent::Gap { from, to } => self.gaps.push((from, to)),
        }
    }

    fn midis(&self) -> Vec<u8> {
        self.notes.iter().map(|n| n.midi).collect()
    }

    /// Unwanted over wanted power, dB.
    fn noise_db(&self) -> f64 {
        let sum = |f: fn(&FrameReport) -> f32| self.frames.iter().map(|x| f64::from(f(x))).sum::<f64>();
        10.0 * (sum(|f| f.unwanted).max(1e-12) / sum(|f| f.wanted).max(1e-12)).log10()
    }
}

fn listen_in(samples: &[f32], block: usize, config: AnalyzerConfig) -> Log {
    let (mut analyzer, mut log) = (Analyzer::new(config), Log::default());
    for part in samples.chunks(block) {
        analyzer.process(part, &mut |e| log.take(e));
    }
    analyzer.finish(&mut |e| log.take(e));
    log
}

fn listen(samples: &[f32]) -> Log {
    listen_in(samples, 480, AnalyzerConfig::default())
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x.get(x.len() / 2).copied().unwrap_or(f64::NAN)
}

/// E minor pentatonic from E2 to E5 and back, in eighths.
fn scale(bpm: f64, shape: impl Fn(usize, &mut Pluck)) -> (Signal, Vec<Pluck>) {
    let up: Vec<u8> = (40..=76).filter(|m| [4, 7, 9, 11, 2].contains(&(m % 12))).collect();
    let midis: Vec<u8> = up.iter().chain(up.iter().rev().skip(1)).copied().collect();
    let step = 30.0 / bpm;
    let mut signal = Signal::silence(1.0 + step * midis.len() as f64);
    let plucks: Vec<Pluck> = midis
        .iter()
        .enumerate()
        .map(|(i, &m)| {
            let mut p = Pluck::new(0.5 + i as f64 * step, hz(m), step - 0.012);
            shape(i, &mut p);
            signal.pluck(&p);
            p
        })
        .collect();
    (signal, plucks)
}

fn noise_at(signal: &mut Signal, snr_db: f32, seed: u64) {
    let rms = (signal.power() * 10f32.powf(-snr_db / 10.0)).sqrt();
    signal.noise(rms, seed);
}

#[test]
fn scales_across_the_fretboard_are_heard_note_for_note() {
    let (mut cents, mut onsets, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    for bpm in [60.0, 120.0, 180.0] {
        for snr in [50.0, 30.0] {
            let mut random = Random::new(bpm as u64);
            let spread: Vec<f64> = (0..64).map(|_| 0.008 * f64::from(random.normal())).collect();
            let (mut signal, truth) = scale(bpm, |i, p| p.onset += spread[i].clamp(-0.02, 0.02));
            noise_at(&mut signal, snr, 3);
            let log = listen(&signal.samples);
            let heard: Vec<_> = log.midis();
            let played: Vec<_> =
                truth.iter().map(|p| (69.0 + 12.0 * (p.f1 / 440.0).log2()).round() as u8).collect();
            assert_eq!(heard, played, "{bpm} bpm at {snr} dB");
            assert_eq!(log.starts, log.notes.len());
            for (n, p) in log.notes.iter().zip(&truth) {
                cents.push((1200.0 * (f64::from(n.f0) / p.f1).log2()).abs());
                offsets.push(1e3 * (n.onset - p.onset));
                assert!(n.t >= n.onset && n.offset >= n.t, "{n:?}");
            }
        }
    }
    let bias = median(offsets.clone());
    onsets.extend(offsets.iter().map(|o| (o - bias).abs()));
    let (cents, onsets) = (median(cents), median(onsets));
    assert!(cents < 2.0, "{cents}");
    assert!(onsets < 2.0, "{onsets}");
    assert!(bias.abs() < 1.0, "{bias}");
}

#[test]
fn every_note_was_announced_soon_after_its_stroke_and_nothing_else_was() {
    for snr in [50.0, 30.0] {
        let (mut signal, truth) = scale(120.0, |_, _| {});
        noise_at(&mut signal, snr, 3);
        let log = listen(&signal.samples);
        assert_eq!(log.notes.len(), truth.len());
        for n in &log.notes {
            let announced = log.onsets.iter().find(|s| s.onset == n.onset && s.t == n.t);
            assert!(announced.is_some(), "{n:?} among {:?}", log.onsets);
            assert!(n.t < n.onset + 0.025 && n.settled > n.t, "{n:?}");
        }
        assert!(log.onsets.is_sorted_by(|a, b| a.t <= b.t), "{:?}", log.onsets);
        // The noise that sets in with the first sample is a stroke too.
        let idle = log.onsets.iter().filter(|s| log.notes.iter().all(|n| n.onset != s.onset)).count();
        assert!(idle <= 2, "{idle} of {} strokes came to nothing", log.onsets.len());
    }
}

#[test]
fn an_arpeggio_that_rings_is_heard_note_for_note() {
    let midis = [52, 59, 64, 67, 64, 59, 52, 59, 52, 55, 62, 55];
    let mut signal = Signal::silence(4.5);
    for (i, &m) in midis.iter().enumerate() {
        signal.pluck(&Pluck::new(0.5 + 0.25 * i as f64, hz(m), 1.0));
    }
    signal.noise(3e-4, 9);
    let log = listen(&signal.samples);
    let found = (0..midis.len()).filter(|&i| {
        let at = 0.5 + 0.25 * i as f64;
        log.notes.iter().any(|n| (n.onset - at).abs() < 0.01 && n.midi == midis[i])
    });
    assert!(found.count() >= midis.len() - 1, "{:?}", log.midis());
    assert!(log.notes.len() <= midis.len() + 1, "{:?}", log.midis());
}

#[test]
fn detuning_is_measured_to_two_cents() {
    for cents in [-30.0, -8.0, 0.0, 15.0, 40.0] {
        let (signal, truth) = scale(100.0, |_, p| p.f1 *= 2f64.powf(cents / 1200.0));
        let log = listen(&signal.samples);
        assert_eq!(log.notes.len(), truth.len());
        let found = median(log.notes.iter().map(|n| f64::from(n.cents)).collect());
        assert!((found - cents).abs() < 2.0, "{cents}: {found}");
    }
}

#[test]
fn the_lowest_and_the_highest_string_are_heard_in_their_octave() {
    for (f1, b) in [(61.735, 2e-4), (65.4, 1e-4), (1174.7, 5e-5), (1318.5, 5e-5)] {
        for snr in [60.0, 20.0] {
            let mut signal = Signal::silence(2.0);
            signal.pluck(&Pluck { b, ..Pluck::new(0.5, f1, 1.2) });
            noise_at(&mut signal, snr, 5);
            let log = listen(&signal.samples);
            assert_eq!(log.notes.len(), 1, "{f1} Hz at {snr} dB: {:?}", log.notes);
            let off = |f0: f32| 1200.0 * (f64::from(f0) / f1).log2();
            assert!(off(log.notes[0].f0).abs() < 3.0, "{f1} Hz: {} cents", off(log.notes[0].f0));
            let sounding = log.frames.iter().filter(|f| f.t > 0.6 && f.t < 1.5);
            for f in sounding.filter_map(|f| f.f0) {
                assert!(off(f).abs() < 50.0, "{f1} Hz: {f}");
            }
        }
    }
}

#[test]
fn a_string_that_hides_an_octave_is_heard_in_its_own() {
    // Partials of 110 Hz: the odd ones 20 dB soft, the first missing; and all of them even, which is 220 Hz.
    for (odd, first, expected) in [(0.1, 1.0, 110.0), (0.3, 0.0, 110.0), (0.0, 0.0, 220.0)] {
        let mut signal = Signal::silence(1.5);
        for k in 1..=10u32 {
            let gain = if k == 1 {
                odd * first
            } else if k % 2 == 1 {
                odd
            } else {
                1.0
            };
            let p = Pluck::new(0.5, 110.0 * f64::from(k), 0.9);
            let rate = f64::from(ANALYSIS_RATE);
            for i in 0..(p.length * rate) as usize {
                let t = i as f64 / rate;
                let x =
                    0.1 * gain / f64::from(k) * (-2.0 * t).exp() * (std::f64::consts::TAU * p.f1 * t).sin();
                signal.samples[24_000 + i] += x as f32;
            }
        }
        signal.noise(1e-4, 3);
        let log = listen(&signal.samples);
        for f in log.frames.iter().filter(|f| f.t > 0.65 && f.t < 1.3) {
            let off = f.f0.map_or(f64::NAN, |f0| 1200.0 * (f64::from(f0) / expected).log2());
            assert!(off.abs() < 50.0, "odd partials {odd}, first {first}: {:?} Hz at {:.3} s", f.f0, f.t);
        }
    }
}

#[test]
fn the_stiffness_of_a_string_is_learnt() {
    for (f1, b) in [(61.735, 3e-4), (82.41, 8e-5), (110.0, 2e-4), (146.8, 1e-4), (196.0, 3e-4), (329.6, 1e-4)]
    {
        let mut signal = Signal::silence(2.0);
        signal.pluck(&Pluck { b, ..Pluck::new(0.5, f1, 1.2) });
        signal.noise(3e-5, 5);
        let found = listen(&signal.samples).notes[0].inharmonicity.expect("six partials are heard");
        // Of B1 the longest window holds five periods only.
        let most = if f1 < 80.0 { 0.25 } else { 0.15 };
        let off = f64::from(found) / b - 1.0;
        assert!(off.abs() < most, "{f1} Hz: {found:e} instead of {b:e}");
    }
}

#[test]
fn confidence_falls_with_noise() {
    let confidence = |snr| {
        let (mut signal, _) = scale(100.0, |_, _| {});
        noise_at(&mut signal, snr, 4);
        let log = listen(&signal.samples);
        let all: Vec<_> =
            log.frames.iter().filter(|f| f.f0.is_some()).map(|f| f64::from(f.confidence)).collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    let (clean, noisy) = (confidence(50.0), confidence(3.0));
    // What is unlikely is not claimed at all, so the mean falls by little.
    assert!(clean > 0.99 && noisy < clean - 0.003, "{clean} {noisy}");
}

#[test]
fn an_analyzer_may_move_between_threads() {
    fn movable<T: Send>(_: &T) {}
    for detector in [DetectorKind::Fretcoach, DetectorKind::Mcleod] {
        let mut analyzer = Analyzer::new(AnalyzerConfig { detector, ..Default::default() });
        movable(&analyzer);
        let mut signal = Signal::silence(0.5);
        signal.pluck(&Pluck::new(0.1, 220.0, 0.4));
        let heard = std::thread::spawn(move || {
            let mut voiced = 0;
            analyzer.process(&signal.samples, &mut |e| {
                voiced += u32::from(matches!(e, DspEvent::Frame(f) if f.f0.is_some()));
            });
            voiced
        });
        assert!(heard.join().expect("no panic") > 20);
    }
}

#[test]
fn a_repeated_note_needs_a_stroke_and_gets_its_own_event() {
    let mut signal = Signal::silence(3.0);
    for i in 0..8 {
        signal.pluck(&Pluck::new(0.5 + 0.15 * f64::from(i), hz(52), 0.145));
    }
    signal.noise(3e-4, 9);
    assert_eq!(listen(&signal.samples).midis(), [52; 8]);
    let mut one = Signal::silence(3.0);
    one.pluck(&Pluck::new(0.5, hz(52), 2.0));
    one.noise(3e-4, 9);
    assert_eq!(listen(&one.samples).midis(), [52]);
}

#[test]
fn a_hammer_on_is_two_notes_a_bend_and_a_vibrato_are_one() {
    let shaped = |cents: &dyn Fn(f64) -> f64| {
        let mut signal = Signal::silence(2.5);
        signal.glide(&Pluck::new(0.5, hz(57), 1.4), cents);
        signal.noise(3e-4, 4);
        listen(&signal.samples)
    };
    let hammer = shaped(&|t| if t < 0.5 { 0.0 } else { 200.0 });
    assert_eq!(hammer.midis(), [57, 59]);
    assert!((hammer.notes[1].onset - 1.0).abs() < 0.04, "{:?}", hammer.notes);
    let bend = shaped(&|t| 200.0 * ((t - 0.2) / 0.25).clamp(0.0, 1.0));
    assert_eq!(bend.midis(), [59]);
    assert!(bend.notes[0].cents.abs() < 5.0, "{:?}", bend.notes);
    let vibrato = shaped(&|t| if t < 0.25 { 0.0 } else { 30.0 * (std::f64::consts::TAU * 5.5 * t).sin() });
    assert_eq!(vibrato.midis(), [57]);
    assert!(vibrato.notes[0].cents.abs() < 6.0, "{:?}", vibrato.notes);
}

#[test]
fn silence_noise_hum_and_bursts_are_no_notes() {
    let mut hiss = Signal::silence(5.0);
    hiss.noise(0.03, 11);
    let mut hum = Signal::silence(5.0);
    for (hz, a) in [(50.0, 0.02), (100.0, 0.03), (150.0, 0.01)] {
        hum.sine(hz, a);
    }
    hum.noise(1e-3, 2);
    let mut plugged_in = Signal::silence(5.0);
    plugged_in.sine(120.0, 0.05);
    plugged_in.samples[..96_000].fill(0.0);
    let mut bursts = Signal::silence(5.0);
    bursts.noise(1e-4, 5);
    for i in 0..10 {
        bursts.burst(0.3 + 0.4 * f64::from(i), 0.03 + 0.01 * f64::from(i), 0.1, i as u64);
    }
    for (name, signal) in [
        ("silence", Signal::silence(3.0)),
        ("hiss", hiss),
        ("hum", hum),
        ("plug", plugged_in),
        ("bursts", bursts),
    ] {
        let log = listen(&signal.samples);
        assert!(log.notes.is_empty(), "{name}: {:?}", log.notes);
        assert_eq!(log.frames.iter().filter(|f| f.wanted > 0.0 && name != "plug").count(), 0, "{name}");
    }
}

#[test]
fn sensitivity_decides_how_soft_a_note_counts() {
    let mut signal = Signal::silence(2.0);
    signal.pluck(&Pluck { gain: 0.004, ..Pluck::new(0.5, hz(55), 1.0) });
    let notes = |sensitivity| {
        listen_in(&signal.samples, 512, AnalyzerConfig { sensitivity, ..Default::default() }).notes.len()
    };
    assert_eq!((notes(0.0), notes(1.0)), (0, 1));
}

#[test]
fn clean_playing_is_clean_and_string_noise_is_noise() {
    for bpm in [80.0, 120.0] {
        let (signal, _) = scale(bpm, |_, _| {});
        let clean = listen(&signal.samples).noise_db();
        assert!(clean < -40.0, "{bpm} bpm: {clean:.1} dB");
    }
    let (mut hissing, _) = scale(100.0, |_, _| {});
    noise_at(&mut hissing, 20.0, 8);
    let db = listen(&hissing.samples).noise_db();
    // A part of white noise lies above the band that is looked at under a note.
    assert!((-28.0..-18.0).contains(&db), "{db:.1} dB");
    let (mut scraped, truth) = scale(100.0, |_, p| p.length -= 0.08);
    for (i, p) in truth.iter().enumerate() {
        scraped.burst(p.onset + p.length + 0.015, 0.06, 0.06, i as u64);
    }
    let log = listen(&scraped.samples);
    assert!((-30.0..-10.0).contains(&log.noise_db()), "{:.1} dB", log.noise_db());
    assert_eq!(log.notes.len(), truth.len());
}

#[test]
fn mistakes_of_pitch_and_time_do_not_move_the_noise() {
    let noise_of = |shape: &dyn Fn(usize, &mut Pluck)| {
        let (mut signal, _) = scale(100.0, shape);
        signal.noise(2e-3, 6);
        listen(&signal.samples).noise_db()
    };
    let plain = noise_of(&|_, _| {});
    let detuned = noise_of(&|i, p| p.f1 *= 2f64.powf(if i % 2 == 0 { 25.0 } else { -20.0 } / 1200.0));
    let jittered = noise_of(&|i, p| p.onset += 0.025 * f64::from(Random::new(i as u64 + 1).uniform()));
    let wrong = noise_of(&|i, p| p.f1 *= if i % 4 == 1 { 2f64.powf(1.0 / 12.0) } else { 1.0 });
    for (name, other) in [("detuned", detuned), ("jittered", jittered), ("wrong", wrong)] {
        assert!((other - plain).abs() < 1.0, "{name}: {other:.2} dB instead of {plain:.2} dB");
    }
}

/// A speaking voice, roughly: a gliding pitch with formants, in syllables.
fn voice(seconds: f64, rms: f32) -> Vec<f32> {
    let n = (seconds * f64::from(ANALYSIS_RATE)) as usize;
    let mut phase = 0.0f64;
    let mut x: Vec<f32> = (0..n)
        .map(|i| {
            let t = i as f64 / f64::from(ANALYSIS_RATE);
            let f = 130.0 + 25.0 * (2.3 * t).sin() + 10.0 * (7.1 * t).cos();
            phase += std::f64::consts::TAU * f / f64::from(ANALYSIS_RATE);
            let syllable = (0.5 + 0.5 * (std::f64::consts::TAU * 4.0 * t).sin()).powi(2);
            let sum: f64 = (1..25)
                .map(|k| {
                    let hz = f64::from(k) * f;
                    let formant = |centre: f64| (-((hz - centre) / 250.0).powi(2)).exp();
                    (0.1 + formant(600.0) + 0.6 * formant(1500.0)) * (f64::from(k) * phase).sin()
                })
                .sum();
            (syllable * sum) as f32
        })
        .collect();
    let power = x.iter().map(|v| v * v).sum::<f32>() / n as f32;
    x.iter_mut().for_each(|v| *v *= rms / power.sqrt());
    x
}

#[test]
fn the_coachs_voice_yields_no_note_and_leaves_no_trace() {
    let (mut signal, truth) = scale(100.0, |_, _| {});
    noise_at(&mut signal, 45.0, 3);
    let clean = listen(&signal.samples);
    let rate = f64::from(ANALYSIS_RATE);
    let (from, to) = ((2.03 * rate) as usize, (4.41 * rate) as usize);
    let level = 0.5 * signal.power().sqrt();
    for (x, v) in signal.samples[from..to].iter_mut().zip(voice(2.4, level)) {
        *x += v;
    }
    let (mut analyzer, mut log) = (Analyzer::new(AnalyzerConfig::default()), Log::default());
    analyzer.process(&signal.samples[..from], &mut |e| log.take(e));
    analyzer.set_gated(true);
    analyzer.process(&signal.samples[from..to], &mut |e| log.take(e));
    analyzer.set_gated(false);
    analyzer.process(&signal.samples[to..], &mut |e| log.take(e));
    analyzer.finish(&mut |e| log.take(e));

    let outside = |n: &&NoteEvent| n.onset < 2.03 - 0.06 || n.onset > 4.41 + 0.005;
    let expected: Vec<_> = clean.notes.iter().filter(outside).map(|n| n.midi).collect();
    assert!(expected.len() > truth.len() / 2);
    let heard: Vec<_> = log.notes.iter().filter(|n| !n.gated).filter(outside).map(|n| n.midi).collect();
    assert_eq!(heard, expected);
    assert!(log.notes.iter().all(|n| n.gated || n.onset < 2.03 || n.onset > 4.41));
    for (a, b) in clean.notes.iter().filter(outside).zip(log.notes.iter().filter(outside)) {
        assert!((a.cents - b.cents).abs() < 2.0 && (a.onset - b.onset).abs() < 2e-3, "{a:?} {b:?}");
    }
    for f in log.frames.iter().filter(|f| f.t > 2.04 && f.t < 4.41) {
        assert!(f.wanted == 0.0 && f.unwanted == 0.0 && f.f0.is_none());
    }
    assert!((log.noise_db() - clean.noise_db()).abs() < 2.0, "{} {}", log.noise_db(), clean.noise_db());
}

#[test]
fn a_gap_closes_the_note_and_moves_the_clock() {
    let mut signal = Signal::silence(2.0);
    signal.pluck(&Pluck::new(0.5, hz(55), 1.4));
    let (mut analyzer, mut log) = (Analyzer::new(AnalyzerConfig::default()), Log::default());
    analyzer.set_origin(-0.25);
    analyzer.process(&signal.samples[..48_000], &mut |e| log.take(e));
    analyzer.skip(24_000, &mut |e| log.take(e));
    assert_eq!(analyzer.position(), 72_000);
    assert_eq!(log.gaps, [(0.75, 1.25)]);
    assert_eq!(log.notes.len(), 1);
    assert!((log.notes[0].onset - 0.25).abs() < 2e-3 && log.notes[0].offset <= 0.75, "{:?}", log.notes);
    // The string that still sounds afterwards has no stroke: it is no new note.
    analyzer.process(&signal.samples[72_000..], &mut |e| log.take(e));
    analyzer.finish(&mut |e| log.take(e));
    assert_eq!(log.notes.len(), 1, "{:?}", log.notes);
    assert!(log.frames.last().unwrap().t > 1.7);
}

#[test]
fn the_reference_detector_hears_the_same_scale() {
    let (signal, truth) = scale(80.0, |_, _| {});
    let config = AnalyzerConfig { detector: DetectorKind::Mcleod, ..Default::default() };
    let heard = listen_in(&signal.samples, 1024, config).notes.len();
    // It loses some of the lowest notes: why it is the reference and not the default.
    assert!(heard + 8 >= truth.len() && heard <= truth.len() + 1, "{heard} of {}", truth.len());
}

#[test]
fn the_reference_pitch_moves_the_names_of_the_notes() {
    let mut signal = Signal::silence(1.5);
    signal.pluck(&Pluck::new(0.4, 442.0, 1.0));
    let cents = |a4_hz| {
        listen_in(&signal.samples, 300, AnalyzerConfig { a4_hz, ..Default::default() }).notes[0].cents
    };
    assert!(cents(442.0).abs() < 1.0, "{}", cents(442.0));
    assert!((cents(440.0) - 7.85).abs() < 1.0, "{}", cents(440.0));
}

/// Eight notes anywhere on the neck, 0.22 to 0.4 s apart, some damped early, a little noise under them.
fn phrase(seed: u64) -> Signal {
    let mut random = Random::new(seed);
    let mut signal = Signal::silence(4.2);
    let mut at = 0.35;
    for _ in 0..8 {
        let midi = (58.0 + 17.9 * random.uniform()).round() as u8;
        let step = f64::from(0.31 + 0.09 * random.uniform());
        let length = step - 0.012 - f64::from(0.04 * random.uniform().abs());
        let cents = f64::from(20.0 * random.uniform());
        let gain = f64::from(0.25 + 0.1 * random.uniform());
        signal.pluck(&Pluck { gain, ..Pluck::new(at, hz(midi) * 2f64.powf(cents / 1200.0), length) });
        at += step;
    }
    signal.noise(5e-4, seed + 1);
    signal
}

/// Notes of `before` and of `after`, heard `later` seconds later, that are not the same within 1 ms and 2 cents.
fn changed(before: &Log, after: &Log, later: f64) -> usize {
    let mut left = after.notes.clone();
    let mut missing = 0;
    for a in &before.notes {
        let same = |b: &NoteEvent| {
            b.midi == a.midi && (b.onset - later - a.onset).abs() < 1e-3 && (b.cents - a.cents).abs() < 2.0
        };
        match left.iter().position(same) {
            Some(k) => drop(left.remove(k)),
            None => missing += 1,
        }
    }
    missing.max(left.len())
}

fn louder(signal: &Signal, gain_db: f32) -> Vec<f32> {
    let gain = 10f32.powf(gain_db / 20.0);
    signal.samples.iter().map(|x| x * gain).collect()
}

fn offset(signal: &Signal, by: f32) -> Vec<f32> {
    signal.samples.iter().map(|x| x + by).collect()
}

/// So many samples later, after the same soft noise.
fn later(signal: &Signal, by: usize) -> Vec<f32> {
    let mut lead = Signal { samples: vec![0.0; by] };
    lead.noise(5e-4, 77);
    lead.samples.extend_from_slice(&signal.samples);
    lead.samples
}

/// Where a decision hangs by a hair, hops that begin elsewhere or another last bit may tip it: so rarely.
#[test]
fn hardly_a_note_depends_on_loudness_offset_or_the_moment_of_the_start() {
    let (mut notes, mut differ) = (0, [0; 3]);
    for seed in 0..24 {
        let (signal, mut random) = (phrase(seed), Random::new(900 + seed));
        let before = listen(&signal.samples);
        let by = (1500.0 * (1.0 + random.uniform())) as usize;
        notes += before.notes.len();
        differ[0] += changed(&before, &listen(&louder(&signal, 10.0 * random.uniform())), 0.0);
        differ[1] += changed(&before, &listen(&offset(&signal, 0.5 * random.uniform())), 0.0);
        differ[2] += changed(&before, &listen(&later(&signal, by)), by as f64 / f64::from(ANALYSIS_RATE));
    }
    println!("of {notes} notes, changed by loudness, offset, start: {differ:?}");
    assert!(differ.iter().all(|&d| d * 50 <= notes), "of {notes}: {differ:?}");
}

/// Always the same cases, each with one note that may change at most (see above): no build should hang by a hair.
fn fixed_cases() -> ProptestConfig {
    ProptestConfig { cases: 24, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(fixed_cases())]

    /// Sensitivity is a matter of level, so not without limit: by 12 dB down and 8 dB up.
    #[test]
    fn loudness_leaves_the_notes_alone(seed in 0u64..1000, gain_db in -12.0f32..8.0) {
        let signal = phrase(seed);
        prop_assert!(changed(&listen(&signal.samples), &listen(&louder(&signal, gain_db)), 0.0) <= 1);
    }

    #[test]
    fn a_constant_offset_leaves_the_notes_alone(seed in 0u64..1000, by in -0.5f32..0.5) {
        let signal = phrase(seed);
        prop_assert!(changed(&listen(&signal.samples), &listen(&offset(&signal, by)), 0.0) <= 1);
    }

    #[test]
    fn a_later_start_moves_the_notes_by_as_much(seed in 0u64..1000, by in 1usize..3000) {
        let signal = phrase(seed);
        let seconds = by as f64 / f64::from(ANALYSIS_RATE);
        prop_assert!(changed(&listen(&signal.samples), &listen(&later(&signal, by)), seconds) <= 1);
    }

    /// On a processor without AVX2 both runs take the plain loops, and there is nothing to compare.
    #[test]
    fn wide_and_plain_loops_hear_the_same_to_the_bit(seed in 0u64..1000, block in 1usize..2000) {
        let signal = phrase(seed);
        let wide = listen_in(&signal.samples, block, AnalyzerConfig::default());
        // Other tests that run meanwhile take the plain loops too: the very promise is that they cannot tell.
        only_plain(true);
        let plain = listen_in(&signal.samples, block, AnalyzerConfig::default());
        only_plain(false);
        prop_assert_eq!(wide, plain);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_input_breaks_it(seed in 0u64.., kinds in prop::collection::vec((0u8..9, 1usize..3000), 1..16)) {
        let mut random = Random::new(seed);
        let (mut analyzer, mut log) = (Analyzer::new(AnalyzerConfig::default()), Log::default());
        let mut taken = 0u64;
        for (kind, n) in kinds {
            let block: Vec<f32> = (0..n).map(|i| match kind {
                0 => f32::NAN,
                1 => if i % 3 == 0 { f32::INFINITY } else { f32::NEG_INFINITY },
                2 => 1.0,
                3 => 0.0,
                4 => if (i / 50) % 2 == 0 { 1.0 } else { -1.0 },
                5 => f32::MAX * random.uniform(),
                6 => 1e-40 * random.uniform(),
                7 => f32::from_bits((random.uniform().to_bits() << 3) ^ 0x55aa_1234),
                _ => (i as f32 * 0.05).sin(),
            }).collect();
            analyzer.process(&block, &mut |e| log.take(e));
            taken += n as u64;
            match seed.wrapping_add(n as u64) % 5 {
                0 => { analyzer.skip(n as u64, &mut |e| log.take(e)); taken += n as u64; }
                1 => analyzer.set_gated(true),
                2 => analyzer.set_gated(false),
                3 => analyzer.finish(&mut |e| log.take(e)),
                _ => analyzer.set_origin(f64::NAN),
            }
        }
        prop_assert_eq!(analyzer.position(), taken);
        // A device that claims to have lost all time there is must not break the clock either.
        analyzer.skip(u64::MAX, &mut |e| log.take(e));
        analyzer.set_gated(false);
        analyzer.process(&[0.3; 3 * HOP], &mut |e| log.take(e));
        prop_assert!(analyzer.position() > taken);
        for f in &log.frames {
            prop_assert!(f.wanted.is_finite() && f.unwanted.is_finite() && f.level_db.is_finite() && f.t.is_finite());
            prop_assert!(f.wanted >= 0.0 && f.unwanted >= 0.0 && f.level_db >= -120.0);
            prop_assert!((0.0..=1.0).contains(&f.confidence));
            prop_assert!(f.f0.is_none_or(|f0| f0.is_finite() && f0 > 20.0 && f0 < 5000.0));
        }
        for n in &log.notes {
            prop_assert!(n.f0.is_finite() && n.cents.abs() <= 50.0 && n.offset >= n.onset && n.level_db.is_finite());
        }
    }

    #[test]
    fn how_the_input_is_cut_into_blocks_does_not_matter(sizes in prop::collection::vec(1usize..4000, 1..12)) {
        let mut signal = Signal::silence(0.8);
        signal.pluck(&Pluck::new(0.1, hz(57), 0.3));
        signal.pluck(&Pluck::new(0.412, hz(62), 0.2));
        signal.noise(1e-3, 3);
        let one = listen_in(&signal.samples, HOP, AnalyzerConfig::default());
        prop_assert_eq!(one.notes.len(), 2);
        let (mut analyzer, mut cut) = (Analyzer::new(AnalyzerConfig::default()), Log::default());
        let (mut rest, mut sizes) = (&signal.samples[..], sizes.iter().cycle());
        while let Some(&size) = sizes.next().filter(|_| !rest.is_empty()) {
            let (now, later) = rest.split_at(size.min(rest.len()));
            analyzer.process(now, &mut |e| cut.take(e));
            rest = later;
        }
        analyzer.finish(&mut |e| cut.take(e));
        prop_assert_eq!(cut, one);
    }
}
