use super::*;

/// Normal deviates from a fixed seed (sum of twelve uniforms of an LCG).
struct Normal(u64);
impl Normal {
    fn next(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Onsets of `count` notes whose lengths in beats repeat `pattern`, with normal jitter.
fn line(bpm: f64, pattern: &[f64], count: usize, jitter_ms: f64, seed: u64) -> Vec<f64> {
    let mut normal = Normal(seed);
    let mut beat = 0.0;
    (0..count)
        .map(|i| {
            let t = 0.5 + beat * 60.0 / bpm + normal.next() * jitter_ms / 1000.0;
            beat += pattern[i % pattern.len()];
            t
        })
        .collect()
}

fn set(bpm: f64) -> Option<Tempo> {
    Tempo::new(bpm).ok()
}

#[test]
fn tempo_and_subdivision_are_inferred() {
    for (bpm, pattern, subdivision) in [
        (100.0, &[0.5][..], Subdivision::Eighth),
        (160.0, &[0.5], Subdivision::Eighth),
        (120.0, &[1.0], Subdivision::Quarter),
        (60.0, &[1.0], Subdivision::Quarter),
        (180.0, &[0.25], Subdivision::Sixteenth),
        (90.0, &[1.0, 0.5, 0.5], Subdivision::Eighth),
        (100.0, &[1.0, 1.0, 1.0, 0.5, 0.5, 2.0, 1.0], Subdivision::Eighth),
        (80.0, &[2.0 / 3.0, 1.0 / 3.0, 1.0], Subdivision::Swung(Swing::TRIPLET)),
        (110.0, &[0.75, 0.25, 0.5, 0.5], Subdivision::Sixteenth),
    ] {
        for seed in 0..5 {
            let timing = analyse(&line(bpm, pattern, 40, 5.0, seed), &None.into(), &[]).unwrap();
            assert!((timing.bpm / bpm - 1.0).abs() < 0.005, "{bpm} {pattern:?}: {}", timing.bpm);
            let mut only = Vec::new();
            add_stretch(&mut only, subdivision, 40);
            assert_eq!(timing.subdivision(), in_words(&only), "{bpm} {pattern:?}");
            assert!(timing.swing.is_none_or(|s| (s - 2.0).abs() < 0.1), "{timing:?}");
            assert!((2.5..8.0).contains(&timing.sd_ms), "{bpm} {pattern:?}: {}", timing.sd_ms);
            assert_eq!(timing.tendency, Some(Tendency::Steady), "{bpm} {pattern:?} {timing:?}");
        }
    }
}

#[test]
fn spread_is_measured_with_and_without_a_tempo() {
    for (jitter, bpm) in [(10.0, 100.0), (20.0, 100.0), (40.0, 100.0), (20.0, 140.0)] {
        let (mut known, mut inferred) = (0.0, 0.0);
        for seed in 0..20 {
            let onsets = line(bpm, &[0.5], 21, jitter, seed);
            known += analyse(&onsets, &set(bpm).into(), &[]).unwrap().sd_ms / 20.0;
            inferred += analyse(&onsets, &None.into(), &[]).unwrap().sd_ms / 20.0;
        }
        assert!((known / jitter - 1.0).abs() < 0.1, "{jitter} at {bpm}: {known}");
        assert!((0.8..1.1).contains(&(inferred / jitter)), "{jitter} at {bpm}: {inferred}");
    }
}

#[test]
fn latency_is_taken_out_and_rests_cost_nothing() {
    let onsets = line(96.0, &[0.5, 0.5, 1.0, 3.0, 0.5, 0.5, 6.0], 50, 0.0, 1);
    let plain = analyse(&onsets, &set(96.0).into(), &[]).unwrap();
    assert!(plain.sd_ms < 1e-6);
    for latency in [-0.2, 0.013, 0.111, 7.77] {
        let late: Vec<f64> = onsets.iter().map(|t| t + latency).collect();
        let timing = analyse(&late, &set(96.0).into(), &[]).unwrap();
        assert!(timing.sd_ms < 1e-6, "{latency}: {}", timing.sd_ms);
        assert!(timing.notes.iter().all(|d| d.unwrap().deviation_ms.abs() < 1e-6));
    }
    assert!(analyse(&onsets, &None.into(), &[]).unwrap().sd_ms < 0.5);
}

#[test]
fn one_lost_note_and_one_false_onset_do_not_bend_the_grid() {
    let mut onsets = line(100.0, &[0.5], 30, 4.0, 3);
    onsets.remove(11);
    onsets.push(onsets[20] + 0.09);
    for tempo in [None, set(100.0)] {
        let timing = analyse(&onsets, &tempo.into(), &[]).unwrap();
        assert!((timing.bpm - 100.0).abs() < 0.5, "{timing:?}");
        assert!(timing.sd_ms < 12.0, "{}", timing.sd_ms);
        assert!(timing.notes[29].unwrap().deviation_ms.abs() > 60.0);
    }
}

#[test]
fn speeding_up_is_found_and_named() {
    // 100 to 110 bpm over 12 s of eighths.
    let (mut t, mut onsets) = (0.5, Vec::new());
    for _ in 0..41 {
        onsets.push(t);
        t += 30.0 / (100.0 + 10.0 * (t - 0.5) / 11.5);
    }
    let timing = analyse(&onsets, &None.into(), &[]).unwrap();
    assert!((timing.bpm - 104.8).abs() < 0.5, "{}", timing.bpm);
    assert!((timing.sd_ms - 43.8).abs() < 3.0, "{}", timing.sd_ms);
    assert!((timing.drift.unwrap() - 52.0).abs() < 4.0, "{:?}", timing.drift);
    assert_eq!(timing.tendency, Some(Tendency::Rushing));
    let slow: Vec<f64> = onsets.iter().map(|t| 20.0 - t).collect();
    assert_eq!(analyse(&slow, &None.into(), &[]).unwrap().tendency, Some(Tendency::Dragging));
    let off = analyse(&line(98.0, &[0.5], 40, 3.0, 1), &set(100.0).into(), &[]).unwrap();
    assert_eq!(off.tendency, Some(Tendency::Dragging));
    assert!(off.sd_ms > 20.0);
}

#[test]
fn lost_input_parts_the_grid() {
    let mut onsets = line(100.0, &[0.5], 20, 0.0, 1);
    onsets.extend(line(100.0, &[0.5], 20, 0.0, 1).iter().map(|t| t + 7.123));
    assert!(analyse(&onsets, &set(100.0).into(), &[]).unwrap().sd_ms > 30.0);
    assert!(analyse(&onsets, &set(100.0).into(), &[7.0]).unwrap().sd_ms < 1e-6);
}

#[test]
fn few_or_hostile_notes_are_answered_honestly() {
    let four = line(100.0, &[1.0], 4, 5.0, 1);
    for tempo in [None, set(100.0)] {
        assert_eq!(analyse(&[], &tempo.into(), &[]), None);
        assert_eq!(analyse(&four[..3], &tempo.into(), &[]), None);
        assert_eq!(analyse(&[1.0; 9], &tempo.into(), &[]), None);
        assert_eq!(analyse(&[f64::NAN, f64::INFINITY, 1e300, -1e300], &tempo.into(), &[]), None);
        let timing = analyse(&four, &tempo.into(), &[]).unwrap();
        assert!(timing.tendency.is_none() && timing.drift.is_none());
        let mut mixed = vec![f64::NAN, 1e300];
        mixed.extend(four.iter().rev());
        let timing = analyse(&mixed, &tempo.into(), &[]).unwrap();
        assert!(timing.notes[0].is_none() && timing.notes[1].is_none());
        assert!(timing.notes[2..].iter().all(Option::is_some));
    }
}

#[test]
fn hours_of_playing_with_pauses_are_judged_in_runs() {
    let mut onsets = Vec::new();
    for part in 0..60 {
        // Each time on a grid of its own, at a tempo of its own.
        let start = f64::from(part) * 61.3;
        onsets.extend(
            line(90.0 + f64::from(part % 7), &[0.5, 0.5, 1.0], 60, 8.0, part as u64)
                .iter()
                .map(|t| t + start),
        );
    }
    let timing = analyse(&onsets, &None.into(), &[]).unwrap();
    assert!((timing.sd_ms - 8.0).abs() < 1.0, "{}", timing.sd_ms);
    assert!((90.0..=96.0).contains(&timing.bpm), "{} {}", timing.bpm, timing.subdivision());
}

/// A line as played: onsets as they are heard, and the deviations (ms) of the real notes among them with their beats.
struct Played {
    onsets: Vec<f64>,
    beats: Vec<f64>,
    off: Vec<f64>,
}

/// `jitter_ms` of unevenness, a tenth of the notes not heard, three onsets in a hundred false.
fn played(bpm: f64, pattern: &[f64], count: usize, jitter_ms: f64, seed: u64) -> Played {
    let mut normal = Normal(seed.wrapping_mul(77) + 5);
    let mut played = Played { onsets: Vec::new(), beats: Vec::new(), off: Vec::new() };
    let (mut beat, beat_seconds) = (0.0, 60.0 / bpm);
    for i in 0..count {
        let off = normal.next() * jitter_ms / 1000.0;
        if normal.uniform() >= 0.1 {
            played.onsets.push(2.0 + beat * beat_seconds + off);
            played.beats.push(beat);
            played.off.push(1000.0 * off);
        }
        if normal.uniform() < 0.03 {
            played.onsets.push(2.0 + (beat + pattern[i % pattern.len()] * normal.uniform()) * beat_seconds);
        }
        beat += pattern[i % pattern.len()];
    }
    played
}

/// Standard deviation (ddof 1) about a constant, or (ddof 2) about a straight line through the beats.
fn true_sd(p: &Played, line: bool) -> f64 {
    let n = p.off.len() as f64;
    let (mb, mo) = (p.beats.iter().sum::<f64>() / n, p.off.iter().sum::<f64>() / n);
    let sxy: f64 = p.beats.iter().zip(&p.off).map(|(b, o)| (b - mb) * (o - mo)).sum();
    let sxx: f64 = p.beats.iter().map(|b| (b - mb).powi(2)).sum();
    let slope = if line { sxy / sxx } else { 0.0 };
    let squares: f64 = p.beats.iter().zip(&p.off).map(|(b, o)| (o - mo - slope * (b - mb)).powi(2)).sum();
    (squares / (n - if line { 2.0 } else { 1.0 })).sqrt()
}

fn on_click(origin: f64, bpm: f64, latency_known: bool) -> Pulse {
    let mut pulse = Pulse::default();
    pulse.set(0.0, Some(Click { origin, tempo: Tempo::new(bpm).unwrap(), latency_known }));
    pulse
}

/// What an hour of such playing is measured to: the mean error of the spread over many stretches of 40 notes.
#[test]
fn a_spread_of_8_ms_is_measured_despite_lost_notes_and_false_onsets() {
    for pattern in [&[0.5][..], &[1.0, 0.5, 0.5], &[1.0 / 3.0], &[0.25]] {
        for pulse in [Pulse::default(), set(100.0).into(), on_click(2.0, 100.0, true)] {
            let inferred = pulse == Pulse::default();
            let errors: Vec<f64> = (0..40)
                .map(|seed| {
                    let p = played(100.0, pattern, 40, 8.0, seed);
                    let timing = analyse(&p.onsets, &pulse, &[]).unwrap();
                    (timing.sd_ms - true_sd(&p, inferred)).abs()
                })
                .collect();
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            assert!(mean <= 0.3, "{pattern:?} {pulse:?}: {mean:.3} ms");
        }
    }
}

#[test]
fn the_tempo_is_found_to_a_two_thousandth() {
    for (bpm, pattern) in [(100.0, &[0.5][..]), (87.0, &[1.0, 0.5, 0.5]), (132.0, &[1.0, 0.5, 0.5, 1.0])] {
        let mut errors: Vec<f64> = (0..40)
            .map(|seed| {
                let p = played(bpm, pattern, 64, 8.0, seed);
                (analyse(&p.onsets, &Pulse::default(), &[]).unwrap().bpm / bpm - 1.0).abs()
            })
            .collect();
        errors.sort_by(f64::total_cmp);
        assert!(errors[20] <= 0.0005 && errors[36] <= 0.001, "{bpm} {pattern:?}: {errors:?}");
    }
}

#[test]
fn each_stretch_is_judged_by_its_own_subdivision() {
    let lengths = [vec![1.0; 8], vec![0.5; 16], vec![1.0 / 3.0; 24]].concat();
    for seed in 0..10 {
        let onsets = line(90.0, &lengths, 48, 6.0, seed);
        for pulse in [Pulse::default(), set(90.0).into(), on_click(0.5, 90.0, true)] {
            let timing = analyse(&onsets, &pulse, &[]).unwrap();
            assert_eq!(timing.subdivision(), "quarters, then eighths, then triplets", "{seed} {pulse:?}");
            assert!((4.5..7.5).contains(&timing.sd_ms), "{seed} {pulse:?}: {}", timing.sd_ms);
            let places: Vec<f64> = timing.notes[45..].iter().map(|n| n.unwrap().place).collect();
            let thirds = [0.0, 1.0 / 3.0, 2.0 / 3.0];
            assert!(places.iter().zip(thirds).all(|(p, t)| (p - t).abs() < 1e-6), "{places:?}");
        }
    }
}

#[test]
fn swing_is_measured_and_no_error() {
    for ratio in [1.5, 1.8, 2.0, 2.6] {
        let place = ratio / (1.0 + ratio);
        for seed in 0..10 {
            let onsets = line(110.0, &[place, 1.0 - place], 48, 6.0, seed);
            for pulse in [Pulse::default(), set(110.0).into(), on_click(0.5, 110.0, true)] {
                let timing = analyse(&onsets, &pulse, &[]).unwrap();
                let swing = timing.swing.unwrap_or_else(|| panic!("{ratio} {seed}: {timing:?}"));
                assert!((swing / ratio - 1.0).abs() < 0.1, "{ratio} {seed}: {swing}");
                assert!((4.5..7.8).contains(&timing.sd_ms), "{ratio} {seed} {pulse:?}: {}", timing.sd_ms);
                assert!((timing.bpm - 110.0).abs() < 0.5, "{}", timing.bpm);
            }
        }
    }
    // Straight eighths do not swing, however uneven.
    for (seed, jitter) in [(1, 3.0), (2, 12.0), (3, 25.0), (4, 25.0), (5, 40.0)] {
        let onsets = line(110.0, &[0.5], 48, jitter, seed);
        for pulse in [Pulse::default(), set(110.0).into()] {
            assert_eq!(analyse(&onsets, &pulse, &[]).unwrap().swing, None, "{jitter} ms");
        }
    }
}

#[test]
fn ahead_of_or_behind_the_click_is_told_apart_from_the_spread() {
    for (behind, tendency) in [
        (-30.0, Tendency::Rushing),
        (25.0, Tendency::Dragging),
        (5.0, Tendency::Steady),
        (60.0, Tendency::Dragging),
    ] {
        let onsets: Vec<f64> =
            line(100.0, &[0.5, 0.5, 1.0], 40, 8.0, 9).iter().map(|t| t + behind / 1000.0).collect();
        let timing = analyse(&onsets, &on_click(0.5, 100.0, true), &[]).unwrap();
        assert!((timing.click_offset_ms.unwrap() - behind).abs() < 4.0, "{timing:?}");
        assert_eq!(timing.tendency, Some(tendency), "{behind}");
        assert!((5.5..10.5).contains(&timing.sd_ms));
        let mean = timing.notes.iter().map(|n| n.unwrap().deviation_ms).sum::<f64>() / 40.0;
        assert!((mean - behind).abs() < 4.0, "{mean}");
        // With the round trip unknown, only evenness is judged.
        let unknown = analyse(&onsets, &on_click(0.5, 100.0, false), &[]).unwrap();
        assert_eq!((unknown.click_offset_ms, unknown.tendency), (None, Some(Tendency::Steady)));
        assert!((unknown.sd_ms - timing.sd_ms).abs() < 0.5);
    }
}

#[test]
fn notes_off_the_beat_alone_are_no_errors_on_a_click() {
    let onsets: Vec<f64> = line(100.0, &[1.0], 24, 5.0, 4).iter().map(|t| t + 0.3).collect();
    let timing = analyse(&onsets, &on_click(0.5, 100.0, true), &[]).unwrap();
    assert!(timing.click_offset_ms.unwrap().abs() < 4.0, "{timing:?}");
    assert!(timing.notes.iter().all(|n| n.unwrap().place == 0.5));
    // Nor do long rests lose the click.
    let rests = line(100.0, &[1.0, 0.5, 13.5], 12, 5.0, 4);
    let timing = analyse(&rests, &on_click(0.5, 100.0, true), &[]).unwrap();
    assert!(timing.notes.iter().all(Option::is_some) && timing.sd_ms < 8.0, "{timing:?}");
}

#[test]
fn few_notes_yield_an_interval() {
    let timing = analyse(&line(100.0, &[0.5], 5, 10.0, 1), &set(100.0).into(), &[]).unwrap();
    assert!(!timing.has_figure() && timing.counted == 5);
    let (low, high) = timing.interval_ms.unwrap();
    assert!(low < timing.sd_ms && high > 1.5 * timing.sd_ms, "{timing:?}");
    // Four times in five the interval holds the truth.
    let held = (0..400)
        .filter(|seed| {
            let timing = analyse(&line(100.0, &[0.5], 12, 10.0, *seed), &set(100.0).into(), &[]).unwrap();
            let (low, high) = timing.interval_ms.unwrap();
            assert!(timing.has_figure());
            (low..=high).contains(&10.0)
        })
        .count();
    assert!((290..350).contains(&held), "{held} of 400");
}
