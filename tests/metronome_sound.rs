//! The metronome in the microphone, without a sound card: a take of the virtual guitarist, to which its clicks are added as
//! a room would (unknown delay, reflections, two clocks), is heard as the same take without them.

use fretcoach::audio::guitarist::{Pattern, Performance, TruthNote, perform};
use fretcoach::audio::metronome::Metronome;
use fretcoach::dsp::click::{Canceller, Strike, shape};
use fretcoach::dsp::event::DspEvent;
use fretcoach::dsp::{ANALYSIS_RATE, Analyzer, AnalyzerConfig};
use fretcoach::music::scale::Scale;

const RATE: f64 = ANALYSIS_RATE as f64;
/// First click that is handed over, seconds.
const FIRST: f64 = 1.0;
/// Clicks against guitar, dB.
const LEVEL: f64 = -6.0;
/// A note is the one that was played when it begins within this, seconds.
const SAME: f64 = 0.06;

/// A small generator (Knuth's MMIX constants), 0..1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What the clicks are compared with: peaks, or the power while something sounds.
#[derive(Clone, Copy)]
enum By {
    Peak,
    Power,
}

struct Scene {
    clean: Vec<f32>,
    dirty: Vec<f32>,
    truth: Vec<TruthNote>,
    strikes: Vec<Strike>,
}

fn loudness(x: &[f32], by: By) -> f64 {
    let peak = x.iter().fold(0.0f32, |p, x| p.max(x.abs()));
    match by {
        By::Peak => f64::from(peak),
        By::Power => {
            let sounding: Vec<f64> =
                x.iter().filter(|x| x.abs() > 0.01 * peak).map(|x| f64::from(*x)).collect();
            (sounding.iter().map(|x| x * x).sum::<f64>() / sounding.len().max(1) as f64).sqrt()
        }
    }
}

/// Eight bars after one bar of count-in, in time with the clicks as they are heard after `delay` seconds on a clock that is
/// `drift` faster.
fn scene(seed: u64, metronome: &Metronome, delay: f64, drift: f64, by: By) -> Scene {
    let (guitar, mut truth) = perform(&Performance {
        scale: Scale::parse("A minor pentatonic").expect("a scale"),
        bpm: metronome.bpm,
        pattern: Pattern::Mixed,
        mistakes: "timing=8".parse().expect("mistakes"),
        seed,
        bars: 8,
        ..Performance::default()
    });
    // The first beat of the take, half a second into it, falls on the fifth click.
    let start = ((FIRST + delay + 4.0 * metronome.at_beat(0.0).beat_seconds() - 0.5) * RATE).round() as usize;
    for note in &mut truth {
        note.onset += start as f64 / RATE;
    }
    let mut random = Random(seed);
    let length = start + guitar.len();
    let mut clean: Vec<f32> = (0..length).map(|_| (2e-4 * (random.next() - 0.5)) as f32).collect();
    clean[start..].iter_mut().zip(&guitar).for_each(|(x, g)| *x += g);
    // The direct sound and a room of 0.2 s.
    let mut room = vec![(0.0, 1.0)];
    while let Some((at, _)) = room.last().copied().filter(|(at, _)| *at < 0.15) {
        let later = at + 0.0007 + 0.002 * random.next();
        room.push((later, 1.2 * (random.next() - 0.5) * (-later / 0.03).exp()));
    }
    let mut strikes = Vec::new();
    let mut clicks = vec![0.0f32; length];
    for n in 0.. {
        let tick = metronome.tick(n);
        let at = FIRST + metronome.frame(n, ANALYSIS_RATE) as f64 / RATE;
        if at + delay + 0.3 > length as f64 / RATE {
            break;
        }
        strikes.push(Strike { at: at * RATE, level: tick.level });
        for (reflected, share) in &room {
            let from = at * (1.0 + drift) + delay + reflected;
            for (i, x) in clicks.iter_mut().enumerate().skip((from * RATE).ceil() as usize).take(240) {
                *x += (f64::from(tick.level) * share * shape(i as f64 / RATE - from)) as f32;
            }
        }
    }
    let gain = (loudness(&guitar, by) / loudness(&clicks, by) * 10f64.powf(LEVEL / 20.0)) as f32;
    let dirty = clean.iter().zip(&clicks).map(|(x, c)| x + gain * c).collect();
    Scene { clean, dirty, truth, strikes }
}

/// The input without its clicks, which are told when they are handed over; the output's clock is off by 10 ms.
fn without_clicks(scene: &Scene) -> Vec<f32> {
    let mut canceller = Canceller::new();
    let mut out = scene.dirty.clone();
    let mut strikes = scene.strikes.iter();
    let mut next = strikes.next();
    for (i, hop) in out.chunks_mut(256).enumerate() {
        while let Some(strike) = next.filter(|s| s.at < ((i + 1) * 256) as f64) {
            canceller.expect(Strike { at: strike.at - 480.0, ..*strike });
            next = strikes.next();
        }
        canceller.process(hop, true);
    }
    assert!(canceller.lock().is_some(), "the clicks were not found");
    out
}

/// Onsets and pitches.
fn notes(sound: &[f32]) -> Vec<(f64, u8)> {
    let mut heard = Vec::new();
    let mut analyzer = Analyzer::new(AnalyzerConfig::default());
    let mut sink = |event: DspEvent| {
        if let DspEvent::Note(note) = event {
            heard.push((note.onset, note.midi));
        }
    };
    analyzer.process(sound, &mut sink);
    analyzer.finish(&mut sink);
    heard
}

struct Fit {
    missed: usize,
    extra: usize,
    /// Standard deviation of the onsets about the truth, ms.
    sd_ms: f64,
}

fn fit(heard: &[(f64, u8)], truth: &[TruthNote]) -> Fit {
    let mut free = vec![true; truth.len()];
    let (mut off, mut extra) = (Vec::new(), 0);
    for (onset, midi) in heard {
        let near = |i: &usize| free[*i] && truth[*i].midi == *midi && (truth[*i].onset - onset).abs() < SAME;
        let apart = |i: &usize| (truth[*i].onset - onset).abs();
        match (0..truth.len()).filter(near).min_by(|a, b| apart(a).total_cmp(&apart(b))) {
            Some(i) => {
                free[i] = false;
                off.push(1000.0 * (onset - truth[i].onset));
            }
            None => {
                println!("  extra: midi {midi} at {onset:.3} s");
                extra += 1;
            }
        }
    }
    let mean = off.iter().sum::<f64>() / off.len().max(1) as f64;
    let sd_ms = (off.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / off.len().max(1) as f64).sqrt();
    Fit { missed: free.iter().filter(|f| **f).count(), extra, sd_ms }
}

#[test]
fn a_take_is_heard_the_same_with_and_without_clicks() {
    let (mut disturbed, mut extra) = (0.0, 0);
    for (seed, delay, drift, accent, parts, by) in [
        (1, 0.005, 0.0, 4, 1, By::Peak),
        (2, 0.083, 100e-6, 4, 1, By::Power),
        (3, 0.250, -100e-6, 3, 2, By::Peak),
        (4, 0.137, 60e-6, 4, 4, By::Power),
        (5, 0.031, -50e-6, 0, 3, By::Power),
    ] {
        let metronome = Metronome::new(84.0 + 9.0 * seed as f64, accent, parts, 0.5).expect("a metronome");
        let scene = scene(seed, &metronome, delay, drift, by);
        let (clean, dirty) =
            (fit(&notes(&scene.clean), &scene.truth), fit(&notes(&scene.dirty), &scene.truth));
        let heard = fit(&notes(&without_clicks(&scene)), &scene.truth);
        println!(
            "delay {:3.0} ms, drift {:4.0} ppm: {} notes; without clicks {} missed, {} extra, {:.2} ms; with clicks {} missed, \
             {} extra, {:.2} ms; taken out {} missed, {} extra, {:.2} ms",
            1000.0 * delay,
            1e6 * drift,
            scene.truth.len(),
            clean.missed,
            clean.extra,
            clean.sd_ms,
            dirty.missed,
            dirty.extra,
            dirty.sd_ms,
            heard.missed,
            heard.extra,
            heard.sd_ms
        );
        assert!(heard.missed <= clean.missed, "a note is lost under a click");
        extra += heard.extra.saturating_sub(clean.extra);
        assert!(
            (heard.sd_ms - clean.sd_ms).abs() < 1.0,
            "{:.2} ms instead of {:.2} ms",
            heard.sd_ms,
            clean.sd_ms
        );
        disturbed += dirty.sd_ms / 5.0;
    }
    assert_eq!(extra, 0, "notes come from clicks");
    assert!(disturbed > 1.5, "the clicks disturb nothing, so nothing is shown: {disturbed:.2} ms");
}

#[test]
fn clicks_alone_are_no_notes() {
    let metronome = Metronome::new(120.0, 4, 2, 0.6).expect("a metronome");
    let mut scene = scene(7, &metronome, 0.09, 30e-6, By::Peak);
    // The clicks, and the noise of the room.
    let quiet: Vec<f32> = scene.clean[..(FIRST * RATE) as usize].to_vec();
    for (i, x) in scene.dirty.iter_mut().enumerate() {
        *x += quiet[i % quiet.len()] - scene.clean[i];
    }
    assert_eq!(notes(&without_clicks(&scene)), []);
}
