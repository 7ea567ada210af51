//! The same playing at every rate that sound cards and recordings have gives the same notes, through the way that a recording
//! takes: file, resampler, loop, analyser.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fretcoach::audio::echo::EchoGate;
use fretcoach::audio::engine::{Engine, EngineSettings, Input};
use fretcoach::audio::guitarist::{Mistakes, Pattern, Performance, TruthNote, perform};
use fretcoach::dsp::event::{DspEvent, NoteEvent};
use fretcoach::dsp::{Analyzer, AnalyzerConfig};

/// The rate at which the performance is played; the others are made from it.
const PLAYED: u32 = 192_000;
const RATES: [u32; 5] = [44_100, 48_000, 88_200, 96_000, 192_000];
/// How long the engine may take for some seconds of sound on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn played() -> (Vec<f32>, Vec<TruthNote>) {
    perform(&Performance {
        pattern: Pattern::Thirds,
        mistakes: "timing=12,wrong=0.1,detune=12,noise=0.1".parse::<Mistakes>().unwrap(),
        seed: 11,
        sample_rate: PLAYED,
        bars: 3,
        ..Performance::default()
    })
}

/// The samples at another rate: a Hann-windowed sinc of 32 zero crossings on each side at each output sample, in double
/// precision. Nothing of the product's own resampler is in it, so that its mistakes would show.
fn at_rate(x: &[f32], rate: u32) -> Vec<f32> {
    if rate == PLAYED {
        return x.to_vec();
    }
    let step = f64::from(PLAYED) / f64::from(rate);
    let half = 32.0 * step;
    (0..(x.len() as f64 / step) as usize)
        .map(|i| {
            let centre = i as f64 * step;
            let (from, to) =
                ((centre - half).ceil().max(0.0) as usize, ((centre + half) as usize).min(x.len() - 1));
            let sum: f64 = (from..=to)
                .map(|k| {
                    let u = (k as f64 - centre) / step;
                    let sinc = if u.abs() < 1e-9 {
                        1.0
                    } else {
                        (std::f64::consts::PI * u).sin() / (std::f64::consts::PI * u)
                    };
                    let window = 0.5 + 0.5 * (std::f64::consts::PI * u / 32.0).cos();
                    f64::from(x[k]) * sinc * window
                })
                .sum();
            (sum / step) as f32
        })
        .collect()
}

fn write(folder: &Path, samples: &[f32], rate: u32) -> PathBuf {
    let path = folder.join(format!("{rate}.wav"));
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 24,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(&path, spec).unwrap();
    for x in samples {
        file.write_sample((f64::from(*x) * 8_388_607.0) as i32).unwrap();
    }
    file.finalize().unwrap();
    path
}

fn heard(path: PathBuf) -> Vec<NoteEvent> {
    let settings = EngineSettings { realtime: false, ..EngineSettings::default() };
    let make =
        || -> Box<dyn fretcoach::audio::engine::Hear> { Box::new(Analyzer::new(AnalyzerConfig::default())) };
    let input = Input::File { path, fast: true };
    let mut engine = Engine::start(input, settings, make, EchoGate::off()).unwrap();
    let (mut notes, until) = (Vec::new(), Instant::now() + PATIENCE);
    loop {
        let ended = engine.ended();
        while let Ok(event) = engine.events().pop() {
            if let DspEvent::Note(note) = event {
                notes.push(note);
            }
        }
        if ended {
            return notes;
        }
        assert!(Instant::now() < until, "the engine hangs");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_rate_gives_the_same_notes() {
    let folder = tempfile::tempdir().unwrap();
    let (sound, truth) = played();
    let at_48 = heard(write(folder.path(), &at_rate(&sound, 48_000), 48_000));
    let same = |t: &TruthNote| at_48.iter().any(|n| n.midi == t.midi && (n.onset - t.onset).abs() < 0.005);
    let right = truth.iter().filter(|t| same(t)).count();
    assert!(right + 1 >= truth.len() && at_48.len() <= truth.len() + 1, "{right} of {} notes", truth.len());
    for rate in RATES {
        let notes = heard(write(folder.path(), &at_rate(&sound, rate), rate));
        let midis = |notes: &[NoteEvent]| notes.iter().map(|n| n.midi).collect::<Vec<_>>();
        assert_eq!(midis(&notes), midis(&at_48), "{rate} Hz");
        let (mut onset, mut cents) = (0.0f64, 0.0f32);
        for (a, b) in at_48.iter().zip(&notes) {
            onset = onset.max((a.onset - b.onset).abs());
            cents = cents.max((a.cents - b.cents).abs());
        }
        println!(
            "{rate} Hz: {} notes, onsets within {:.3} ms, pitch within {cents:.3} cents of 48 kHz",
            notes.len(),
            onset * 1e3
        );
        assert!(onset < 1e-3 && cents < 2.0, "{rate} Hz: {:.3} ms, {cents:.2} cents", onset * 1e3);
    }
}
