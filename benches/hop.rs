//! What does one hop of 256 samples cost: the whole analyser (pitch, onset, noise, notes), beside the pitch alone of
//! the `pitch-detection` crate's McLeod, f32/2048, once per hop, in the same run? Measured on noisy notes, since
//! detectors return early in silence. Quote the ratio; absolute times depend on the machine.
use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fretcoach::dsp::{ANALYSIS_RATE, Analyzer, AnalyzerConfig, HOP};
use pitch_detection::detector::PitchDetector as _;
use pitch_detection::detector::mcleod::McLeodDetector;

/// Window of the reference, samples.
const REFERENCE: usize = 2048;

/// Eighths at 120 bpm over three octaves, 20 dB above white noise.
fn noisy_notes() -> Vec<f32> {
    let rate = ANALYSIS_RATE as usize;
    let mut state = 88_172_645_463_325_252u64;
    (0..8 * rate)
        .map(|i| {
            let (note, t) = (i / (rate / 4), (i % (rate / 4)) as f32 / rate as f32);
            let hz = 82.407 * 2f32.powf((note * 5 % 36) as f32 / 12.0);
            let string = (1..12).fold(0.0, |sum, k| {
                let k = k as f32;
                sum + (-t * (1.5 + 0.7 * k)).exp() / k * (std::f32::consts::TAU * k * hz * t).sin()
            });
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            0.2 * string + 0.017 * ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        })
        .collect()
}

fn analyse(signal: &[f32]) {
    let mut analyzer = Analyzer::new(AnalyzerConfig::default());
    for hop in signal.chunks_exact(HOP) {
        analyzer.process(hop, &mut |event| {
            black_box(event);
        });
    }
}

fn reference(signal: &[f32]) {
    let mut detector = McLeodDetector::<f32>::new(REFERENCE, REFERENCE / 2);
    for window in signal.windows(REFERENCE).step_by(HOP) {
        black_box(detector.get_pitch(window, ANALYSIS_RATE as usize, 1e-3, 0.5).map(|p| p.frequency));
    }
}

fn hop(c: &mut Criterion) {
    let signal = noisy_notes();
    let hops = (signal.len() / HOP) as u64;
    let mut group = c.benchmark_group("hop of 256 samples");
    group.throughput(Throughput::Elements(hops)).sample_size(20);
    group.bench_function("fretcoach analyser", |b| b.iter(|| analyse(black_box(&signal))));
    group.bench_function("pitch-detection McLeod f32/2048, pitch only", |b| {
        b.iter(|| reference(black_box(&signal)))
    });
    group.finish();

    // The ratio, from rounds in turn so that both meet the same machine; the median of each.
    let time = |f: &dyn Fn(&[f32])| {
        let start = Instant::now();
        f(&signal);
        start.elapsed().as_nanos() as f64 / hops as f64
    };
    let (mut own, mut other): (Vec<f64>, Vec<f64>) =
        (0..9).map(|_| (time(&analyse), time(&reference))).unzip();
    own.sort_by(f64::total_cmp);
    other.sort_by(f64::total_cmp);
    println!(
        "ns per hop: fretcoach {:.0}, McLeod {:.0}; ratio {:.3}; share of one core at 48 kHz {:.2} %",
        own[4],
        other[4],
        own[4] / other[4],
        own[4] / 1e7 * f64::from(ANALYSIS_RATE) / HOP as f64
    );
}

criterion_group!(benches, hop);
criterion_main!(benches);
