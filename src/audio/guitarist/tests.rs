use super::*;

/// Frequency of the first partial of `samples` near `hz`: phase advance of a Hann-windowed DFT at that frequency
/// between two windows.
fn measured_hz(samples: &[f32], rate: f64, hz: f64) -> f64 {
    let window = (0.3 * rate) as usize;
    let hop = (0.05 * rate) as usize;
    let phase = |from: usize, hz: f64| {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, s) in samples[from..from + window].iter().enumerate() {
            let hann = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / window as f64).cos();
            let (sin, cos) = (std::f64::consts::TAU * hz * i as f64 / rate).sin_cos();
            re += f64::from(*s) * hann * cos;
            im -= f64::from(*s) * hann * sin;
        }
        im.atan2(re)
    };
    let mut found = hz;
    for _ in 0..3 {
        let turns = (phase(hop, found) - phase(0, found)) / std::f64::consts::TAU - found * hop as f64 / rate;
        found += (turns - turns.round()) * rate / hop as f64;
    }
    found
}

fn cents(measured: f64, hz: f64) -> f64 {
    1200.0 * (measured / hz).log2()
}

fn pluck(midi: u8, rate: f64, seconds: f64) -> Vec<f32> {
    let (string, fret) = finger(midi, 5, &Tuning::default());
    let pluck = Pluck { hz: midi_to_hz(f64::from(midi), 440.0), string, fret, peak: PEAK };
    let mut voice = Voice::new(pluck, rate, &mut Random::new(3, 0));
    (0..(seconds * rate) as usize).map(|_| voice.next() as f32).collect()
}

#[test]
fn pitch_is_exact_from_e2_to_e5() {
    for rate in [44_100.0, 48_000.0, 96_000.0] {
        for midi in (40..=76).step_by(3) {
            let hz = midi_to_hz(f64::from(midi), 440.0);
            let samples = pluck(midi, rate, 0.6);
            let error = cents(measured_hz(&samples[(0.15 * rate) as usize..], rate, hz), hz);
            assert!(error.abs() < 0.3, "midi {midi} at {rate}: {error:.3} cents");
        }
    }
}

#[test]
fn partials_are_stretched_a_little() {
    let samples = pluck(40, 48_000.0, 0.6);
    let f1 = midi_to_hz(40.0, 440.0);
    let f8 = measured_hz(&samples[4800..], 48_000.0, 8.0 * f1 * 1.0035);
    assert!((4.0..8.0).contains(&cents(f8, 8.0 * f1)), "{}", cents(f8, 8.0 * f1));
}

#[test]
fn truth_is_what_sounds() {
    for (mistakes, rate) in [("none", 48_000), ("detune=15,offset=-20,timing=10,wrong=0.2", 44_100)] {
        let performance = Performance {
            mistakes: mistakes.parse().unwrap(),
            sample_rate: rate,
            bars: 3,
            seed: 5,
            ..Performance::default()
        };
        let (samples, truth) = perform(&performance);
        let rate = f64::from(rate);
        assert!(truth.len() > 15);
        let highest = samples.iter().fold(0.0f32, |a, s| a.max(s.abs()));
        assert!((0.17..0.4).contains(&highest), "{highest}");
        for note in truth.iter().filter(|n| n.onset > 0.0) {
            let at = (note.onset * rate).round() as usize;
            assert!((note.onset * rate - at as f64).abs() < 1e-6);
            let power = |from: usize, to: usize| {
                samples[from..to].iter().map(|s| f64::from(s * s)).sum::<f64>() / (to - from) as f64
            };
            let ms = (rate / 1000.0) as usize;
            // Within two milliseconds the attack is far above what was left of the note before.
            assert!(power(at, at + 4 * ms) > 8.0 * power(at - 2 * ms, at), "{note:?}");
        }
        for note in truth.iter().filter(|n| n.midi > 50 && n.offset - n.onset > 0.25).take(8) {
            let hz = midi_to_hz(f64::from(note.midi) + note.cents / 100.0, 440.0);
            let from = ((note.onset + 0.03) * rate) as usize;
            let (window, hop) = ((0.12 * rate) as usize, (0.03 * rate) as usize);
            let found = short_measured_hz(&samples[from..from + window + hop], rate, hz, window, hop);
            assert!(cents(found, hz).abs() < 2.0, "{note:?}: {}", cents(found, hz));
        }
    }
}

fn short_measured_hz(samples: &[f32], rate: f64, hz: f64, window: usize, hop: usize) -> f64 {
    let phase = |from: usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, s) in samples[from..from + window].iter().enumerate() {
            let hann = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / window as f64).cos();
            let (sin, cos) = (std::f64::consts::TAU * hz * i as f64 / rate).sin_cos();
            re += f64::from(*s) * hann * cos;
            im -= f64::from(*s) * hann * sin;
        }
        im.atan2(re)
    };
    let turns = (phase(hop) - phase(0)) / std::f64::consts::TAU - hz * hop as f64 / rate;
    hz + (turns - turns.round()) * rate / hop as f64
}

#[test]
fn the_first_sample_of_the_first_note_is_its_onset() {
    let (samples, truth) = perform(&Performance { bars: 1, ..Performance::default() });
    let first = samples.iter().position(|s| *s != 0.0).unwrap();
    assert_eq!(first, (truth[0].onset * 48_000.0).round() as usize);
    assert_eq!(truth[0].onset, LEAD_IN_SECONDS);
}

#[test]
fn the_same_seed_plays_the_same_in_any_blocks() {
    let performance = Performance {
        pattern: Pattern::Mixed,
        mistakes: "timing=20,noise=0.5,wrong=0.1".parse().unwrap(),
        bars: 2,
        ..Performance::default()
    };
    let (whole, truth) = perform(&performance);
    let mut guitarist = Guitarist::new(&performance);
    let mut blocks = Vec::new();
    for size in [1usize, 64, 1000, 3, 480].iter().cycle() {
        let mut block = vec![0.0; (*size).min(whole.len() - blocks.len())];
        guitarist.render(&mut block);
        blocks.extend(block);
        if blocks.len() == whole.len() {
            break;
        }
    }
    assert!(whole == blocks);
    assert_eq!(guitarist.truth(), truth);
    assert!(guitarist.finished());
    let (other, _) = perform(&Performance { seed: 2, ..performance });
    assert!(other != whole);
}

#[test]
fn mistakes_have_the_statistics_asked_for() {
    let play = |mistakes: &str| {
        truth(&Performance { mistakes: mistakes.parse().unwrap(), bars: 200, ..Performance::default() })
    };
    let sd = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
    };
    let flawless = play("none");
    assert!(flawless.iter().all(|n| n.cents == 0.0 && !n.wrong && (n.onset - n.grid).abs() < 1.1e-5));
    let late: Vec<f64> = play("timing=12").iter().map(|n| 1000.0 * (n.onset - n.grid)).collect();
    assert!((sd(&late) - 12.0).abs() < 0.8, "{}", sd(&late));
    let tuned: Vec<f64> = play("detune=20,offset=-15").iter().map(|n| n.cents).collect();
    assert!((sd(&tuned) - 20.0).abs() < 1.2);
    assert!((tuned.iter().sum::<f64>() / tuned.len() as f64 + 15.0).abs() < 2.0);
    let wrong = play("wrong=0.1");
    let share = wrong.iter().filter(|n| n.wrong).count() as f64 / wrong.len() as f64;
    assert!((share - 0.1).abs() < 0.025, "{share}");
    let scale = Performance::default().scale;
    assert!(wrong.iter().all(|n| scale.contains(n.midi) != n.wrong));
    for (note, meant) in wrong.iter().zip(&flawless).filter(|(n, _)| n.wrong) {
        assert_eq!(note.midi.abs_diff(meant.midi), 1);
        assert_eq!(note.onset, meant.onset);
    }
    // Onset of beat b at 100 + d·t/60 bpm: b = (100 t + d t²/120)/60.
    for note in play("drift=6").iter().take(400) {
        let t = note.onset - LEAD_IN_SECONDS;
        let beat = (note.grid - LEAD_IN_SECONDS) * 100.0 / 60.0;
        assert!(((100.0 * t + 6.0 * t * t / 120.0) / 60.0 - beat).abs() < 1e-3, "{note:?}");
    }
}

#[test]
fn string_noise_has_the_power_asked_for() {
    let play = |noise: f64| {
        let mistakes = Mistakes { noise, ..Mistakes::default() };
        perform(&Performance { mistakes, bars: 6, ..Performance::default() })
    };
    let (clean, clean_truth) = play(0.0);
    let power = |s: &[f32]| s.iter().map(|x| f64::from(x * x)).sum::<f64>();
    let mut last = -60.0;
    for (noise, expected) in [(0.05, -34.0), (0.15, -24.5), (0.3, -18.5), (1.0, -8.0)] {
        let (dirty, truth) = play(noise);
        assert_eq!(truth, clean_truth);
        let added: Vec<f32> = dirty.iter().zip(&clean).map(|(d, c)| d - c).collect();
        let db = 10.0 * (power(&added) / power(&clean)).log10();
        assert!((db - expected).abs() < 2.0 && db > last, "{noise}: {db}");
        last = db;
    }
}

#[test]
fn hum_hiss_and_brushed_strings_are_heard_and_change_nothing_else() {
    let play = |mistakes: &str| {
        perform(&Performance { mistakes: mistakes.parse().unwrap(), bars: 6, ..Performance::default() })
    };
    let (clean, clean_truth) = play("none");
    let power = |s: &[f32]| s.iter().map(|x| f64::from(x * x)).sum::<f64>();
    for (mistakes, low, high) in
        [("hum=0.3", -13.0, -9.0), ("hiss=0.3", -13.0, -9.0), ("ringing=0.3", -22.0, -6.0)]
    {
        let (dirty, truth) = play(mistakes);
        assert_eq!(truth, clean_truth);
        let added: Vec<f32> = dirty.iter().zip(&clean).map(|(d, c)| d - c).collect();
        let db = 10.0 * (power(&added) / power(&clean)).log10();
        assert!((low..high).contains(&db), "{mistakes}: {db}");
    }
}

#[test]
fn notes_decay_and_end() {
    let rate = 48_000.0;
    let power = |s: &[f32]| s.iter().map(|x| f64::from(x * x)).sum::<f64>() / s.len() as f64;
    for (midi, low, high) in [(40, 4.0, 11.0), (52, 3.0, 8.0), (64, 2.0, 6.0), (76, 1.0, 4.0)] {
        let s = pluck(midi, rate, 1.6);
        let fall = 10.0 * (power(&s[24_000..28_800]) / power(&s[67_200..72_000])).log10();
        let t60 = 60.0 * 0.9 / fall;
        assert!((low..high).contains(&t60), "midi {midi}: {t60:.1} s");
    }
    let (samples, truth) = perform(&Performance { bars: 1, ..Performance::default() });
    let end = (truth.last().unwrap().offset * rate) as usize;
    assert!(power(&samples[end + 14_400..]) < 1e-7);
}

#[test]
fn what_cannot_be_played_is_brought_into_range() {
    let odd = Performance {
        bpm: f64::NAN,
        sample_rate: 1,
        a4_hz: 1e6,
        bars: 1,
        mistakes: Mistakes { timing_ms: f64::INFINITY, noise: 9.0, ..Mistakes::default() },
        ..Performance::default()
    };
    let (samples, truth) = perform(&odd);
    assert!(!truth.is_empty() && samples.iter().all(|s| s.is_finite()));
    let low = Performance { tuning: Tuning::parse("B0").unwrap(), bars: 1, ..Performance::default() };
    assert!(perform(&low).0.iter().all(|s| s.is_finite() && s.abs() < 1.0));
}
