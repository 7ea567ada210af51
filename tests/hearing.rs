//! From sound to scores: the virtual guitarist plays, the analyser hears, the judge scores. Each mistake that the
//! guitarist makes must lower its own score and no other.

use fretcoach::audio::guitarist::{Mistakes, Pattern, Performance, TruthNote, perform};
use fretcoach::dsp::event::{DspEvent, NoteEvent};
use fretcoach::dsp::{ANALYSIS_RATE, Analyzer, AnalyzerConfig};
use fretcoach::music::scale::Scale;
use fretcoach::practice::score::{right_cents, right_ms};
use fretcoach::practice::session::Session;
use fretcoach::practice::settings::Settings;
use fretcoach::practice::types::{JudgedNote, Metric, NoiseCause, Reason, Summary};

/// Points by which a mistake may move another score.
const OTHERS: f64 = 3.0;

struct Heard {
    truth: Vec<TruthNote>,
    notes: Vec<NoteEvent>,
    judged: Vec<JudgedNote>,
    summary: Summary,
}

fn hear(mistakes: &str, pattern: Pattern, seed: u64) -> Heard {
    let scale = Scale::parse("A minor pentatonic").unwrap();
    let performance = Performance {
        scale,
        bpm: 100.0,
        pattern,
        mistakes: mistakes.parse::<Mistakes>().unwrap(),
        seed,
        sample_rate: ANALYSIS_RATE,
        bars: 12,
        ..Performance::default()
    };
    let (samples, truth) = perform(&performance);
    let settings = Settings { scale: Some(scale), bpm: Some(100.0), ..Settings::default() };
    let mut session = Session::new(settings);
    let mut notes = Vec::new();
    let mut take = |event: DspEvent| {
        session.push(&event);
        if let DspEvent::Note(n) = event {
            notes.push(n);
        }
    };
    let mut analyzer = Analyzer::new(AnalyzerConfig::default());
    analyzer.process(&samples, &mut take);
    analyzer.finish(&mut take);
    let summary = session.finish(samples.len() as f64 / f64::from(ANALYSIS_RATE));
    Heard { truth, notes, judged: session.closed_notes(), summary }
}

fn score(s: &Summary, metric: Metric) -> f64 {
    s.scores.get(metric).unwrap_or_else(|| panic!("{metric:?} was not measured"))
}

/// True notes that were heard within 10 ms and 10 cents.
fn matched(h: &Heard) -> usize {
    let pitch = |midi: u8, cents: f64| f64::from(midi) * 100.0 + cents;
    let same = |t: &TruthNote, n: &NoteEvent| {
        (n.onset - t.onset).abs() < 0.010
            && (pitch(n.midi, f64::from(n.cents)) - pitch(t.midi, t.cents)).abs() < 10.0
    };
    h.truth.iter().filter(|t| h.notes.iter().any(|n| same(t, n))).count()
}

#[test]
fn flawless_playing_is_heard_note_by_note_and_scores_at_least_98() {
    for (pattern, seed) in [
        (Pattern::Scale, 1),
        (Pattern::Thirds, 2),
        (Pattern::Fours, 3),
        (Pattern::Riff, 4),
        (Pattern::Mixed, 5),
    ] {
        let h = hear("none", pattern, seed);
        assert_eq!(matched(&h), h.truth.len(), "{pattern}: {} notes heard", h.notes.len());
        assert_eq!(h.notes.len(), h.truth.len(), "{pattern}");
        for metric in Metric::ALL {
            let s = score(&h.summary, metric);
            assert!(s >= 98.0, "{pattern}: {metric:?} is {s}");
        }
    }
}

#[test]
fn each_mistake_lowers_its_own_score_and_no_other() {
    let flawless = hear("none", Pattern::Scale, 7).summary;
    for (mistakes, own, at_least) in [
        ("timing=30", Metric::TimingStability, 10.0),
        ("drift=8", Metric::TimingStability, 10.0),
        ("wrong=0.25", Metric::ScaleConformity, 10.0),
        ("detune=22", Metric::PitchAccuracy, 10.0),
        ("noise=0.15", Metric::NoiseControl, 10.0),
        ("noise=0.4", Metric::NoiseControl, 10.0),
        ("noise=1", Metric::NoiseControl, 10.0),
        ("hum=0.1", Metric::NoiseControl, 10.0),
        ("hiss=0.1", Metric::NoiseControl, 10.0),
    ] {
        let h = hear(mistakes, Pattern::Scale, 7);
        for metric in Metric::ALL {
            let lost = score(&flawless, metric) - score(&h.summary, metric);
            if metric == own {
                assert!(lost >= at_least, "{mistakes}: {metric:?} fell by only {lost:.1}");
            } else {
                assert!(lost <= OTHERS, "{mistakes}: {metric:?} fell by {lost:.1}");
            }
        }
        let found = matched(&h);
        assert!(found + 1 >= h.truth.len(), "{mistakes}: {found} of {} notes", h.truth.len());
    }
}

/// Each note that was played wrong is marked wrong, with the mistake that was made; each right one is right. What lies
/// within a few cents or ms of a limit may fall to either side.
#[test]
fn mistakes_come_back_note_by_note_with_their_reason() {
    let (cents_limit, ms_limit) = (right_cents(0.5), right_ms(0.5, 300.0));
    let mut found = [0; 3];
    for (mistakes, seed) in
        [("wrong=0.2", 3), ("detune=18", 4), ("timing=35", 5), ("wrong=0.1,detune=15,timing=30", 6)]
    {
        let h = hear(mistakes, Pattern::Scale, seed);
        let mut off: Vec<f64> = h.truth.iter().map(|t| 1000.0 * (t.onset - t.grid)).collect();
        off.sort_by(f64::total_cmp);
        // Without a click the constant part is taken out, and so is a constant part of the tuning.
        let constant = off[off.len() / 2];
        let tuning = h.summary.facts.tuning_offset_cents.unwrap_or(0.0);
        let mut missing = Vec::new();
        for t in &h.truth {
            let Some(n) = h.judged.iter().find(|n| (n.note.onset - t.onset).abs() < 0.02) else {
                missing.push(t);
                continue;
            };
            let what = format!("{mistakes}: {t:?} {n:?}");
            let (ms, cents) = (1000.0 * (t.onset - t.grid) - constant, t.cents - tuning);
            // Tuned so far off that it is the next note.
            if t.cents.abs() > 44.0 {
                continue;
            }
            assert!((n.deviation_ms.unwrap() - ms).abs() < 4.0, "{what}");
            let clearly = |value: f64, limit: f64, slack: f64| {
                if value.abs() > limit + slack {
                    Some(true)
                } else if value.abs() < limit - slack {
                    Some(false)
                } else {
                    None
                }
            };
            let (late, out) = (clearly(ms, ms_limit, 5.0), clearly(cents, cents_limit, 4.0));
            match n.reason {
                Some(Reason::NotInScale(_)) => {
                    assert!(t.wrong, "{what}");
                    found[0] += 1;
                }
                Some(Reason::Early(v) | Reason::Late(v)) => {
                    assert!(!t.wrong && late != Some(false) && (v - ms.abs()).abs() < 4.0, "{what}");
                    assert_eq!(matches!(n.reason, Some(Reason::Late(_))), ms > 0.0, "{what}");
                    found[1] += 1;
                }
                Some(Reason::Sharp(v) | Reason::Flat(v)) => {
                    assert!(!t.wrong && out != Some(false) && (v - cents.abs()).abs() < 5.0, "{what}");
                    assert_eq!(matches!(n.reason, Some(Reason::Sharp(_))), cents > 0.0, "{what}");
                    found[2] += 1;
                }
                None => assert!(!t.wrong && late != Some(true) && out != Some(true), "{what}"),
            }
        }
        assert!(missing.len() <= 1, "{mistakes}: {missing:?} not heard");
    }
    assert!(found.iter().all(|f| *f >= 10), "{found:?}");
}

#[test]
fn each_noise_is_called_by_its_name_and_flawless_playing_by_none() {
    for (mistakes, cause) in [
        ("none", None),
        ("timing=20,wrong=0.1,detune=10", None),
        ("hum=0.02", Some(NoiseCause::Hum)),
        ("hum=0.3", Some(NoiseCause::Hum)),
        ("hiss=0.03", Some(NoiseCause::Hiss)),
        ("hiss=0.2", Some(NoiseCause::Hiss)),
        ("noise=0.15", Some(NoiseCause::Squeaks)),
        ("noise=0.4", Some(NoiseCause::Squeaks)),
    ] {
        for (pattern, seed) in [(Pattern::Scale, 1), (Pattern::Riff, 2), (Pattern::Fours, 3)] {
            let facts = hear(mistakes, pattern, seed).summary.facts;
            assert_eq!(facts.noise_cause, cause, "{pattern}, {mistakes}: {:?}", facts.noise_causes);
            let mains = (cause == Some(NoiseCause::Hum)).then_some(50);
            assert_eq!(facts.mains_hz, mains, "{pattern}, {mistakes}");
            if mains.is_some() {
                assert_eq!(facts.noise_words()[0], "hum from the mains at 50 Hz");
            }
        }
    }
}

#[test]
fn a_guitar_that_is_flat_as_a_whole_is_one_remark_and_costs_nothing() {
    let h = hear("offset=-18", Pattern::Scale, 3);
    let offset = h.summary.facts.tuning_offset_cents.unwrap();
    assert!((offset + 18.0).abs() < 1.0, "offset {offset}");
    assert!(score(&h.summary, Metric::PitchAccuracy) >= 98.0);
}

#[test]
fn squeaks_over_ringing_strings_are_no_notes() {
    for (pattern, seed) in [(Pattern::Riff, 8), (Pattern::Mixed, 9)] {
        for noise in ["noise=0.4", "noise=0.7"] {
            let h = hear(noise, pattern, seed);
            assert_eq!(h.notes.len(), h.truth.len(), "{pattern}, {noise}");
            assert_eq!(matched(&h), h.truth.len(), "{pattern}, {noise}");
        }
    }
}

/// The coach speaks at forty places of the performance: what rings when the gate opens was struck behind it and is no
/// note, whatever squeaks meanwhile; what is struck well after it is.
#[test]
fn strings_that_ring_when_the_coach_falls_silent_are_no_notes() {
    let performance = Performance {
        scale: Scale::parse("A minor pentatonic").unwrap(),
        bpm: 90.0,
        pattern: Pattern::Mixed,
        mistakes: "timing=14,wrong=0.08,detune=9,offset=-7,noise=0.15".parse::<Mistakes>().unwrap(),
        seed: 5,
        sample_rate: ANALYSIS_RATE,
        bars: 12,
        ..Performance::default()
    };
    let (samples, truth) = perform(&performance);
    let index = |t: f64| (t * f64::from(ANALYSIS_RATE)) as usize;
    for k in 0..40 {
        let shut = 5.0 + 0.4 * f64::from(k);
        let open = shut + 1.5 + 0.017 * f64::from(k);
        let mut notes = Vec::new();
        let mut take = |event: DspEvent| {
            if let DspEvent::Note(n) = event {
                notes.push(n);
            }
        };
        let mut analyzer = Analyzer::new(AnalyzerConfig::default());
        analyzer.set_origin(shut - 1.0);
        analyzer.process(&samples[index(shut - 1.0)..index(shut)], &mut take);
        analyzer.set_gated(true);
        analyzer.process(&samples[index(shut)..index(open)], &mut take);
        analyzer.set_gated(false);
        analyzer.process(&samples[index(open)..index(open + 2.0)], &mut take);
        analyzer.finish(&mut take);
        let same = |t: &TruthNote, n: &NoteEvent| (n.onset - t.onset).abs() < 0.05 && n.midi == t.midi;
        for note in notes.iter().filter(|n| n.onset > shut) {
            assert!(
                truth.iter().any(|t| same(t, note)),
                "gate {shut:.2}..{open:.3}: {note:?} was not played"
            );
        }
        for played in truth.iter().filter(|t| (open + 0.1..open + 1.5).contains(&t.onset)) {
            assert!(
                notes.iter().any(|n| same(played, n)),
                "gate {shut:.2}..{open:.3}: {played:?} is missing"
            );
        }
    }
}
