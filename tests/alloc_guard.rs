//! Real-time code allocates nothing: proved with an allocator that counts what it is not allowed to serve.
use assert_no_alloc::{AllocDisabler, assert_no_alloc, reset_violation_count, violation_count};
use fretcoach::dsp::event::DspEvent;
use fretcoach::dsp::{ANALYSIS_RATE, Analyzer, AnalyzerConfig};

#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

/// Decaying harmonic notes with a noisy attack, noise, silence, a square wave, not-a-number and infinities.
fn hostile_playing(seconds: usize) -> Vec<f32> {
    let rate = ANALYSIS_RATE as usize;
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..seconds * rate)
        .map(|i| {
            let note = i / (rate / 4);
            let t = (i % (rate / 4)) as f32 / rate as f32;
            let hz = 82.4 * 2f32.powf((note * 7 % 37) as f32 / 12.0);
            let string = (1..8).fold(0.0, |sum, k| {
                let k = k as f32;
                sum + (-t * (2.0 + k)).exp() / k * (std::f32::consts::TAU * k * hz * t).sin()
            });
            let pick = if t < 0.003 { 0.3 * noise() } else { 0.0 };
            match (i / rate) % 8 {
                3 => 0.1 * noise(),
                4 if i % 777 == 0 => f32::NAN,
                5 if i % 999 == 0 => f32::INFINITY,
                6 if t > 0.1 => 0.0,
                7 => {
                    if (i / 60) % 2 == 0 {
                        1.0
                    } else {
                        -1.0
                    }
                }
                _ => 0.2 * string + pick + 1e-3 * noise(),
            }
        })
        .collect()
}

/// The guard itself works: without this, the tests below could not fail.
#[test]
fn an_allocation_is_noticed() {
    reset_violation_count();
    assert_no_alloc(|| drop(std::hint::black_box(vec![1u8; 64])));
    assert!(violation_count() > 0);
}

#[test]
fn the_analyzer_allocates_nothing_after_construction() {
    let signal = hostile_playing(24);
    for block in [1usize, 64, 240, 256, 441, 1024, 4096] {
        // Single samples are slow to feed: an eighth of the signal shows every kind of it as well.
        let signal = if block == 1 { &signal[..signal.len() / 3] } else { &signal[..] };
        let mut analyzer = Analyzer::new(AnalyzerConfig::default());
        let (mut frames, mut notes, mut gaps) = (0usize, 0usize, 0usize);
        reset_violation_count();
        assert_no_alloc(|| {
            let mut sink = |event: DspEvent| match event {
                DspEvent::Frame(_) => frames += 1,
                DspEvent::Note(_) => notes += 1,
                DspEvent::Gap { .. } => gaps += 1,
                DspEvent::Onset(_) | DspEvent::NoteStart(_) | DspEvent::Chord(_) => {}
            };
            let period = (3 * ANALYSIS_RATE as usize / block).max(1);
            for (i, part) in signal.chunks(block).enumerate() {
                analyzer.process(part, &mut sink);
                match i % period {
                    n if n == period / 2 => analyzer.set_gated(true),
                    n if n == period / 2 + period / 8 => analyzer.set_gated(false),
                    n if n + 1 == period => analyzer.skip(1000, &mut sink),
                    _ => {}
                }
            }
            analyzer.set_origin(0.1);
            analyzer.finish(&mut sink);
        });
        assert_eq!(violation_count(), 0, "blocks of {block}");
        // Every path was really taken.
        assert!(
            frames > 1000 && notes > 3 && gaps > 1,
            "{block}: {frames} frames, {notes} notes, {gaps} gaps"
        );
    }
}

#[test]
fn the_click_is_found_learnt_and_taken_out_without_allocating() {
    use fretcoach::dsp::click::{Canceller, Strike, shape, sign};
    let beat = 9_600;
    let mut signal = hostile_playing(16);
    // The first half is clean, so that the clicks are found.
    let half = signal.len() / 2;
    signal[..half].fill(0.0);
    for n in 0..(signal.len() / beat - 1) {
        for i in 0..240 {
            signal[n * beat + 4_000 + i] +=
                0.2 * sign(n as u64) * shape(i as f64 / f64::from(ANALYSIS_RATE)) as f32;
        }
    }
    let mut canceller = Canceller::new();
    let (mut next, mut found) = (0, false);
    reset_violation_count();
    for (i, chunk) in signal.chunks_mut(250).enumerate() {
        assert_no_alloc(|| {
            while next * beat < i * 250 {
                canceller.expect(Strike { at: (next * beat) as f64, level: sign(next as u64) });
                next += 1;
            }
            canceller.process(chunk, i % 50 != 0);
            found |= canceller.lock().is_some();
            if i == 3_000 {
                canceller.skip(77);
            }
        });
    }
    assert!(found, "the clicks were not found: the guard saw nothing");
    assert_eq!(violation_count(), 0);
}
