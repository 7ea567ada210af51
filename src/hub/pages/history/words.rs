//! Words and figures for a player.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::{Value, context};

use crate::music::note;
use crate::music::scale::Scale;
use crate::practice::metric::Rating;
use crate::practice::types::{Facts, Metric, Tendency};
use crate::store::{Figure, Progress};

/// `1:02:03`, `2:03`.
pub(super) fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, m, s) => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{m:02}:{s:02}"),
    }
}

/// `0:03.4`
pub(super) fn moment(seconds: f64) -> String {
    let tenths = (seconds.max(0.0) * 10.0).round() as u64;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

/// `2 h 5 min`, `12 min`, `40 s`, `0 min`.
pub(super) fn duration_words(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds) {
        (0, 0, 0) => "0 min".into(),
        (0, 0, s) => format!("{s} s"),
        (0, m, _) => format!("{m} min"),
        (h, 0, _) => format!("{h} h"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// `Fri 20 Nov 2026, 15:32`
pub(super) fn when(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%a %-d %b %Y, %H:%M").to_string()
}

/// A value of a query, as it stands in an address (RFC 3986: all but the unreserved characters encoded).
pub(super) fn encode(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A score for a cell: its text, the class of its colour and the word for it.
pub(super) fn score_cell(score: Option<f64>) -> Value {
    match score {
        Some(score) => {
            let rating = Rating::of(score);
            context! { text => format!("{score:.0}"), class => rating_class(rating), word => rating.label() }
        }
        None => context! { text => "–", class => "unscored", word => "not measured" },
    }
}

/// Class of a rating in the style sheet.
pub(super) fn rating_class(rating: Rating) -> &'static str {
    match rating {
        Rating::Excellent | Rating::Good => "good",
        Rating::Average => "average",
        Rating::Fair => "poor",
        Rating::NeedsWork => "bad",
    }
}

/// What a figure is called.
pub(super) fn figure_label(figure: Figure) -> &'static str {
    match figure {
        Figure::Overall => "overall",
        Figure::PitchAccuracy => Metric::PitchAccuracy.label(),
        Figure::ScaleConformity => Metric::ScaleConformity.label(),
        Figure::TimingStability => Metric::TimingStability.label(),
        Figure::NoiseControl => Metric::NoiseControl.label(),
        Figure::MeanAbsCents => "intonation",
        Figure::TimingSdMs => "evenness",
        Figure::Tempo => "tempo",
    }
}

/// Its unit; scores have none.
pub(super) fn figure_unit(figure: Figure) -> &'static str {
    match figure {
        Figure::MeanAbsCents => " cents off",
        Figure::TimingSdMs => " ms of spread",
        Figure::Tempo => " bpm",
        _ => "",
    }
}

/// `timing stability 62 → 70`
pub(super) fn change_words(change: &Progress) -> String {
    let unit = figure_unit(change.figure);
    format!("{} {:.0} → {:.0}{unit}", figure_label(change.figure), change.before, change.now)
}

/// `C#4`, spelled by the scale where there is one.
pub(super) fn note_name(scale: Option<&Scale>, midi: u8) -> String {
    match scale {
        Some(scale) => format!("{}{}", scale.spell(midi), i32::from(midi) / 12 - 1),
        None => note::midi_name(midi, true),
    }
}

/// What the scores rest on, in a musician's units.
pub(super) fn facts(f: &Facts) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let mut say = |name, text: Option<String>| facts.extend(text.map(|text| (name, text)));
    say("Intonation", f.mean_abs_cents.map(|c| format!("{c:.1} cents off on average")));
    let offset = f.tuning_offset_cents.filter(|c| c.abs() >= 1.0);
    say(
        "Guitar",
        offset.map(|c| format!("{:.0} cents {} as a whole", c.abs(), if c < 0.0 { "flat" } else { "sharp" })),
    );
    say("Furthest off", f.worst_note.as_ref().map(|(note, cents)| format!("{note} ({cents:+.0} cents)")));
    say("In the scale", f.in_scale_ratio.map(|r| format!("{:.0} % of the notes", r * 100.0)));
    say("Scale played", f.coverage.map(|r| format!("{:.0} % of its notes", r * 100.0)));
    let outside: Vec<String> = f.wrong_notes.iter().map(|(n, times)| format!("{n} ×{times}")).collect();
    say("Outside the scale", (!outside.is_empty()).then(|| outside.join(", ")));
    say("Timing", spread(f));
    say(
        "Against the click",
        f.click_offset_ms.map(|ms| match ms.round() {
            0.0 => "on it".to_owned(),
            ahead if ahead < 0.0 => format!("{:.0} ms ahead", -ahead),
            behind => format!("{behind:.0} ms behind"),
        }),
    );
    say("Rhythm", f.subdivision.clone().filter(|s| !s.is_empty()));
    say(
        "Tendency",
        f.tendency.map(|t| {
            match t {
                Tendency::Rushing => "rushing",
                Tendency::Dragging => "dragging",
                Tendency::Steady => "steady",
            }
            .to_owned()
        }),
    );
    let drift = f.drift_bpm_per_min.filter(|d| d.abs() >= 0.5);
    say("Tempo drift", drift.map(|d| format!("{d:+.1} bpm a minute")));
    say("Unwanted sound", f.noise_db.map(|db| format!("{db:.0} dB against the playing")));
    say("Where it comes from", f.noise_cause.map(|_| f.noise_words().join(", also ")));
    facts
}

/// `spread of 12 ms (10 to 15)`; with too few notes the interval alone.
pub(super) fn spread(f: &Facts) -> Option<String> {
    let between = f.timing_sd_interval_ms.map(|(low, high)| format!("{low:.0} to {high:.0}"));
    match (f.timing_sd_ms, between) {
        (Some(sd), Some(between)) => Some(format!("spread of {sd:.0} ms ({between})")),
        (Some(sd), None) => Some(format!("spread of {sd:.0} ms")),
        (None, Some(between)) => Some(format!("spread between {between} ms, on {} notes", f.timing_notes)),
        (None, None) => None,
    }
}

/// Where in the beat: `on it`, `1/2`, or as a share where eighths were swung.
pub(super) fn place(place: f64) -> String {
    let named =
        [(0.0, "on it"), (0.25, "1/4"), (1.0 / 3.0, "1/3"), (0.5, "1/2"), (2.0 / 3.0, "2/3"), (0.75, "3/4")];
    let near = named.iter().find(|(at, _)| (at - place).abs() < 0.003);
    near.map_or_else(|| format!("{place:.2} (swung)"), |(_, words)| (*words).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_well() {
        assert_eq!([0.4, 65.0, 3723.0].map(clock), ["0:00", "1:05", "1:02:03"]);
        assert_eq!(
            [0.0, 40.0, 720.0, 3600.0, 7500.0].map(duration_words),
            ["0 min", "40 s", "12 min", "1 h", "2 h 5 min"]
        );
        assert_eq!(moment(63.44), "1:03.4");
    }

    #[test]
    fn anything_can_stand_in_an_address() {
        assert_eq!(encode("A# minor&x=1/ü"), "A%23%20minor%26x%3D1%2F%C3%BC");
    }
}
