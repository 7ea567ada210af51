//! What does one hop of 256 samples (5.33 ms) cost, where does the time go, what does the input's rate add, and how exact and
//! how expensive are other permissively licensed pitch detectors on the same sound, in the same run?
//!
//! Measured on noisy notes, since detectors return early in silence. Quote the ratios; absolute times depend on the
//! machine. `cargo bench --bench hop`
mod sound;

use std::cell::RefCell;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fretcoach::audio::clock::now_ns;
use fretcoach::audio::guitarist::{Mistakes, Pattern, Performance, perform};
use fretcoach::audio::resample::Resampler;
use fretcoach::dsp::bench::{Stage, only_plain};
use fretcoach::dsp::event::DspEvent;
use fretcoach::dsp::{ANALYSIS_RATE, Analyzer, AnalyzerConfig, HOP};
use sound::{CpuTime, Known, cpu_ns, median, noisy_notes, stiff_strings};

/// Rounds of everything that is compared, in turn, so that all meet the same machine; medians are shown.
const ROUNDS: usize = 7;
/// Power below which a frame is silence to those that ask: -60 dBFS.
const SILENCE: f32 = 1e-6;
/// Clarity in the README of `pitch-detection`.
const CLARITY: f32 = 0.7;

/// A pitch that was claimed: when it was available, Hz, and whether it is final.
type Claim = (f64, f64, bool);

/// From a signal to what is claimed of it.
type Detect = dyn Fn(&[f32]) -> Vec<Claim>;

/// A detector over a whole signal, a claim for each hop that it calls voiced.
struct Method {
    name: &'static str,
    does: &'static str,
    run: Box<Detect>,
}

fn fretcoach(signal: &[f32]) -> Vec<Claim> {
    let mut analyzer = Analyzer::new(AnalyzerConfig::default());
    let mut claims = Vec::with_capacity(signal.len() / HOP);
    for hop in signal.chunks_exact(HOP) {
        analyzer.process(hop, &mut |event| {
            if let DspEvent::Frame(f) = event {
                claims.extend(f.f0.map(|f0| (f.t, f64::from(f0), !f.provisional)));
            }
            black_box(event);
        });
    }
    claims
}

/// Frames of `size` samples, one per hop.
fn framed(signal: &[f32], size: usize, mut pitch: impl FnMut(&[f32]) -> Option<f64>) -> Vec<Claim> {
    let frames = signal.windows(size).step_by(HOP).enumerate();
    let time = |i: usize| (i * HOP + size) as f64 / f64::from(ANALYSIS_RATE);
    frames.filter_map(|(i, frame)| pitch(frame).map(|f0| (time(i), f0, true))).collect()
}

fn mcleod(signal: &[f32]) -> Vec<Claim> {
    use pitch_detection::detector::{PitchDetector as _, mcleod::McLeodDetector};
    const SIZE: usize = 2048;
    let mut detector = McLeodDetector::<f32>::new(SIZE, SIZE / 2);
    framed(signal, SIZE, |x| {
        let found = detector.get_pitch(x, ANALYSIS_RATE as usize, SILENCE * SIZE as f32, CLARITY);
        found.map(|p| f64::from(p.frequency))
    })
}

fn methods() -> Vec<Method> {
    use pitch_detection::detector::{PitchDetector as _, yin::YINDetector};
    use pitch_estimate::PitchDetector as _;
    let method = |name, does, run| Method { name, does, run };
    vec![
        method("fretcoach", "pitch, onsets, notes, noise", Box::new(fretcoach)),
        method("pitch-detection 0.3 McLeod f32/2048", "pitch", Box::new(mcleod)),
        method(
            "pitch-detection 0.3 YIN f64/2048",
            "pitch",
            Box::new(|signal| {
                let wide: Vec<f64> = signal.iter().map(|&x| f64::from(x)).collect();
                let mut detector = YINDetector::<f64>::new(2048, 1024);
                let mut at = 0;
                framed(signal, 2048, |_| {
                    let (power, clarity) = (f64::from(SILENCE) * 2048.0, f64::from(CLARITY));
                    let frame = &wide[at..at + 2048];
                    at += HOP;
                    detector.get_pitch(frame, ANALYSIS_RATE as usize, power, clarity).map(|p| p.frequency)
                })
            }),
        ),
        method(
            "pitch-estimate 0.1 MPM/2048",
            "pitch",
            Box::new(|signal| {
                let mut detector = pitch_estimate::McLeodDetector::<f32>::new(2048, 1536)
                    .expect("a size it takes")
                    .with_power_threshold(SILENCE);
                framed(signal, 2048, |x| detector.detect(x, ANALYSIS_RATE).map(|p| f64::from(p.frequency)))
            }),
        ),
        method(
            "pitch-estimate 0.1 YIN/2048",
            "pitch",
            Box::new(|signal| {
                let mut detector = pitch_estimate::YinDetector::<f32>::new(2048, 1024)
                    .expect("a size it takes")
                    .with_power_threshold(SILENCE);
                framed(signal, 2048, |x| detector.detect(x, ANALYSIS_RATE).map(|p| f64::from(p.frequency)))
            }),
        ),
        method(
            "yin_rs 0.1 /2048",
            "pitch",
            Box::new(|signal| {
                let wide: Vec<f64> = signal.iter().map(|&x| f64::from(x)).collect();
                let detector = yin_rs::Yin::init(0.15, 55.0, 1400.0, f64::from(ANALYSIS_RATE));
                let mut at = 0;
                framed(signal, 2048, |_| {
                    let frame = &wide[at..at + 2048];
                    at += HOP;
                    detector.yin(frame).ok().map(|p| p.get_frequency_with_interpolation())
                })
            }),
        ),
    ]
}

/// How good claims are, on notes whose truth is exact.
#[derive(Default)]
struct Accuracy {
    /// Hops from 150 ms after each onset that are right within 50 cents, of all.
    right: f64,
    /// Of the voiced ones there, wrong by more.
    gross: f64,
    /// Mean error of the right, final ones, cents.
    cents: f64,
    /// Onset to the first of three right ones in a row, median, ms.
    first_ms: f64,
    /// Claimed pitches in the silence between notes, of the hops there.
    false_alarms: f64,
}

fn accuracy(claims: &[Claim], notes: &[Known]) -> Accuracy {
    let hop = HOP as f64 / f64::from(ANALYSIS_RATE);
    let cents = |f0: f64, f1: f64| 1200.0 * (f0 / f1).log2();
    let (mut hops, mut right, mut wrong, mut sum, mut exact) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let (mut first, mut quiet, mut alarms) = (Vec::new(), 0.0, 0.0);
    for n in notes {
        hops += ((n.end - n.onset - 0.15) / hop).floor();
        quiet += (0.1 / hop).floor();
        let (mut row, mut found) = (0, f64::INFINITY);
        for &(t, f0, last) in claims {
            let error = cents(f0, n.f1).abs();
            if (n.onset..n.end).contains(&t) {
                row = if error < 50.0 { row + 1 } else { 0 };
                if row == 3 && found.is_infinite() {
                    found = t - n.onset - 2.0 * hop;
                }
            }
            if (n.onset + 0.15..n.end).contains(&t) {
                if error < 50.0 {
                    right += 1.0;
                    (sum, exact) = if last { (sum + error, exact + 1.0) } else { (sum, exact) };
                } else {
                    wrong += 1.0;
                }
            }
            // The longest window here is 85 ms.
            alarms += f64::from(u8::from((n.end + 0.1..n.end + 0.2).contains(&t)));
        }
        first.push(1e3 * found);
    }
    Accuracy {
        right: 100.0 * (right / hops).min(1.0),
        gross: 100.0 * wrong / (right + wrong).max(1.0),
        cents: sum / f64::max(exact, 1.0),
        first_ms: median(first),
        false_alarms: 100.0 * alarms / quiet,
    }
}

/// Accuracy beside speed, the rounds in turn.
fn compare() {
    let signal = noisy_notes();
    let hops = (signal.len() / HOP) as f64;
    let methods = methods();
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); methods.len()];
    for _ in 0..ROUNDS {
        for (method, times) in methods.iter().zip(&mut times) {
            let start = cpu_ns();
            black_box((method.run)(black_box(&signal)));
            times.push((cpu_ns() - start) as f64 / hops);
        }
    }
    let mcleod = times[1].clone();
    println!(
        "\nspeed: thread CPU time on notes 20 dB over noise; accuracy: 54 stiff strings B1-E6, exact truth, at 75 / 20 dB"
    );
    println!(
        "| detector | does | ns a hop | of McLeod's (lowest-highest) | right % | gross % | mean cents | first right ms | false alarms % |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let sets = [stiff_strings(75.0), stiff_strings(20.0)];
    for (method, times) in methods.iter().zip(&times) {
        let ratios: Vec<f64> = times.iter().zip(&mcleod).map(|(t, m)| t / m).collect();
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(0.0, f64::max);
        let [clean, noisy] = sets.each_ref().map(|(x, notes)| accuracy(&(method.run)(x), notes));
        println!(
            "| {} | {} | {:.0} | {:.3} ({low:.3}-{high:.3}) | {:.1} / {:.1} | {:.1} / {:.1} | {:.2} / {:.2} | {:.0} / {:.0} | {:.1} / {:.1} |",
            method.name,
            method.does,
            median(times.clone()),
            median(ratios),
            clean.right,
            noisy.right,
            clean.gross,
            noisy.gross,
            clean.cents,
            noisy.cents,
            clean.first_ms,
            noisy.first_ms,
            clean.false_alarms,
            noisy.false_alarms,
        );
    }
}

thread_local! {
    /// Time of the last mark, and what each stage took, hop after hop.
    static MARKS: RefCell<(u64, Vec<u64>)> = const { RefCell::new((0, Vec::new())) };
}

fn watch(stage: Stage) {
    let now = now_ns();
    MARKS.with_borrow_mut(|(last, spent)| {
        if stage != Stage::Begin {
            spent.push(now - *last);
        }
        *last = now_ns();
    });
}

/// Where in a hop the time goes, by the wall: of each stage of each hop the least of several rounds, which is what it needs when
/// nobody disturbs it; then the mean. With the loops for AVX2, where the processor has it, and for any processor.
fn stages() {
    let signal = noisy_notes();
    let hops = signal.len() / HOP;
    // What looking at the clock costs is in every stage.
    let look = (0..2000).map(|_| now_ns().abs_diff(now_ns())).min().unwrap_or(0) as f64;
    let table = [false, true].map(|plain| {
        only_plain(plain);
        let mut least = vec![u64::MAX; hops * Stage::TIMED.len()];
        for _ in 0..ROUNDS {
            MARKS.set((0, Vec::with_capacity(least.len())));
            let mut analyzer = Analyzer::new(AnalyzerConfig::default());
            analyzer.set_watch(watch);
            for hop in signal.chunks_exact(HOP) {
                analyzer.process(hop, &mut |event| {
                    black_box(event);
                });
            }
            MARKS.with_borrow(|(_, spent)| least.iter_mut().zip(spent).for_each(|(l, s)| *l = (*l).min(*s)));
        }
        let mean =
            |i: usize| least.iter().skip(i).step_by(Stage::TIMED.len()).sum::<u64>() as f64 / hops as f64;
        (0..Stage::TIMED.len()).map(|i| mean(i) - look).collect::<Vec<f64>>()
    });
    only_plain(false);
    println!("\n| stage of a hop | ns, AVX2 | share % | ns, any processor |\n|---|---|---|---|");
    let sum: f64 = table[0].iter().sum();
    for (i, stage) in Stage::TIMED.iter().enumerate() {
        println!(
            "| {stage:?} | {:.0} | {:.0} | {:.0} |",
            table[0][i],
            100.0 * table[0][i] / sum,
            table[1][i]
        );
    }
    println!("| all | {sum:.0} | 100 | {:.0} |", table[1].iter().sum::<f64>());
}

/// What the rate of the input adds: resampling and analysis together, per 5.33 ms of sound.
fn rates() {
    println!(
        "\n| input | resampling, ns a hop | with analysis, ns a hop | share of one core % | samples wait ms |\n|---|---|---|---|---|"
    );
    for rate in [44_100u32, 48_000, 88_200, 96_000, 192_000] {
        let performance = Performance {
            pattern: Pattern::Mixed,
            mistakes: "timing=12,wrong=0.1,detune=10,noise=0.2".parse::<Mistakes>().expect("mistakes"),
            sample_rate: rate,
            bars: 4,
            ..Performance::default()
        };
        let (sound, _) = perform(&performance);
        let hops = sound.len() as f64 / f64::from(rate) * f64::from(ANALYSIS_RATE) / HOP as f64;
        let (mut alone, mut both, mut wait) = (Vec::new(), Vec::new(), 0.0);
        for _ in 0..ROUNDS {
            for analyse in [false, true] {
                let mut resampler = (rate != ANALYSIS_RATE)
                    .then(|| Resampler::new(rate, ANALYSIS_RATE).expect("a usual rate"));
                wait = resampler.as_ref().map_or(0.0, |r| 1e3 * r.wait_seconds());
                let mut analyzer = Analyzer::new(AnalyzerConfig::default());
                let mut hear = |x: &[f32]| {
                    if analyse {
                        analyzer.process(x, &mut |event| {
                            black_box(event);
                        });
                    } else {
                        black_box(x);
                    }
                };
                let start = cpu_ns();
                for block in sound.chunks(1024) {
                    match &mut resampler {
                        Some(r) => r.push(block, &mut hear),
                        None => hear(block),
                    }
                }
                let took = (cpu_ns() - start) as f64 / hops;
                if analyse { both.push(took) } else { alone.push(took) }
            }
        }
        let (alone, both) = (median(alone), median(both));
        let share = both / (HOP as f64 / f64::from(ANALYSIS_RATE)) / 1e7;
        println!("| {rate} Hz | {alone:.0} | {both:.0} | {share:.2} | {wait:.1} |");
    }
}

fn hop(c: &mut Criterion<CpuTime>) {
    fretcoach::audio::clock::start();
    let signal = noisy_notes();
    let hops = (signal.len() / HOP) as u64;
    let mut group = c.benchmark_group("hop of 256 samples");
    group.throughput(Throughput::Elements(hops)).sample_size(20);
    group.bench_function("fretcoach analyser", |b| b.iter(|| fretcoach(black_box(&signal))));
    group.bench_function("pitch-detection McLeod f32/2048, pitch only", |b| {
        b.iter(|| mcleod(black_box(&signal)))
    });
    group.finish();
    compare();
    stages();
    rates();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = hop
}
criterion_main!(benches);
