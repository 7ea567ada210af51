//! The offline coach: advice without a model, from the same window, by rules and varied phrases.
//!
//! It names the strongest and the weakest metric, the one cause that explains the weakest best, and a fix that
//! fits this cause. The phrases stand in `assets/coach/en.toml`; which of them is next is decided by a seed and
//! by what was said before, so that no sentence comes twice within ten windows. Pure: no clock, no I/O.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Deserialize;

pub use super::cause::{Cause, cause};
use super::words::count;
use crate::practice::types::{Facts, Metric, Scores, Summary, Window};
use crate::prompt::facts::{cents, signed_cents, times};

/// Most words of one piece of advice.
pub const MAX_WORDS: usize = 30;
/// Most words of a summary.
pub const MAX_SUMMARY_WORDS: usize = 60;
/// No sentence comes twice within so many pieces of advice.
const MEMORY: usize = 10;

/// From here a score needs no mending.
const EXCELLENT: f64 = 90.0;
/// From here a score deserves plain praise; below, it is only the best of the lot.
const GOOD: f64 = 70.0;
/// A change of a score that is worth a word, points.
const TREND: f64 = 4.0;
/// A guitar further out of tune than this is told so, cents: a choice; it matters to whoever plays along with others.
const TUNING_CENTS: f64 = 10.0;
/// A slower tempo to practise at, and a faster one as a challenge, as factors.
const SLOWER: f64 = 0.85;
/// See [`SLOWER`].
const FASTER: f64 = 1.06;

/// Words by which the phrases name a metric.
#[must_use]
pub fn names(metric: Metric) -> &'static [&'static str] {
    match metric {
        Metric::PitchAccuracy => &["pitch", "intonation"],
        Metric::ScaleConformity => &["note choice", "scale accuracy"],
        Metric::TimingStability => &["timing"],
        Metric::NoiseControl => &["noise control"],
    }
}

/// What the offline coach says.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// One or two sentences (a summary: up to four).
    pub text: String,
    /// The cause it speaks of.
    pub cause: Cause,
}

/// What is known beside the window.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Name of the scale.
    pub scale_name: Option<String>,
    /// Its pitch classes, spelled.
    pub scale_notes: Vec<String>,
    /// Tempo that was set, bpm.
    pub bpm: Option<f64>,
    /// Scores of the window before.
    pub previous: Option<Scores>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Phrases {
    joins: Vec<String>,
    openers: Vec<String>,
    nouns: BTreeMap<String, Vec<String>>,
    praise: BTreeMap<String, Praise>,
    cause: BTreeMap<String, Phrase>,
    excellent: Excellent,
    summary: Course,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Praise {
    excellent: Vec<String>,
    good: Vec<String>,
    fair: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Phrase {
    says: Vec<String>,
    fix: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Excellent {
    all: Vec<String>,
    single: Vec<String>,
    fix: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Course {
    opening: Vec<String>,
    up: Vec<String>,
    down: Vec<String>,
    level: Vec<String>,
    openers: Vec<String>,
}

/// The coach and its memory of what it has said.
pub struct Offline {
    phrases: Phrases,
    random: u64,
    /// Sentences of the last pieces of advice.
    said: VecDeque<Vec<String>>,
    /// For each set of phrases, which were used last, newest first.
    used: HashMap<String, Vec<usize>>,
    /// Pieces of advice since the tuning was spoken of.
    since_tuning: Option<usize>,
}

type Values = HashMap<&'static str, String>;

impl Offline {
    /// A coach that will always say the same to the same windows for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let phrases = toml::from_str(include_str!("../../assets/coach/en.toml"))
            .expect("the shipped phrases are parsed by a test");
        Self { phrases, random: seed, said: VecDeque::new(), used: HashMap::new(), since_tuning: None }
    }

    /// Advice on a window; `None` when nothing was measured in it.
    pub fn advise(&mut self, window: &Window, around: &Around) -> Option<Said> {
        let weakest = window.weakest?;
        let weak_score = window.scores.get(weakest)?;
        let strongest =
            window.strongest.filter(|s| *s != weakest).and_then(|s| Some((s, window.scores.get(s)?)));
        let mut values = values(&window.facts, around);
        self.since_tuning = self.since_tuning.map(|n| n + 1);
        let cause = if self.tuning_due(&window.scores, &window.facts) {
            self.since_tuning = Some(0);
            Cause::Tuning
        } else if weak_score >= EXCELLENT {
            Cause::Excellent
        } else {
            cause(weakest, &window.facts)
        };
        values_of_cause(&mut values, weakest, cause, &window.facts, around);

        // Enough tries that every pair of phrases can come up; in practice the first few serve.
        let mut best: Option<(Vec<String>, usize)> = None;
        for _ in 0..400 {
            let first = if cause == Cause::Excellent {
                self.praise_all(strongest, (weakest, weak_score), &mut values)
            } else {
                self.diagnosis(strongest, (weakest, weak_score), cause, around, &mut values)
            };
            let fix = self.fix(cause, &values);
            let sentences = vec![first, fix];
            let text = sentences.join(" ");
            let repeated = sentences.iter().filter(|s| self.recently(s)).count();
            let over = count(&text).saturating_sub(MAX_WORDS);
            let cost = repeated + over * 100;
            if best.as_ref().is_none_or(|(_, c)| cost < *c) {
                best = Some((sentences, cost));
            }
            if cost == 0 {
                break;
            }
        }
        let (sentences, _) = best?;
        let text = sentences.join(" ");
        self.remember(sentences);
        Some(Said { text, cause })
    }

    /// The summary of a session; `None` when nothing was measured.
    pub fn summarise(&mut self, summary: &Summary, around: &Around) -> Option<Said> {
        let weakest = summary.weakest?;
        let weak_score = summary.scores.get(weakest)?;
        let strongest =
            summary.strongest.filter(|s| *s != weakest).and_then(|s| Some((s, summary.scores.get(s)?)));
        let mut values = values(&summary.facts, around);
        let cause = if weak_score >= EXCELLENT { Cause::Excellent } else { cause(weakest, &summary.facts) };
        values_of_cause(&mut values, weakest, cause, &summary.facts, around);
        values.insert("length", length(summary.duration));
        values.insert("count", summary.facts.note_count.to_string());
        if let Some(overall) = summary.scores.overall {
            values.insert("overall", whole(overall));
        }
        let mut sentences = Vec::new();
        if let Some(opening) = self.pick("summary.opening", |p| &p.summary.opening, &values) {
            sentences.push(sentence(&opening));
        }
        sentences.push(if cause == Cause::Excellent {
            self.praise_all(strongest, (weakest, weak_score), &mut values)
        } else {
            self.diagnosis(strongest, (weakest, weak_score), cause, around, &mut values)
        });
        sentences.extend(self.course(&summary.overall_by_window, &mut values));
        let opener = self.pick("summary.openers", |p| &p.summary.openers, &values).unwrap_or_default();
        // When nothing else is to be mended, the tuning is.
        let tuning = summary.facts.tuning_offset_cents.filter(|o| o.abs() >= TUNING_CENTS);
        let cause = match tuning {
            Some(o) if cause == Cause::Excellent && summary.scores.pitch_accuracy.is_some() => {
                values.insert("o", cents(o));
                Cause::Tuning
            }
            _ => cause,
        };
        let fix = self.pick(&format!("{}.fix", cause.name()), |p| fixes(p, cause), &values);
        let fix = fix.unwrap_or_else(|| "play slowly and listen closely".into());
        sentences.push(sentence(&format!("{opener}{fix}")));
        // By their lengths the phrases fit; the course is what can best be done without.
        if count(&sentences.join(" ")) > MAX_SUMMARY_WORDS && sentences.len() > 3 {
            sentences.remove(2);
        }
        Some(Said { text: sentences.join(" "), cause })
    }

    /// The tuning is spoken of once, and again after ten pieces of advice: it is taken out of the scores, so
    /// that it is never the cause of a bad one, but whoever plays along with others wants to know.
    fn tuning_due(&self, scores: &Scores, facts: &Facts) -> bool {
        scores.pitch_accuracy.is_some()
            && facts.tuning_offset_cents.is_some_and(|o| o.abs() >= TUNING_CENTS)
            && self.since_tuning.is_none_or(|n| n > MEMORY)
    }

    fn praise_all(
        &mut self,
        strongest: Option<(Metric, f64)>,
        (weakest, weak_score): (Metric, f64),
        values: &mut Values,
    ) -> String {
        let weak = self.noun(weakest, values);
        values.insert("weak", weak);
        values.insert("w", whole(weak_score));
        let said = match strongest {
            Some((metric, s)) => {
                let strong = self.noun(metric, values);
                values.insert("strong", strong);
                values.insert("s", whole(s));
                self.pick("excellent.all", |p| &p.excellent.all, values)
            }
            None => self.pick("excellent.single", |p| &p.excellent.single, values),
        };
        sentence(&said.unwrap_or_default())
    }

    fn diagnosis(
        &mut self,
        strongest: Option<(Metric, f64)>,
        (weakest, weak_score): (Metric, f64),
        cause: Cause,
        around: &Around,
        values: &mut Values,
    ) -> String {
        let mut out = String::new();
        if let Some((metric, s)) = strongest {
            values.insert("s", whole(s));
            let tier = if s >= EXCELLENT {
                "excellent"
            } else if s >= GOOD {
                "good"
            } else {
                "fair"
            };
            let key = format!("praise.{}.{tier}", key(metric));
            let praise = self.pick(
                &key,
                |p| match tier {
                    "excellent" => &p.praise[self::key(metric)].excellent,
                    "good" => &p.praise[self::key(metric)].good,
                    _ => &p.praise[self::key(metric)].fair,
                },
                values,
            );
            out.push_str(&praise.unwrap_or_default());
            out.push_str(&self.pick("joins", |p| &p.joins, values).unwrap_or_else(|| ", but ".into()));
        }
        let noun = self.noun(weakest, values);
        let s = whole(weak_score);
        let before = around.previous.as_ref().and_then(|p| p.get(weakest));
        let subject = match before.map(|b| weak_score - b) {
            Some(d) if d >= TREND => format!("{noun}, up {} to {s},", whole(d)),
            Some(d) if d <= -TREND => format!("{noun}, down {} to {s},", whole(-d)),
            _ => format!("{noun} at {s}"),
        };
        let says = self.pick(&format!("{}.says", cause.name()), |p| &p.cause[cause.name()].says, values);
        out.push_str(&format!("{subject} {}", says.unwrap_or_else(|| "is the one to work on".into())));
        sentence(&out)
    }

    fn fix(&mut self, cause: Cause, values: &Values) -> String {
        let fix = self.pick(&format!("{}.fix", cause.name()), |p| fixes(p, cause), values);
        let fix = fix.unwrap_or_else(|| "play slowly and listen closely".into());
        // The fix for the tuning brings its own opener.
        let opener = if cause == Cause::Tuning {
            String::new()
        } else {
            self.pick("openers", |p| &p.openers, values).unwrap_or_default()
        };
        sentence(&format!("{opener}{fix}"))
    }

    fn course(&mut self, windows: &[Option<f64>], values: &mut Values) -> Option<String> {
        let scores: Vec<f64> = windows.iter().flatten().copied().collect();
        let third = scores.len() / 3;
        if third == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a few hundred windows")]
        let mean = |s: &[f64]| s.iter().sum::<f64>() / s.len() as f64;
        let (first, last) = (mean(&scores[..third]), mean(&scores[scores.len() - third..]));
        values.insert("first", whole(first));
        values.insert("last", whole(last));
        let said = match last - first {
            d if d >= TREND => self.pick("summary.up", |p| &p.summary.up, values),
            d if d <= -TREND => self.pick("summary.down", |p| &p.summary.down, values),
            _ => self.pick("summary.level", |p| &p.summary.level, values),
        };
        said.map(|s| sentence(&s))
    }

    fn noun(&mut self, metric: Metric, values: &Values) -> String {
        let key = key(metric);
        self.pick(&format!("nouns.{key}"), |p| &p.nouns[key], values)
            .unwrap_or_else(|| names(metric)[0].to_owned())
    }

    /// A phrase of this set whose values are all known, by chance among those not used lately, filled in.
    fn pick<'s>(
        &'s mut self,
        set: &str,
        of: impl Fn(&'s Phrases) -> &'s Vec<String>,
        values: &Values,
    ) -> Option<String> {
        let phrases = of(&self.phrases);
        let fitting: Vec<usize> =
            (0..phrases.len()).filter(|i| fill(&phrases[*i], values).is_some()).collect();
        let used = self.used.entry(set.to_owned()).or_default();
        // The older half of what fits: two neighbours are never alike, and nobody can tell what comes next.
        let fresh = fitting.len().div_ceil(2);
        let mut candidates: Vec<usize> = fitting.iter().copied().filter(|i| !used.contains(i)).collect();
        for old in used.iter().rev().filter(|i| fitting.contains(i)) {
            if candidates.len() >= fresh {
                break;
            }
            candidates.push(*old);
        }
        let n = u64::try_from(candidates.len()).ok().filter(|n| *n > 0)?;
        let roll = usize::try_from(next(&mut self.random) % n).unwrap_or(0);
        let chosen = candidates[roll];
        used.retain(|i| *i != chosen);
        used.insert(0, chosen);
        fill(&phrases[chosen], values)
    }

    fn recently(&self, sentence: &str) -> bool {
        self.said.iter().flatten().any(|s| s == sentence)
    }

    fn remember(&mut self, sentences: Vec<String>) {
        self.said.push_back(sentences);
        if self.said.len() > MEMORY {
            self.said.pop_front();
        }
    }
}

fn fixes(phrases: &Phrases, cause: Cause) -> &Vec<String> {
    if cause == Cause::Excellent { &phrases.excellent.fix } else { &phrases.cause[cause.name()].fix }
}

fn key(metric: Metric) -> &'static str {
    match metric {
        Metric::PitchAccuracy => "pitch",
        Metric::ScaleConformity => "scale",
        Metric::TimingStability => "timing",
        Metric::NoiseControl => "noise",
    }
}

fn values(facts: &Facts, around: &Around) -> Values {
    let mut v = Values::new();
    if let Some(scale) = &around.scale_name {
        v.insert("scale", scale.clone());
    }
    if !around.scale_notes.is_empty() {
        v.insert("notes", around.scale_notes.join(", "));
    }
    if let Some(bpm) = around.bpm.or(facts.bpm).filter(|b| *b > 0.0) {
        // Metronomes are set in steps of one; a round five is easier to say.
        let five = |x: f64| whole((x / 5.0).round() * 5.0);
        v.insert("slow", five((bpm * SLOWER).min(bpm - 5.0).max(30.0)));
        v.insert("fast", whole((bpm * FASTER).max(bpm + 2.0)));
    }
    v
}

/// Values that belong to the cause: only what is measured for this metric is ever filled in.
fn values_of_cause(v: &mut Values, metric: Metric, cause: Cause, facts: &Facts, around: &Around) {
    // The tempo is a fact of the timing; without a set tempo it is only known there.
    if around.bpm.is_none() && metric != Metric::TimingStability {
        v.remove("slow");
        v.remove("fast");
    }
    let mut put = |name: &'static str, value: Option<String>| {
        if let Some(value) = value {
            v.insert(name, value);
        }
    };
    match cause {
        Cause::PitchSharp | Cause::PitchFlat => put("c", signed_cents(facts).map(|c| whole(c.abs()))),
        Cause::NoteSharp | Cause::NoteFlat => {
            if let Some((note, c)) = &facts.worst_note {
                put("note", Some(note.clone()));
                put("c", Some(whole(c.abs())));
            }
        }
        Cause::PitchUneven => put("a", facts.mean_abs_cents.map(whole)),
        Cause::Tuning => put("o", facts.tuning_offset_cents.map(cents)),
        Cause::WrongNote | Cause::WrongNotes => {
            if let Some((note, n)) = facts.wrong_notes.first() {
                put("note", Some(note.clone()));
                put("n", Some(times(*n)));
                if let Some((low, high)) = neighbours(note, &around.scale_notes) {
                    put("low", Some(low));
                    put("high", Some(high));
                }
            }
            put("note2", facts.wrong_notes.get(1).map(|(note, _)| note.clone()));
        }
        Cause::ScaleUnknown => {
            put("p", facts.in_scale_ratio.filter(|r| *r < 0.995).map(|r| whole((1.0 - r) * 100.0)));
        }
        Cause::Rushing | Cause::Dragging | Cause::Uneven => put("ms", facts.timing_sd_ms.map(whole)),
        Cause::Speeding | Cause::Slowing => put("d", facts.drift_bpm_per_min.map(|d| whole(d.abs()))),
        Cause::Hum => put("hz", facts.mains_hz.map(|hz| hz.to_string())),
        Cause::OtherNoise => put("cause", facts.noise_cause.map(|c| c.words().to_owned())),
        _ => {}
    }
}

/// The notes of the scale next below and next above a note outside it.
fn neighbours(note: &str, scale: &[String]) -> Option<(String, String)> {
    let at = pitch_class(note)?;
    let distance = |from: u8, to: u8| (to + 12 - from) % 12;
    let classes: Vec<(u8, &String)> =
        scale.iter().filter_map(|n| Some((pitch_class(n)?, n))).filter(|(c, _)| *c != at).collect();
    let low = classes.iter().min_by_key(|(c, _)| distance(*c, at))?;
    let high = classes.iter().min_by_key(|(c, _)| distance(at, *c))?;
    (low.0 != high.0).then(|| (low.1.clone(), high.1.clone()))
}

/// 0 for C … 11 for B; reads `F#`, `Bb`, `Ebb`, `C##`, with ASCII or music signs.
fn pitch_class(note: &str) -> Option<u8> {
    let mut chars = note.trim().chars();
    let base: i32 = match chars.next()?.to_ascii_uppercase() {
        'C' => 0,
        'D' => 2,
        'E' => 4,
        'F' => 5,
        'G' => 7,
        'A' => 9,
        'B' => 11,
        _ => return None,
    };
    let shift = chars.try_fold(0, |sum, c| match c {
        '#' | '♯' => Some(sum + 1),
        'b' | '♭' => Some(sum - 1),
        _ => None,
    })?;
    u8::try_from((base + shift).rem_euclid(12)).ok()
}

/// The phrase with its values; `None` when one of them is not known.
fn fill(phrase: &str, values: &Values) -> Option<String> {
    let mut out = String::with_capacity(phrase.len() + 16);
    let mut rest = phrase;
    while let Some((text, tail)) = rest.split_once('{') {
        let (name, after) = tail.split_once('}')?;
        out.push_str(text);
        out.push_str(values.get(name)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

fn whole(x: f64) -> String {
    format!("{:.0}", x.round())
}

fn length(seconds: f64) -> String {
    let (n, unit) =
        if seconds < 90.0 { (seconds.round(), "second") } else { ((seconds / 60.0).round(), "minute") };
    format!("{n:.0} {unit}{}", if n == 1.0 { "" } else { "s" })
}

/// `SplitMix64` (Steele, Lea and Flood 2014): enough chance to vary phrases, the same everywhere.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
#[path = "offline_tests.rs"]
mod tests;
