#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
use super::*;
use crate::dsp::testsig::Random;
use proptest::prelude::*;

const RATE: f64 = ANALYSIS_RATE as f64;

/// A train of clicks in a room, as it is captured.
struct Scene {
    strikes: Vec<Strike>,
    sound: Vec<f32>,
}

/// `seconds` of clicks every `beat` seconds that are captured after `delay` seconds, on a clock that is `drift` faster, at
/// this level, with reflections.
fn scene(seconds: f64, beat: f64, delay: f64, drift: f64, level: f64, seed: u64) -> Scene {
    let mut random = Random::new(seed);
    let mut room = vec![(0.0, 1.0)];
    let mut late = 0.0;
    while late < 0.12 {
        late += 0.002 + 0.001 * f64::from(random.uniform());
        room.push((late, 0.5 * (-late / 0.03f64).exp() * f64::from(random.uniform())));
    }
    let mut strikes = Vec::new();
    let mut sound = vec![0.0f32; (seconds * RATE) as usize];
    for n in 0.. {
        let at = 0.5 + n as f64 * beat;
        if at + delay + 0.5 > seconds {
            break;
        }
        let strike = Strike { at: at * RATE, level: 0.5 * sign(n) };
        for (later, share) in &room {
            let from = at * (1.0 + drift) + delay + later;
            for (i, x) in sound.iter_mut().enumerate().skip((from * RATE).ceil() as usize).take(CLICK) {
                *x += (level * f64::from(strike.level) * share * shape(i as f64 / RATE - from)) as f32;
            }
        }
        strikes.push(strike);
    }
    Scene { strikes, sound }
}

/// What is left, with the strikes told as the output would: when they are handed over.
fn cancelled(scene: &Scene, canceller: &mut Canceller, block: usize) -> Vec<f32> {
    let mut out = scene.sound.clone();
    let mut next = 0;
    for (i, chunk) in out.chunks_mut(block).enumerate() {
        while let Some(strike) = scene.strikes.get(next).filter(|s| s.at < ((i + 1) * block) as f64) {
            canceller.expect(*strike);
            next += 1;
        }
        canceller.process(chunk, true);
    }
    out
}

fn energy(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum()
}

fn decibels(ratio: f64) -> f64 {
    10.0 * ratio.max(1e-12).log10()
}

#[test]
fn the_shape_lies_above_what_is_filtered_away() {
    let mut canceller = Canceller::new();
    canceller.expect(Strike { at: 100.0, level: 1.0 });
    let mut sound = vec![0.0f32; 4800];
    for (i, x) in sound.iter_mut().enumerate().skip(1000).take(CLICK) {
        *x = shape((i - 1000) as f64 / RATE) as f32;
    }
    canceller.process(&mut sound.clone(), true);
    let kept = energy(&canceller.band[..4000]);
    assert!(decibels(kept / energy(&sound)).abs() < 0.05, "{kept} of {}", energy(&sound));
    let peak = sound.iter().fold(0.0f32, |p, x| p.max(x.abs()));
    assert!((0.9..=1.0).contains(&peak), "{peak}");
}

#[test]
fn a_train_is_unlike_its_shifted_copies() {
    for shift in 1..31 {
        let same: f32 = (0..31).map(|n| sign(n) * sign(n + shift)).sum();
        assert_eq!(same, -1.0, "{shift}");
    }
    // And early on: of the first five, no shift by one beat agrees with all.
    assert!((0..4).any(|n| sign(n) == sign(n + 1)) && (0..4).any(|n| sign(n) != sign(n + 1)));
}

#[test]
fn the_kernel_reads_between_samples() {
    for fraction in [0.0, 0.25, 0.5, 0.9] {
        let weights = kernel(fraction);
        for hz in [100.0, 2_000.0, 6_500.0] {
            let wave = |x: f64| (2.0 * PI * hz * x / RATE + 0.3).sin();
            let read: f64 = (0..KERNEL).map(|i| f64::from(weights[i]) * wave(i as f64)).sum();
            let exact = wave((KERNEL / 2 - 1) as f64 + fraction);
            assert!((read - exact).abs() < 3e-3, "{hz} Hz at {fraction}: {read} {exact}");
        }
    }
}

#[test]
fn clicks_of_any_delay_drift_and_level_are_found_and_taken_out() {
    for (delay, drift, level, beat) in [
        (0.006, 0.0, 0.3, 0.6),
        (0.083, 100e-6, 0.1, 0.5),
        (0.25, -100e-6, 1.0, 0.3),
        (0.6, 40e-6, 0.02, 0.75),
    ] {
        let scene = scene(20.0, beat, delay, drift, level, 3);
        let mut canceller = Canceller::new();
        let left = cancelled(&scene, &mut canceller, 256);
        let lock = canceller.lock().expect("the clicks were found");
        let true_delay = delay + lock.at / RATE * drift;
        assert!((lock.delay / RATE - true_delay).abs() < 20e-6, "{delay}: {lock:?}");
        assert!((lock.drift - drift).abs() < 2e-6, "{drift}: {lock:?}");
        let half = scene.sound.len() / 2;
        let down = decibels(energy(&scene.sound[half..]) / energy(&left[half..]));
        println!("delay {delay} s, drift {drift:e}: {down:.1} dB less, {lock:?}");
        assert!(down > 25.0, "only {down:.1} dB less with a delay of {delay} s");
    }
}

#[test]
fn the_delay_is_known_after_five_clicks() {
    let scene = scene(6.0, 0.6, 0.12, 0.0, 0.2, 5);
    let mut canceller = Canceller::new();
    let mut early = Scene { strikes: scene.strikes[..5].to_vec(), sound: scene.sound };
    early.sound.truncate(((0.5 + 4.0 * 0.6 + 0.12 + 0.1) * RATE) as usize);
    cancelled(&early, &mut canceller, 256);
    assert!(canceller.lock().is_some());
}

#[test]
fn nothing_is_found_where_nothing_clicks() {
    let mut random = Random::new(11);
    let scene = scene(20.0, 0.5, 0.1, 0.0, 0.0, 1);
    let sound: Vec<f32> = scene.sound.iter().map(|_| 0.1 * random.uniform()).collect();
    let mut canceller = Canceller::new();
    let noisy = Scene { strikes: scene.strikes, sound };
    let left = cancelled(&noisy, &mut canceller, 256);
    assert_eq!(canceller.lock(), None);
    assert_eq!(left, noisy.sound, "what is not known is left alone");
}

#[test]
fn a_louder_click_is_followed_and_one_that_falls_silent_is_let_go() {
    let mut scene = scene(40.0, 0.5, 0.1, 0.0, 0.1, 2);
    let rate = RATE as usize;
    scene.sound[15 * rate..].iter_mut().for_each(|x| *x *= 2.0);
    scene.sound[30 * rate..].iter_mut().for_each(|x| *x = 0.0);
    let mut canceller = Canceller::new();
    let left = cancelled(&scene, &mut canceller, 256);
    let down = decibels(energy(&scene.sound[20 * rate..30 * rate]) / energy(&left[20 * rate..30 * rate]));
    assert!(down > 25.0, "{down:.1} dB after the level was doubled");
    assert_eq!(canceller.lock(), None, "it still believes in clicks");
    let ghost = decibels(energy(&left[36 * rate..]) / energy(&scene.sound[10 * rate..14 * rate]));
    assert!(ghost < -30.0, "clicks are taken out where there are none: {ghost:.1} dB");
}

#[test]
fn a_way_that_changes_its_length_is_found_again_within_a_few_clicks() {
    let mut scene = scene(24.0, 0.5, 0.1, 0.0, 0.2, 6);
    let (rate, jump) = (RATE as usize, 931);
    // From 12 s on all comes 19 ms later.
    let before = scene.sound.clone();
    scene.sound[12 * rate + jump..].copy_from_slice(&before[12 * rate..24 * rate - jump]);
    scene.sound[12 * rate..12 * rate + jump].fill(0.0);
    let mut canceller = Canceller::new();
    let left = cancelled(&scene, &mut canceller, 256);
    let delay = canceller.lock().expect("it was found again").delay;
    assert!((delay / RATE - 0.1 - jump as f64 / RATE).abs() < 20e-6, "{delay}");
    let down = decibels(energy(&scene.sound[16 * rate..]) / energy(&left[16 * rate..]));
    assert!(down > 25.0, "{down:.1} dB less");
}

#[test]
fn lost_input_and_a_new_train_begin_anew() {
    let scene = scene(12.0, 0.5, 0.1, 0.0, 0.2, 4);
    let mut canceller = Canceller::new();
    cancelled(&scene, &mut canceller, 256);
    assert!(canceller.lock().is_some());
    canceller.skip(4_800);
    assert_eq!(canceller.lock(), None);
    let mut canceller = Canceller::new();
    cancelled(&scene, &mut canceller, 256);
    canceller.restart();
    assert_eq!(canceller.lock(), None);
    let position = canceller.position as f64;
    let strikes = scene.strikes.iter().map(|s| Strike { at: s.at + position, ..*s }).collect();
    let mut later = Scene { strikes, sound: scene.sound };
    // The second time on positions that go on.
    let mut next = 0;
    for (i, chunk) in later.sound.chunks_mut(256).enumerate() {
        while let Some(s) = later.strikes.get(next).filter(|s| s.at < position + ((i + 1) * 256) as f64) {
            canceller.expect(*s);
            next += 1;
        }
        canceller.process(chunk, true);
    }
    assert!(canceller.lock().is_some_and(|l| (l.delay / RATE - 0.1).abs() < 20e-6), "{:?}", canceller.lock());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Blocks of any size give the same sound, bit for bit, when the clicks are told at the same time.
    #[test]
    fn blocks_do_not_matter_much(block in 1..2000usize, delay in 0.02..0.3f64) {
        let scene = scene(6.0, 0.5, delay, 0.0, 0.3, 9);
        let (mut whole, mut parts) = (Canceller::new(), Canceller::new());
        for strike in &scene.strikes {
            whole.expect(*strike);
            parts.expect(*strike);
        }
        let (mut a, mut b) = (scene.sound.clone(), scene.sound.clone());
        whole.process(&mut a, true);
        b.chunks_mut(block).for_each(|chunk| parts.process(chunk, true));
        let (first, second) = (whole.lock(), parts.lock());
        prop_assert_eq!(first.is_some(), second.is_some());
        // Learning keeps pace with the blocks, so only what is left of a click may differ.
        let apart = energy(&a.iter().zip(&b).map(|(x, y)| x - y).collect::<Vec<_>>());
        prop_assert!(apart <= 1e-2 * energy(&scene.sound), "{} of {}", apart, energy(&scene.sound));
    }

    /// No input and no schedule makes it panic or lets anything but numbers out that came in as numbers.
    #[test]
    fn hostile_input_and_schedules_are_survived(
        sound in prop::collection::vec(prop_oneof![any::<f32>(), -1.0f32..1.0, Just(f32::NAN), Just(f32::INFINITY)], 1..6000),
        strikes in prop::collection::vec((any::<f64>(), any::<f32>()), 0..90),
        near in prop::collection::vec((-1e4f64..1e5, -2.0f32..2.0), 0..90),
        skip in any::<u64>(),
    ) {
        let mut canceller = Canceller::new();
        for (at, level) in strikes {
            canceller.expect(Strike { at, level });
        }
        let mut out = sound.clone();
        for (i, chunk) in out.chunks_mut(509).enumerate() {
            if let Some((at, level)) = near.get(i) {
                canceller.expect(Strike { at: *at, level: *level });
            }
            canceller.process(chunk, i % 3 != 0);
        }
        canceller.skip(skip);
        canceller.process(&mut out.clone(), true);
        for (x, y) in sound.iter().zip(&out) {
            prop_assert!(!x.is_finite() || y.is_finite());
        }
    }
}
