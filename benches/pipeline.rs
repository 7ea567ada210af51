//! What does the rest of the way cost: an event through the ring, the latest frame through the snapshot cell, the measuring
//! of a hop itself, a window of 30 s through the judge, and a second of sound through the resampler at each rate?
//!
//! `cargo bench --bench pipeline`
mod sound;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fretcoach::audio::guitarist::{Mistakes, Pattern, Performance, perform};
use fretcoach::audio::live::{self, LiveFrame};
use fretcoach::audio::resample::Resampler;
use fretcoach::audio::stats::EngineStats;
use fretcoach::dsp::event::{DspEvent, FrameReport, NoisePowers};
use fretcoach::dsp::{ANALYSIS_RATE, Analyzer, AnalyzerConfig};
use fretcoach::music::scale::Scale;
use fretcoach::practice::session::Session;
use fretcoach::practice::settings::Settings;
use rtrb::RingBuffer;
use sound::CpuTime;

/// Length of a window, seconds.
const WINDOW: f64 = 30.0;

fn frame(t: f64) -> DspEvent {
    DspEvent::Frame(FrameReport {
        t,
        w: 0.04,
        f0: Some(110.0),
        confidence: 0.9,
        provisional: false,
        level_db: -20.0,
        wanted: 0.01,
        unwanted: 1e-5,
        causes: NoisePowers::default(),
    })
}

fn hand_over(c: &mut Criterion<CpuTime>) {
    fretcoach::audio::clock::start();
    let mut group = c.benchmark_group("hand-over");
    let (mut producer, mut consumer) = RingBuffer::new(16_384);
    group.bench_function("an event into the ring and out", |b| {
        b.iter(|| {
            let _ = producer.push(black_box(frame(1.0)));
            black_box(consumer.pop().ok())
        });
    });
    let (mut writer, reader) = live::cell();
    let latest = LiveFrame { f0: Some(110.0), midi: Some(45), cents: Some(0.0), ..LiveFrame::default() };
    group.bench_function("a snapshot written", |b| b.iter(|| writer.write(black_box(&latest))));
    group.bench_function("a snapshot read", |b| b.iter(|| black_box(reader.read())));
    let stats = EngineStats::new(5_333_333);
    group.bench_function("a hop measured (clocks and histogram)", |b| {
        b.iter(|| {
            let hop = stats.begin();
            stats.end(black_box(hop));
        });
    });
    group.bench_function("the histogram of a window taken", |b| b.iter(|| black_box(stats.take_window())));
    group.finish();
}

/// Everything that the analyser reports of 30 s of playing with mistakes.
fn events() -> (Vec<DspEvent>, Settings) {
    let scale = Scale::parse("A minor pentatonic").expect("a scale");
    let performance = Performance {
        scale,
        bpm: 100.0,
        pattern: Pattern::Mixed,
        mistakes: "timing=12,wrong=0.1,detune=10,noise=0.2".parse::<Mistakes>().expect("mistakes"),
        bars: 13,
        ..Performance::default()
    };
    let (samples, _) = perform(&performance);
    let mut events = Vec::new();
    let mut analyzer = Analyzer::new(AnalyzerConfig::default());
    let most = (WINDOW * f64::from(ANALYSIS_RATE)) as usize;
    analyzer.process(&samples[..most.min(samples.len())], &mut |e| events.push(e));
    (events, Settings { scale: Some(scale), bpm: Some(100.0), ..Settings::default() })
}

fn window(c: &mut Criterion<CpuTime>) {
    let (events, settings) = events();
    let notes = events.iter().filter(|e| matches!(e, DspEvent::Note(_))).count();
    println!("a window: {} events, {notes} notes", events.len());
    let mut group = c.benchmark_group("window of 30 s");
    group.sample_size(20);
    let judged = |events: &[DspEvent]| {
        let mut session = Session::new(settings.clone());
        for event in events {
            black_box(session.push(event));
        }
        session
    };
    group.bench_function("all its events judged as they come", |b| b.iter(|| judged(black_box(&events))));
    let full = judged(&events);
    group.bench_function("closed", |b| {
        b.iter_batched(|| full.clone(), |mut s| black_box(s.close_window(WINDOW)), BatchSize::SmallInput);
    });
    group.bench_function("the live scores", |b| b.iter(|| black_box(full.current())));
    let mut closed = full.clone();
    closed.close_window(WINDOW);
    group.bench_function("the session summed up", |b| {
        b.iter_batched(|| closed.clone(), |mut s| black_box(s.finish(WINDOW)), BatchSize::SmallInput);
    });
    group.finish();
}

fn resample(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("a second of sound to 48 kHz");
    group.sample_size(20);
    for rate in [44_100u32, 88_200, 96_000, 192_000, 44_056] {
        let mut noise = sound::Noise(7);
        let second: Vec<f32> = (0..rate).map(|_| 0.2 * noise.next()).collect();
        let mut resampler = Resampler::new(rate, ANALYSIS_RATE).expect("a rate that may be");
        group.throughput(Throughput::Elements(u64::from(rate)));
        group.bench_function(BenchmarkId::new("from", rate), |b| {
            b.iter(|| {
                for block in second.chunks(1024) {
                    resampler.push(black_box(block), &mut |out| {
                        black_box(out);
                    });
                }
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = hand_over, window, resample
}
criterion_main!(benches);
