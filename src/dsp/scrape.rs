//! Squeaks and buzz: noise between the upper partials that comes and goes.
//!
//! From 1.3 kHz up the valleys between the partials of a clean note are empty once its attack is over. A finger that slides
//! along a wound string fills them in the middle of a note, or in a rest; a string that rattles against a fret fills them
//! from the stroke on. Both are heard above the steady hiss, which is known. Each look is judged when it is certain
//! whether a stroke lies in it.
use super::ANALYSIS_RATE;
use super::residual::SIZE;
use super::rings_on::Played;

const MS: u64 = ANALYSIS_RATE as u64 / 1000;
/// Looks between hearing and judging (213 ms): longer than a stroke may stay undecided.
const DELAY: usize = 10;
/// A window that begins sooner after a stroke than this hears the pick.
const ATTACK: u64 = 40 * MS;
/// Until then the upper partials still die away quickly, and more is allowed.
const EARLY: u64 = 65 * MS;
/// A window that ends later than this before a stroke may hear its beginning.
const BEFORE: u64 = 2 * MS;
/// Noise in the valleys against the loudest of the last notes, from which on it is no clean note's: measured on steel and
/// nylon strings, -39 to -60 dB, and soon after the stroke -28 to -45.
const NOISY: f32 = 4e-4;
const NOISY_EARLY: f32 = 2.5e-3;
/// And against the floor of hiss: its chance.
const OVER_FLOOR: f32 = 4.0;
/// Buzz is loudest at the stroke and dies away with the string. Noise that has risen by this much since (6 dB) is a squeak.
const RISEN: f32 = 4.0;
/// What every note has is the sound of the room, or of the instrument: buzz is so much more (8 dB) than a quarter of the
/// last notes have at most, and there must have been a few.
const UNUSUAL: f32 = 6.0;
const HABIT: usize = 16;
const FEWEST_NOTES: usize = 6;
/// A stroke that was not recognised as one brings more below the border than above; a squeak does not (measured: strokes
/// 0.6 to 200 times as much, median 5; squeaks mostly nothing, 0.16 in the worst quarter).
const STROKE: f32 = 0.4;
/// Looks before a noise that it is compared with.
const LOOKS_BEFORE: usize = 4;
/// Noisy looks in a row without which nothing is said.
const FEWEST: u32 = 2;
/// Share of the loudest that is left after each look (half in 2 s).
const FADE: f32 = 0.9927;
/// Lowest level of playing that noise is measured against: -70 dBFS.
const FAINT: f32 = 1e-7;
/// Looks of which the quietest four by four make the floor (8 s), and the share of them that lies below it.
const PAST: usize = 96;
const QUIET_SHARE: f32 = 0.2;
const OF: u32 = 4;
/// The lowest of four looks at steady noise over their mean: measured.
const LOWEST: f32 = 1.35;

/// What was seen between the partials.
#[derive(Clone, Copy, Default)]
pub(crate) struct Look {
    /// End of the window.
    pub(crate) end: u64,
    /// Mean squares of all that was heard below and above the border …
    pub(crate) low: f32,
    pub(crate) high: f32,
    /// … and of the noise in the middle and above the border.
    pub(crate) middle: f32,
    pub(crate) noise: f32,
}

/// Noisy looks in a row.
#[derive(Clone, Copy, Default)]
struct Run {
    looks: u32,
    energy: f32,
    squeak: bool,
    /// Highest noise against the note.
    share: f32,
    /// Least and most of what was heard below and above the border, from just before it on.
    low: (f32, f32),
    high: (f32, f32),
}

/// Power of steady noise: what the softest looks of the last seconds have.
struct Floor {
    past: [f32; PAST],
    seen: usize,
    least: f32,
    of: u32,
    level: f32,
}

impl Floor {
    fn new() -> Self {
        Self { past: [0.0; PAST], seen: 0, least: f32::MAX, of: 0, level: 0.0 }
    }

    fn learn(&mut self, noise: f32) {
        self.least = self.least.min(noise);
        self.of += 1;
        if self.of < OF {
            return;
        }
        self.past[self.seen % PAST] = self.least;
        self.seen += 1;
        self.least = f32::MAX;
        self.of = 0;
        let mut sorted = self.past;
        let sorted = &mut sorted[..self.seen.min(PAST)];
        let rank = (QUIET_SHARE * sorted.len() as f32) as usize;
        let (_, limit, _) = sorted.select_nth_unstable_by(rank, f32::total_cmp);
        self.level = LOWEST * *limit;
    }
}

/// See the module.
pub(crate) struct Scrape {
    waiting: [Look; DELAY],
    loudest: f32,
    middle: Floor,
    high: Floor,
    /// Onset of the note that the looks belong to, and the least noise seen since.
    note: u64,
    least_of_note: f32,
    before: [(f32, f32); LOOKS_BEFORE],
    run: Run,
    /// Noise against the note in the first look at each of the last notes.
    habit: [f32; HABIT],
    noted: usize,
}

impl Scrape {
    pub(crate) fn new() -> Self {
        Self {
            waiting: [Look::default(); DELAY],
            loudest: 0.0,
            middle: Floor::new(),
            high: Floor::new(),
            note: 0,
            least_of_note: f32::MAX,
            before: [(0.0, 0.0); LOOKS_BEFORE],
            run: Run::default(),
            habit: [0.0; HABIT],
            noted: 0,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.waiting = [Look::default(); DELAY];
        self.run = Run::default();
    }

    /// Steady noise in the middle and above the border, mean squares.
    pub(crate) fn floors(&self) -> (f32, f32) {
        (self.middle.level, self.high.level)
    }

    /// Takes in a look and gives the mean squares of squeaks and of buzz that have just become certain, all looks of
    /// theirs added up. `notes`: those played last.
    pub(crate) fn push(&mut self, look: Look, notes: &[Played]) -> (f32, f32) {
        let due = self.waiting[0];
        self.waiting.copy_within(1.., 0);
        self.waiting[DELAY - 1] = look;
        self.middle.learn(look.middle);
        self.high.learn(look.noise);
        let floor = self.high.level;
        if due.end == 0 {
            return (0.0, 0.0);
        }
        let begins = due.end.saturating_sub((SIZE * super::DECIMATION) as u64);
        let stroke = notes.iter().map(|n| n.onset).filter(|o| *o < due.end + BEFORE).max().unwrap_or(0);
        let mut said = (0.0, 0.0);
        if stroke != self.note {
            said = self.end_run();
            self.note = stroke;
            self.least_of_note = f32::MAX;
            self.before = [(f32::MAX, f32::MAX); LOOKS_BEFORE];
        }
        if begins < stroke + ATTACK {
            return said;
        }
        let share = due.noise / due.low.max(FAINT);
        if self.least_of_note == f32::MAX && stroke > 0 {
            self.habit[self.noted % HABIT] = share;
            self.noted += 1;
        }
        self.loudest = due.low.max(self.loudest * FADE);
        let limit = if begins < stroke + EARLY { NOISY_EARLY } else { NOISY };
        let noisy = due.noise > limit * self.loudest.max(FAINT) && due.noise > OVER_FLOOR * floor;
        if !noisy {
            said = if self.run.looks > 0 { self.end_run() } else { said };
        } else {
            let sounds = notes.iter().any(|n| n.onset < begins && n.end + 20 * MS > due.end);
            let run = &mut self.run;
            if run.looks == 0 {
                let least = |a: (f32, f32), b: &(f32, f32)| (a.0.min(b.0), a.1.min(b.1));
                let (low, high) = self.before.iter().fold((due.low, due.high), least);
                (run.low, run.high) = ((low, low), (high, high));
            }
            run.looks += 1;
            run.energy += due.noise - floor;
            run.share = run.share.max(share);
            run.squeak |= !sounds || due.noise > RISEN * self.least_of_note;
            run.low.1 = run.low.1.max(due.low);
            run.high.1 = run.high.1.max(due.high);
        }
        self.before.copy_within(1.., 0);
        self.before[LOOKS_BEFORE - 1] = (due.low, due.high);
        self.least_of_note = self.least_of_note.min(due.noise);
        said
    }

    fn end_run(&mut self) -> (f32, f32) {
        let run = std::mem::take(&mut self.run);
        if run.looks < FEWEST || run.low.1 - run.low.0 > STROKE * (run.high.1 - run.high.0) {
            (0.0, 0.0)
        } else if run.squeak {
            (run.energy, 0.0)
        } else if run.share > UNUSUAL * self.usual() {
            (0.0, run.energy)
        } else {
            (0.0, 0.0)
        }
    }

    fn usual(&self) -> f32 {
        let mut sorted = self.habit;
        let sorted = &mut sorted[..self.noted.min(HABIT)];
        sorted.sort_unstable_by(f32::total_cmp);
        if sorted.len() < FEWEST_NOTES { f32::MAX } else { sorted[sorted.len() / 4] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples from one look to the next, and of a note.
    const STEP: u64 = 1024;
    const NOTE: u64 = 480 * MS;
    const LOW: f32 = 1e-3;

    /// Squeaks and buzz of `count` damped notes of half a second. `noise`: in the valleys, by the note and the age of the
    /// window (samples from the stroke to its begin); `rise`: what is added below the border likewise.
    fn heard(count: u64, noise: impl Fn(u64, u64) -> f32, rise: impl Fn(u64, u64) -> f32) -> (f32, f32) {
        let (mut scrape, mut sums) = (Scrape::new(), (0.0, 0.0));
        let notes: Vec<Played> =
            (0..count).map(|i| Played { onset: 1 + i * NOTE, end: (i + 1) * NOTE, hz: 110.0 }).collect();
        for k in 5..(count * NOTE) / STEP {
            let end = k * STEP;
            let begin = end - (SIZE * super::super::DECIMATION) as u64;
            let (i, age) = (begin / NOTE, begin % NOTE);
            // A window over a stroke is full of it.
            let noise = if end / NOTE > i { 1e-4 } else { noise(i, age) };
            let low = LOW * (-(age as f32) / NOTE as f32).exp() + rise(i, age);
            let known = &notes[..(end / NOTE + 1).min(count) as usize];
            let look = Look { end, low, high: 1e-5 + noise, middle: 1e-9, noise };
            let (squeaks, buzz) = scrape.push(look, known);
            sums = (sums.0 + squeaks, sums.1 + buzz);
        }
        sums
    }

    fn clean(age: u64) -> f32 {
        1e-7 * (-(age as f32) / NOTE as f32).exp()
    }

    #[test]
    fn clean_notes_and_steady_hiss_are_neither() {
        assert_eq!(heard(12, |_, age| clean(age), |_, _| 0.0), (0.0, 0.0));
        assert_eq!(heard(12, |_, age| 1e-5 + clean(age), |_, _| 0.0), (0.0, 0.0));
    }

    #[test]
    fn noise_that_rises_within_a_note_is_a_squeak() {
        let squeak = |i: u64, age: u64| if i % 2 == 1 && age > 150 * MS { 2e-5 } else { clean(age) };
        let (squeaks, buzz) = heard(12, squeak, |_, _| 0.0);
        assert!(squeaks > 5e-4 && buzz == 0.0, "{squeaks} {buzz}");
    }

    #[test]
    fn noise_that_dies_away_with_some_notes_is_buzz_and_with_all_of_them_the_room() {
        let rattle = |age: u64| 3e-5 * (-(age as f32) / (100 * MS) as f32).exp();
        let (squeaks, buzz) =
            heard(16, |i, age| if i % 2 == 1 { rattle(age) } else { clean(age) }, |_, _| 0.0);
        assert!(buzz > 1e-4 && squeaks == 0.0, "{squeaks} {buzz}");
        assert_eq!(heard(16, |_, age| rattle(age), |_, _| 0.0), (0.0, 0.0));
    }

    #[test]
    fn a_stroke_that_nobody_noticed_is_neither() {
        let late = |age: u64| (200 * MS..300 * MS).contains(&age);
        let noise = |_, age| if late(age) { 2e-5 } else { clean(age) };
        assert_eq!(heard(12, noise, |_, age| if late(age) { 1e-3 } else { 0.0 }), (0.0, 0.0));
    }
}
