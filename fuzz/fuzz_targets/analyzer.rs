//! Whatever samples come, in blocks of whatever size, between gates, losses and ends: nothing panics, what is reported is
//! finite and in range, and how the samples are cut into blocks changes nothing, to the bit.
#![no_main]

use fretcoach::dsp::event::DspEvent;
use fretcoach::dsp::{ANALYSIS_RATE, Analyzer, AnalyzerConfig};
use libfuzzer_sys::fuzz_target;

/// Samples an input may make at most: 1 s, a few ms of work.
const MOST: usize = ANALYSIS_RATE as usize;

/// Reads numbers off the input; zeros after its end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let n = N.min(self.0.len());
        out[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        out
    }

    fn byte(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn float(&mut self) -> f32 {
        f32::from_le_bytes(self.take())
    }
}

/// What is done to the analyser.
enum Step {
    Samples(Vec<f32>),
    Skip(u64),
    Gate(bool),
    Origin(f64),
    Finish,
}

fn step(bytes: &mut Bytes<'_>, room: usize) -> Step {
    let op = bytes.byte();
    match op % 10 {
        // Any floats there are.
        0 => {
            let n = usize::from(bytes.byte()).min(room);
            Step::Samples((0..n).map(|_| bytes.float()).collect())
        }
        // A waveform of bytes, again and again: a short input makes a long sound.
        1 => {
            let shape: Vec<f32> =
                (0..=bytes.byte()).map(|_| f32::from(bytes.byte().cast_signed()) / 128.0).collect();
            let n = usize::from(bytes.short()).min(room);
            Step::Samples(shape.into_iter().cycle().take(n).collect())
        }
        // A plucked string.
        2..=4 => {
            let hz = 20.0 + f32::from(bytes.short()) / 32.0;
            let (gain, decay) = (f32::from(bytes.byte()) / 128.0, f32::from(bytes.byte()) / 8.0);
            let n = (2 * usize::from(bytes.short())).min(room);
            let sample = |i: usize| {
                let t = i as f32 / ANALYSIS_RATE as f32;
                let sum: f32 =
                    (1..6u8).map(f32::from).map(|k| (std::f32::consts::TAU * k * hz * t).sin() / k).sum();
                gain * (-decay * t).exp() * sum
            };
            Step::Samples((0..n).map(sample).collect())
        }
        // Noise.
        5 => {
            let (mut state, gain) = (u64::from(bytes.short()) | 1 << 40, bytes.float());
            let n = usize::from(bytes.short()).min(room);
            let noise = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                gain * ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
            });
            Step::Samples(noise.take(n).collect())
        }
        6 => {
            let value = bytes.float();
            Step::Samples(vec![value; usize::from(bytes.short()).min(room)])
        }
        7 => Step::Skip(u64::from_le_bytes(bytes.take()) >> (op / 10 * 4 % 64)),
        8 if op > 127 => Step::Origin(f64::from_le_bytes(bytes.take())),
        8 => Step::Finish,
        _ => Step::Gate(op > 127),
    }
}

fn check(event: &DspEvent, origin: f64) {
    let unit = 0.0..=1.0;
    // A time is as fine as an f64 of its size; one that was moved out of reach is not looked at.
    let near = origin.abs() < 1e6;
    match event {
        DspEvent::Frame(f) => {
            assert!(f.wanted.is_finite() && f.unwanted.is_finite() && f.wanted >= 0.0 && f.unwanted >= 0.0);
            assert!(f.level_db.is_finite() && f.level_db >= -120.0 && unit.contains(&f.confidence) && f.w > 0.0);
            assert!(f.f0.is_none_or(|f0| f0.is_finite() && f0 > 20.0 && f0 < 5000.0), "{f:?}");
        }
        DspEvent::Note(n) => {
            assert!(n.f0.is_finite() && n.cents.abs() <= 50.0 && n.midi < 128, "{n:?}");
            assert!(n.level_db.is_finite() && unit.contains(&n.confidence), "{n:?}");
            assert!(n.offset >= n.onset && (!near || n.t >= n.onset), "{n:?}");
        }
        DspEvent::Chord(c) => {
            assert!(c.offset >= c.onset && c.classes.0 < 1 << 12 && c.bass.is_none_or(|b| b < 128), "{c:?}");
            assert!(c.level_db.is_finite() && unit.contains(&c.confidence), "{c:?}");
        }
        DspEvent::NoteStart(n) => assert!(n.midi < 128 && n.cents.is_finite(), "{n:?}"),
        DspEvent::Onset(o) => assert!(!near || o.t >= o.onset, "{o:?}"),
        DspEvent::Gap { from, to } => assert!(to >= from),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let config = AnalyzerConfig {
        a4_hz: bytes.float(),
        sensitivity: bytes.float(),
        ..AnalyzerConfig::default()
    };
    let sizes = [1 + usize::from(bytes.byte()), 1 + usize::from(bytes.byte()), 1 + usize::from(bytes.short())];
    let (mut whole, mut cut) = (Analyzer::new(config), Analyzer::new(config));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let (mut taken, mut origin) = (0, 0.0f64);
    while !bytes.0.is_empty() {
        match step(&mut bytes, MOST - taken) {
            Step::Samples(samples) => {
                taken += samples.len();
                whole.process(&samples, &mut |e| first.push(e));
                let (mut rest, mut turn) = (&samples[..], 0);
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(sizes[turn % sizes.len()].min(rest.len()));
                    cut.process(now, &mut |e| second.push(e));
                    (rest, turn) = (later, turn + 1);
                }
            }
            Step::Skip(n) => {
                whole.skip(n, &mut |e| first.push(e));
                cut.skip(n, &mut |e| second.push(e));
            }
            Step::Gate(shut) => {
                whole.set_gated(shut);
                cut.set_gated(shut);
            }
            Step::Origin(at) => {
                origin = if at.is_finite() { origin.abs().max(at.abs()) } else { origin };
                whole.set_origin(at);
                cut.set_origin(at);
            }
            Step::Finish => {
                whole.finish(&mut |e| first.push(e));
                cut.finish(&mut |e| second.push(e));
            }
        }
        if taken == MOST {
            break;
        }
    }
    whole.finish(&mut |e| first.push(e));
    cut.finish(&mut |e| second.push(e));
    assert_eq!(whole.position(), cut.position());
    assert_eq!(first, second);
    for event in &first {
        check(event, origin);
    }
});
