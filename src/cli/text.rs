//! Scores and times in words, the same wherever they are printed.

use std::fmt::Write;

use crate::audio::stats::HOP_BUDGET;
use crate::music::note;
use crate::music::scale::Scale;
use crate::practice::metric::Rating;
use crate::practice::score::{right_cents, right_ms};
use crate::practice::types::{Facts, JudgedNote, Metric, Scores, Summary, Tendency};
use crate::store::LoopCost;

/// `1:23` or `1:02:03`.
#[must_use]
pub fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}

/// Short name of a metric, as on the display.
#[must_use]
pub const fn short(metric: Metric) -> &'static str {
    match metric {
        Metric::PitchAccuracy => "pitch",
        Metric::ScaleConformity => "scale",
        Metric::TimingStability => "timing",
        Metric::NoiseControl => "clean",
    }
}

/// `pitch 92 · scale 100 · timing 61 · overall 86`: only what was measured.
#[must_use]
pub fn scores(s: &Scores) -> String {
    let mut parts: Vec<String> =
        Metric::ALL.into_iter().filter_map(|m| Some(format!("{} {:.0}", short(m), s.get(m)?))).collect();
    parts.extend(s.overall.map(|o| format!("overall {o:.0}")));
    if parts.is_empty() { "nothing to score".into() } else { parts.join(" · ") }
}

/// What the score of a metric rests on, in a guitarist's words; empty when there is nothing to say.
#[must_use]
pub fn ground(metric: Metric, f: &Facts) -> String {
    match metric {
        Metric::PitchAccuracy => {
            let mut said =
                f.mean_abs_cents.map_or_else(String::new, |c| format!("{c:.0} cents off on average"));
            if let Some(offset) = f.tuning_offset_cents.filter(|o| o.abs() >= 5.0) {
                let way = if offset < 0.0 { "flat" } else { "sharp" };
                let _ = write!(said, "; the whole guitar is {:.0} cents {way}", offset.abs());
            }
            said
        }
        Metric::ScaleConformity => {
            let wrong: Vec<String> = f.wrong_notes.iter().take(3).map(|(n, k)| format!("{n} ×{k}")).collect();
            match f.in_scale_ratio {
                Some(r) if wrong.is_empty() => format!("{:.0} % of the notes in the scale", r * 100.0),
                Some(r) => {
                    format!("{:.0} % of the notes in the scale; outside it: {}", r * 100.0, wrong.join(", "))
                }
                None => String::new(),
            }
        }
        Metric::TimingStability => {
            let mut said: Vec<String> = spread(f).map(|s| format!("spread {s}")).into_iter().collect();
            said.extend(click_offset(f));
            said.extend(match f.tendency {
                Some(Tendency::Rushing) => Some("rushing".to_owned()),
                Some(Tendency::Dragging) => Some("dragging".to_owned()),
                _ => None,
            });
            said.extend(subdivision(f));
            said.extend(f.bpm.map(|bpm| format!("at {bpm:.0} bpm")));
            said.join(", ")
        }
        Metric::NoiseControl => {
            let mut said = f.noise_db.map_or_else(String::new, |db| format!("unwanted sound at {db:.0} dB"));
            for cause in f.noise_words() {
                let _ = write!(said, ", {cause}");
            }
            said
        }
    }
}

/// `12 ms (10–15)`: how uneven, and between what it lies four times in five. With too few notes for a figure the
/// interval alone, `6–19 ms (5 notes)`.
#[must_use]
pub fn spread(f: &Facts) -> Option<String> {
    let between = f.timing_sd_interval_ms.map(|(low, high)| format!("{low:.0}–{high:.0}"));
    match (f.timing_sd_ms, between) {
        (Some(sd), Some(between)) => Some(format!("{sd:.0} ms ({between})")),
        (Some(sd), None) => Some(format!("{sd:.0} ms")),
        (None, Some(between)) => Some(format!("{between} ms ({} notes)", f.timing_notes)),
        (None, None) => None,
    }
}

/// `14 ms behind the click`
#[must_use]
pub fn click_offset(f: &Facts) -> Option<String> {
    f.click_offset_ms.map(|ms| match ms.round() {
        0.0 => "with the click".into(),
        ahead if ahead < 0.0 => format!("{:.0} ms ahead of the click", -ahead),
        behind => format!("{behind:.0} ms behind the click"),
    })
}

/// `quarters, then eighths`, `swung eighths (2:1)`
#[must_use]
pub fn subdivision(f: &Facts) -> Option<String> {
    let said = f.subdivision.as_ref().filter(|s| !s.is_empty())?;
    Some(match f.swing_ratio {
        Some(ratio) => format!("{said} (swing {}:1)", (10.0 * ratio).round() / 10.0),
        None => said.clone(),
    })
}

/// `C#4`, spelled by the scale where there is one.
#[must_use]
pub fn note_name(scale: Option<&Scale>, midi: u8) -> String {
    match scale {
        Some(scale) => format!("{}{}", scale.spell(midi), i32::from(midi) / 12 - 1),
        None => note::midi_name(midi, true),
    }
}

/// From where on a note counts as wrong, in words.
#[must_use]
pub fn limits(strictness: f64) -> String {
    format!(
        "wrong: out of the scale, more than {:.0} cents off, or more than {:.0} ms early or late \
         (less among fast notes), at strictness {strictness}",
        right_cents(strictness),
        right_ms(strictness, f64::INFINITY)
    )
}

/// Time of a note: `0:03.42`.
#[must_use]
pub fn moment(seconds: f64) -> String {
    let hundredths = (seconds.max(0.0) * 100.0).round() as u64;
    format!("{}:{:02}.{:02}", hundredths / 6000, hundredths / 100 % 60, hundredths % 100)
}

/// Notes marked wrong with when and why, one a line, in order; at most `most`, and how many more there are.
#[must_use]
pub fn wrong_notes(notes: &[JudgedNote], scale: Option<&Scale>, most: usize, further: usize) -> String {
    let name = |midi| note_name(scale, midi);
    let mut wrong = notes.iter().filter_map(|n| Some((n, n.reason?)));
    let mut text = String::new();
    for (n, reason) in wrong.by_ref().take(most) {
        let _ =
            writeln!(text, "  {:>8}  {:4} {}", moment(n.note.onset), name(n.note.midi), reason.words(name));
    }
    let more = wrong.count() + further;
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
    text
}

/// What the real-time loop took; `None` where no hop was analysed. `deadline_ns` is the sound that a hop holds.
#[must_use]
pub fn loop_cost(c: &LoopCost, deadline_ns: u64) -> Option<String> {
    let us = |ns: u64| ns as f64 / 1e3;
    let share = 100.0 * c.hop_cpu_max_ns as f64 / deadline_ns.max(1) as f64;
    let mut text = format!(
        "Hearing: a hop takes {:.0} µs, 95 % take at most {:.0} µs, the costliest took {share:.1} % of its deadline",
        us(c.hop_p50_ns),
        us(c.hop_p95_ns)
    );
    if c.overruns > 0 {
        let _ = write!(text, "; {} of {} cost more than {:.0} %", c.overruns, c.hops, 100.0 * HOP_BUDGET);
    }
    if c.late > 0 {
        let _ = write!(text, "; {} had to wait beyond it", c.late);
    }
    if c.dropped_samples > 0 {
        let _ = write!(text, "; {} samples were lost", c.dropped_samples);
    }
    (c.hops > 0).then_some(text)
}

/// A session's or recording's result as a small table.
#[must_use]
pub fn summary(s: &Summary) -> String {
    if s.facts.strokes() == 0 {
        return "No notes were heard, so there is nothing to score. Is the guitar plugged in and turned up?\n\
                `fretcoach doctor` shows the level of the input.\n"
            .into();
    }
    let chords = match s.facts.chord_count {
        0 => String::new(),
        1 => " and 1 chord".into(),
        n => format!(" and {n} chords"),
    };
    let mut text = format!("{} notes{chords} in {}", s.facts.note_count, clock(s.duration));
    if s.facts.gated_count > 0 {
        let _ = write!(text, " ({} more while the coach spoke, not judged)", s.facts.gated_count);
    }
    text.push('\n');
    for m in Metric::ALL {
        if let Some(score) = s.scores.get(m) {
            let _ = writeln!(text, "  {:8} {score:4.0}  {}", short(m), ground(m, &s.facts));
        } else if m == Metric::TimingStability && s.facts.timing_sd_interval_ms.is_some() {
            let ground = ground(m, &s.facts);
            let _ = writeln!(text, "  {:8}    –  {ground}; too few notes for a score", short(m));
        }
    }
    if let Some(overall) = s.scores.overall {
        let _ = writeln!(text, "  {:8} {overall:4.0}  {}", "overall", Rating::of(overall).label());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::practice::types::Reason;

    #[test]
    fn timing_in_words() {
        let mut f = Facts {
            timing_sd_ms: Some(12.2),
            timing_sd_interval_ms: Some((10.1, 15.4)),
            timing_notes: 24,
            click_offset_ms: Some(-14.3),
            subdivision: Some("swung eighths".into()),
            swing_ratio: Some(1.96),
            bpm: Some(96.0),
            ..Facts::default()
        };
        let said = ground(Metric::TimingStability, &f);
        assert_eq!(
            said,
            "spread 12 ms (10–15), 14 ms ahead of the click, swung eighths (swing 2:1), at 96 bpm"
        );
        (f.timing_sd_ms, f.timing_notes, f.timing_sd_interval_ms) = (None, 5, Some((6.2, 19.3)));
        assert_eq!(spread(&f).unwrap(), "6–19 ms (5 notes)");
        let s = Summary {
            duration: 3.0,
            scores: Scores::default(),
            facts: Facts { note_count: 5, ..f },
            weakest: None,
            strongest: None,
            overall_by_window: Vec::new(),
        };
        assert!(summary(&s).contains("spread 6–19 ms (5 notes)") && summary(&s).contains("too few notes"));
        assert_eq!(spread(&Facts::default()), None);
        assert_eq!((moment(3.416), moment(75.0)), ("0:03.42".into(), "1:15.00".into()));
    }

    #[test]
    fn reasons_in_words() {
        let scale = Scale::parse("A minor pentatonic").unwrap();
        let name = |midi| note_name(Some(&scale), midi);
        let words = [
            Reason::NotInScale(60),
            Reason::Sharp(24.4),
            Reason::Flat(31.0),
            Reason::Early(52.0),
            Reason::Late(48.6),
        ]
        .map(|r| r.words(name));
        let expected =
            ["not in the scale, C4 is", "24 cents sharp", "31 cents flat", "52 ms early", "49 ms late"];
        assert_eq!(words, expected);
        assert!(limits(0.5).contains("21 cents") && limits(0.5).contains("48 ms"));
    }

    #[test]
    fn the_cost_of_the_loop_names_what_went_wrong_and_only_that() {
        assert_eq!(loop_cost(&LoopCost::default(), 5_333_333), None);
        let mut sum = LoopCost::default();
        let window = LoopCost {
            hops: 5_625,
            hop_p50_ns: 8_600,
            hop_p95_ns: 14_900,
            hop_cpu_max_ns: 42_700,
            ..LoopCost::default()
        };
        sum.add(&window);
        let said =
            "Hearing: a hop takes 9 µs, 95 % take at most 15 µs, the costliest took 0.8 % of its deadline";
        assert_eq!(loop_cost(&sum, 5_333_333).unwrap(), said);
        let bad = LoopCost { hop_cpu_max_ns: 800_000, overruns: 3, late: 1, dropped_samples: 512, ..window };
        sum.add(&bad);
        let said = loop_cost(&sum, 5_333_333).unwrap();
        assert!(said.ends_with(
            "took 15.0 % of its deadline; 3 of 11250 cost more than 10 %; 1 had to wait beyond it; 512 samples were lost"
        ), "{said}");
    }
}
