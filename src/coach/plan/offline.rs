//! The offline planner: a plan without a model, by rules. Pure: the same history gives the same plan.
//!
//! 1. **What.** Without any session that counts: a first plan. Else the metric with the lowest mean over the last
//!    [five sessions](super::history::SESSIONS); its techniques take turns with the metric itself from [`Level::Developing`] on. A wish
//!    that names a focus goes before.
//! 2. **How fast.** As [`History::pace`] says: from the fastest tempo that was held.
//! 3. **How strict.** By [`History::level`]. Sensitivity stays what the player has.
//! 4. **Which scale.** That of the wish; for scale conformity the one with the lowest score; else the one in the settings,
//!    else the one of the newest session; unless the last two plans had it: then the next of the level's scales.
//! 5. **How long.** As the wish or the settings say, else as the player usually plays, 10 to 30 minutes.
//! 6. **Which steps.** A warm-up, two exercises of the focus, a closing; a speed trainer where the exercise is one.
//! 7. **No repeats.** The first combination of scale, focus and exercises that is none of the last [ten plans](RECENT).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use super::history::{EXCELLENT, History, Level, Pace, RECENT};
use super::wish::Wish;
use crate::music::note::NoteName;
use crate::music::scale::{Scale, ScaleKind};
use crate::practice::plan::{Exercise, Focus, MIN_SESSIONS, MINUTES, Plan, PlanKind, SpeedTrainer, TEMPO};
use crate::practice::types::Metric;
use crate::prompt::facts::told;

/// Share of the time for the warm-up and for the closing.
const WARM_UP: f64 = 0.15;
/// See [`WARM_UP`].
const CLOSING: f64 = 0.2;
/// A speed trainer begins at this share of the plan's tempo…
const TRAINER_FROM: f64 = 0.8;
/// …and ends at this share.
const TRAINER_TO: f64 = 1.1;
/// One step of it, beats per minute: just felt.
const TRAINER_STEP: f64 = 4.0;
/// The one of the first plan looks for the tempo at which the playing falls apart.
const FIRST_TRAINER: (f64, f64, f64) = (60.0, 100.0, 5.0);
/// Tempos that leave the speed trainer room on both sides, beats per minute.
const WISHED_TEMPO: (f64, f64) = (38.0, 270.0);
/// Facts of the last session that a plan's reasons name.
const FACTS: usize = 3;
/// Minutes of a first plan: enough to measure, short enough for a first time.
const FIRST_MINUTES: u32 = 10;
/// Beats of a bar, where nothing else is said.
const BEATS: f64 = 4.0;
/// The plans before that had the same scale: after so many it is time for another.
const SAME_SCALE: usize = 2;
/// Chords are worth a plan where at least this share of the strokes were chords.
const CHORDS_SHARE: f64 = 0.3;

/// From here on a metric is good, and work on it is building rather than mending.
const GOOD: f64 = 70.0;

/// What the player has set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    /// Scale in the settings.
    pub scale: Option<Scale>,
    /// Minutes in the settings; 0: none.
    pub minutes: f64,
    /// Sensitivity in the settings.
    pub sensitivity: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    warm_up: Vec<Step>,
    closing: Vec<Step>,
    first: Steps,
    focus: BTreeMap<Focus, Vec<Step>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    #[expect(dead_code, reason = "for whoever reads the file")]
    title: String,
    exercise: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    title: String,
    how: String,
    #[serde(default)]
    pace: f64,
    #[serde(default)]
    trainer: bool,
}

fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(|| {
        toml::from_str(include_str!("../../../assets/coach/plans.toml")).expect("parsed by a test")
    })
}

/// A plan by rules. It passes [`Plan::check`].
#[must_use]
pub fn plan(history: &History, wish: Option<&Wish>, set: &Set) -> Plan {
    let nothing = Wish::default();
    let wish = wish.unwrap_or(&nothing);
    let level = history.level();
    let weakest = history.weakest();
    let foci = foci(history, wish, level);
    let scales = scales(history, wish, set, level);
    // Exercises take turns.
    let turn = usize::try_from(history.planned).unwrap_or(0);
    let first = weakest.is_none() && wish.focus.is_none();
    for round in 0..ROUNDS {
        for scale in &scales {
            for &focus in &foci {
                let mains: &[Step] =
                    if first { &catalogue().first.exercise } else { &catalogue().focus[&focus] };
                for pair in pairs(mains.len(), turn) {
                    let draft = Draft { history, wish, set, level, focus, scale, first };
                    let plan = draft.write(&mains[pair.0], &mains[pair.1], round);
                    if !history.plans.iter().any(|p| p.plan.repeats(&plan)) {
                        return plan;
                    }
                }
            }
        }
    }
    // Not reached: a focus and a scale alone give more combinations than RECENT (see the test).
    let focus = weakest.map_or(Focus::ScaleConformity, Focus::of);
    let mains = &catalogue().focus[&focus];
    Draft { history, wish, set, level, focus, scale: &scales[0], first }.write(&mains[0], &mains[1], 0)
}

/// Combinations of warm-up and closing that are tried.
const ROUNDS: usize = 12;
const _: () = assert!(ROUNDS > RECENT);

/// All pairs of `n`, each in order, beginning with another one at every turn.
fn pairs(n: usize, turn: usize) -> Vec<(usize, usize)> {
    let mut all: Vec<(usize, usize)> = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).collect();
    let by = turn % all.len().max(1);
    all.rotate_left(by);
    all
}

/// What may be worked on, in order of preference.
fn foci(history: &History, wish: &Wish, level: Level) -> Vec<Focus> {
    if let Some(focus) = wish.focus {
        return vec![focus];
    }
    let Some(metric) = history.weakest() else { return vec![Focus::ScaleConformity] };
    let (chords, strokes) = history
        .sessions
        .iter()
        .fold((0, 0), |(c, n), s| (c + s.summary.facts.chord_count, n + s.summary.facts.strokes()));
    #[expect(clippy::cast_precision_loss, reason = "counts of notes")]
    let strums = chords as f64 >= CHORDS_SHARE * strokes as f64;
    let mut foci: Vec<Focus> = Focus::ALL
        .into_iter()
        .filter(|f| f.metric() == metric)
        .filter(|f| *f == Focus::of(metric) || level > Level::Starting)
        .filter(|f| *f != Focus::Chords || strums)
        .collect();
    // The one that was practised longest ago comes first.
    let last = |f: &Focus| history.practised_plans().position(|p| p.plan.focus == *f).unwrap_or(usize::MAX);
    foci.sort_by_key(|f| std::cmp::Reverse(last(f)));
    foci
}

/// What may be played, in order of preference; at least one.
fn scales(history: &History, wish: &Wish, set: &Set, level: Level) -> Vec<Scale> {
    if let Some(scale) = wish.scale {
        return vec![scale];
    }
    let read = |name: &Option<String>| name.as_deref().and_then(|n| Scale::parse(n).ok());
    let newest = history.sessions.iter().find_map(|s| read(&s.scale));
    let shaky = history
        .sessions
        .iter()
        .filter_map(|s| Some((read(&s.scale)?, s.summary.scores.scale_conformity?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|_| history.weakest() == Some(Metric::ScaleConformity))
        .map(|s| s.0);
    let mut scales: Vec<Scale> = shaky.into_iter().chain(set.scale).chain(newest).collect();
    let a = NoteName::new(5, 0);
    let root = scales.first().map_or(a, Scale::root);
    if wish.kind.is_some() {
        scales.clear();
    }
    // Roots that lie well on the guitar: those of its open strings and the common keys beside them.
    let others =
        [(5, 0), (2, 0), (4, 0), (1, 0), (0, 0), (6, 0)].map(|(letter, sign)| NoteName::new(letter, sign));
    for kind in wish.kind.as_ref().map_or(kinds(level), std::slice::from_ref) {
        scales.extend(std::iter::once(root).chain(others).map(|root| Scale::new(root, *kind)));
    }
    let mut seen = Vec::new();
    scales.retain(|s| {
        !seen.contains(&s.name()) && {
            seen.push(s.name());
            true
        }
    });
    let lately: Vec<&str> =
        history.practised_plans().take(SAME_SCALE).map(|p| p.plan.scale.as_str()).collect();
    let tired = |s: &Scale| lately.len() == SAME_SCALE && lately.iter().all(|l| *l == s.name());
    scales.sort_by_key(tired);
    scales
}

/// Kinds of scale of a level, the usual order in which they are learnt.
fn kinds(level: Level) -> &'static [ScaleKind] {
    use ScaleKind::{
        Blues, Dorian, HarmonicMinor, Lydian, Major, MajorPentatonic, MelodicMinor, Minor, MinorPentatonic,
        Mixolydian, PhrygianDominant,
    };
    match level {
        Level::Starting => &[MinorPentatonic, MajorPentatonic],
        Level::Developing => &[MinorPentatonic, Blues, Major, Minor],
        Level::Steady => &[Major, Minor, Dorian, Mixolydian, HarmonicMinor],
        Level::Advanced => &[Dorian, Mixolydian, HarmonicMinor, MelodicMinor, Lydian, PhrygianDominant],
    }
}

/// One combination on its way to a plan.
struct Draft<'a> {
    history: &'a History,
    wish: &'a Wish,
    set: &'a Set,
    level: Level,
    focus: Focus,
    scale: &'a Scale,
    first: bool,
}

impl Draft<'_> {
    fn write(&self, one: &Step, other: &Step, round: usize) -> Plan {
        let pace = self.history.pace(Some(self.focus.metric()));
        let slower = self.wish.pace.unwrap_or(1.0);
        let tempo =
            self.wish.tempo.unwrap_or((pace.tempo * slower).round()).clamp(WISHED_TEMPO.0, WISHED_TEMPO.1);
        let turn = usize::try_from(self.history.planned).unwrap_or(0) + round;
        let (warm_ups, closings) = (&catalogue().warm_up, &catalogue().closing);
        // The closing moves on when all warm-ups have been through, so that every pair of them comes.
        let warm_up = &warm_ups[turn % warm_ups.len()];
        let closing = &closings[(turn / warm_ups.len() + turn) % closings.len()];
        let minutes = self.minutes();
        let exercises = [warm_up, one, other, closing]
            .into_iter()
            .zip(split(minutes))
            .map(|(step, minutes)| self.exercise(step, minutes, tempo))
            .collect();
        let plan = Plan {
            scale: self.scale.name(),
            kind: self.kind(),
            focus: self.focus,
            tempo,
            strictness: self.level.strictness(),
            sensitivity: self.history.sensitivity().unwrap_or(self.set.sensitivity),
            minutes,
            exercises,
            reasoning: self.reasoning(&pace, tempo),
            wish: None,
            note: None,
        };
        debug_assert!(plan.clone().check().is_ok(), "{:?}", plan.clone().check());
        plan
    }

    fn kind(&self) -> PlanKind {
        let known = |p: &crate::store::Practised| p.scale.as_deref() == Some(self.scale.name().as_str());
        match self.history.kind() {
            PlanKind::First if self.first => PlanKind::First,
            PlanKind::First => PlanKind::Explore,
            _ if !self.history.practised.iter().any(known) => PlanKind::Explore,
            kind => match self.wish.focus.map(|f| self.history.means().get(f.metric())) {
                Some(Some(score)) if score >= GOOD => PlanKind::Build,
                Some(Some(_)) => PlanKind::Mend,
                Some(None) => PlanKind::Explore,
                None => kind,
            },
        }
    }

    fn minutes(&self) -> u32 {
        let set = (self.set.minutes >= 1.0).then_some(self.set.minutes.round() as u32);
        let usual = if self.history.is_empty() { FIRST_MINUTES } else { self.history.minutes() };
        self.wish.minutes.or(set).unwrap_or(usual).clamp(*MINUTES.start(), *MINUTES.end())
    }

    fn exercise(&self, step: &Step, minutes: u32, tempo: f64) -> Exercise {
        let trainer = step.trainer.then(|| {
            let (start, end, pace) = if self.first {
                FIRST_TRAINER
            } else {
                ((tempo * TRAINER_FROM).round(), (tempo * TRAINER_TO).round(), TRAINER_STEP)
            };
            trainer(start.max(*TEMPO.start()), end, pace, minutes)
        });
        let own = (tempo * step.pace).round().clamp(*TEMPO.start(), *TEMPO.end());
        let paced = (step.pace > 0.0 && !step.trainer).then_some(own);
        let fill = |text: &str| {
            text.replace("{scale}", &self.scale.name())
                .replace("{notes}", &self.scale.pitch_classes().join(" "))
                .replace("{root}", &self.scale.root().to_string())
        };
        Exercise {
            title: fill(&step.title),
            how: fill(&step.how),
            minutes,
            tempo: paced,
            speed_trainer: trainer,
        }
    }

    fn reasoning(&self, pace: &Pace, tempo: f64) -> String {
        let means = self.history.means();
        let n = self.history.sessions.len();
        let over =
            if n == 1 { "in your last session".to_owned() } else { format!("over your last {n} sessions") };
        let mut said = Vec::new();
        match (self.history.weakest(), self.wish.focus) {
            _ if self.first => said.push(
                "Nothing of your playing is known yet, so this is about finding out: a scale that lies well under \
                 the hand, a calm tempo, and a run that gets faster until it stops being even. The next plan is made \
                 from what is heard here."
                    .to_owned(),
            ),
            (_, Some(focus)) => said.push(format!("You asked for {focus}; {} is what shows it.", focus.metric())),
            (Some(weakest), None) => {
                let score = means.get(weakest).unwrap_or(0.0);
                let rest: Vec<String> = Metric::ALL
                    .into_iter()
                    .filter(|m| *m != weakest)
                    .filter_map(|m| Some(format!("{} {:.0}", m.label().split(' ').next()?, means.get(m)?)))
                    .collect();
                let rest = if rest.is_empty() { String::new() } else { format!(" ({})", rest.join(", ")) };
                said.push(if score >= EXCELLENT {
                    format!(
                        "Everything is excellent {over}; even your weakest, {weakest}, is at {score:.0}{rest}. So \
                         today is a little faster."
                    )
                } else {
                    let most = if score < GOOD { "is what holds you back most:" } else { "has most room left:" };
                    format!("Your {weakest} {most} {score:.0} of 100 {over}{rest}.")
                });
                if let Some(newest) = self.history.sessions.first() {
                    let facts = told(weakest, &newest.summary.facts, true);
                    if !facts.is_empty() {
                        said.push(format!("Last time: {}.", facts[..facts.len().min(FACTS)].join("; ")));
                    }
                }
                if self.focus != Focus::of(weakest) {
                    said.push(format!("Today it is worked on through {}.", self.focus));
                }
            }
            (None, None) => {}
        }
        if self.wish.tempo.is_none() {
            match (pace.held, pace.tried) {
                (Some((bpm, sd)), _) => said.push(format!(
                    "{bpm:.0} bpm is the fastest you held evenly (a spread of {sd:.0} ms), so you work at {tempo:.0}{}.",
                    if tempo < bpm { ", where there is time to listen" } else { "" }
                )),
                (None, Some(bpm)) => said.push(format!(
                    "No tempo was quite even yet, {bpm:.0} bpm was the slowest; you work at {tempo:.0}, where it can be."
                )),
                _ => {}
            }
        }
        if n > 0 && n < MIN_SESSIONS {
            said.push("That stands on little playing yet; it gets surer with every session.".into());
        }
        said.join(" ")
    }
}

/// Minutes of warm-up, two exercises and closing; `minutes` in all, at least 5.
fn split(minutes: u32) -> [u32; 4] {
    let share = |s: f64| ((f64::from(minutes) * s).round() as u32).max(1);
    let (warm_up, closing) = (share(WARM_UP), share(CLOSING));
    let rest = minutes - warm_up - closing;
    [warm_up, rest.div_ceil(2), rest / 2, closing]
}

/// A speed trainer that reaches its end within `minutes`, staying at each tempo as long as that allows.
fn trainer(start: f64, end: f64, step: f64, minutes: u32) -> SpeedTrainer {
    let steps = ((end - start) / step).ceil() + 1.0;
    // At its mean tempo; rounded down, so that the end is reached.
    let bars = f64::from(minutes) * (start + end) / 2.0 / BEATS;
    SpeedTrainer { start, end, step, every_bars: ((bars / steps).floor() as u32).clamp(1, 16) }
}
