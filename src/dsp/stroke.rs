//! One stroke, from its announcement until it is known what it was.
//!
//! It waits for a pitch: that of the whole sound, or, over strings that ring on, that of what is left without them
//! ([`super::ringing`]). A pitch alone is no proof, for the old string has one too: something new must have come, and as
//! much more of it as fewer bands rose with it. Squeaks and knocks are new and rise, but nothing that is left of them
//! has a pitch.
use super::pitch::Estimate;
use super::ringing::Rest;
use super::{ANALYSIS_RATE, db};

const MS: u64 = ANALYSIS_RATE as u64 / 1000;
/// Consecutive estimates within this of each other settle a pitch.
const AGREE_HOPS: usize = 3;
const AGREE_CENTS: f32 = 35.0;
/// One fewer will do when the latest is at least this clear.
const CLEAR: f32 = 0.9;
/// Without a pitch by then, the onset was a dead stroke or noise.
const PENDING_LIMIT: u64 = 180 * MS;
/// A stroke that has lost this much by the time its pitch is clear was a muted string, dB.
const MUTED_DB: f32 = -20.0;
/// A pitch within this of the sounding one is the same note (a bend may be under way).
const SAME_CENTS: f32 = 60.0;
/// Share of the energy since the stroke that the old strings must not account for, and the lower one that will do when
/// the bands rose by so much. Measured at 20 and 50 dB: strokes 0.13 to 1, 98 % of them above 0.27; what looked like a
/// stroke and was none 0 to 0.26, with a rise 0 to 0.1.
const NEW: f32 = 0.3;
const NEW_RISEN: f32 = 0.15;
const RISEN: f32 = 1.0;
/// A string whose pitch moves does not foretell itself, so that all of it seems new: further from its pitch than this, a
/// stroke of the same note must have risen by so much, or have brought so much energy, dB.
const STEADY_CENTS: f32 = 25.0;
const MOVED_RISE: f32 = 2.0;
const MOVED_DB: f32 = 2.0;
/// Where nothing could be foretold, because the stroke before was too near, the same note again brings so much energy, dB,
/// or is a clear stroke across the bands without losing energy.
const REPEAT_DB: f32 = 2.0;
const REPEAT_RISE: f32 = 10.0;
const REPEAT_KEEP_DB: f32 = -1.0;
/// A string that is being damped does not do as foretold either: what has its pitch while hardly a band rose and the energy
/// goes, at the stroke and further since, by more than this, dB, is no stroke. Where a click falls on damped strings it
/// goes by 3 to 12 and by 13 to 20 dB; a string that is struck softly over its own loud note is lower, but stays.
const DAMPED_DB: f32 = -2.0;
const DAMPING_DB: f32 = -10.0;
/// Less than this share of old strings is none: the pitch of the whole will do.
const GONE: f32 = 0.05;
/// What is left has the pitch of the whole if it is at least so much like itself one period before.
const LIKENESS: f32 = 0.5;

/// Consecutive estimates that agree.
#[derive(Clone, Copy, Default)]
struct Agreement {
    /// Absolute cents, newest last.
    pitches: [f32; AGREE_HOPS],
    count: usize,
    settled: bool,
    clarity: f32,
}

impl Agreement {
    fn add(&mut self, pitch: f32, estimate: Option<&Estimate>) {
        let Some(e) = estimate else {
            *self = Self::default();
            return;
        };
        if self.pitches[..self.count].iter().any(|q| (q - pitch).abs() >= AGREE_CENTS) {
            self.count = 0;
        }
        if self.count == AGREE_HOPS {
            self.pitches.copy_within(1.., 0);
            self.count -= 1;
        }
        self.pitches[self.count] = pitch;
        self.count += 1;
        self.settled = e.settled;
        self.clarity = e.clarity;
    }

    fn pitch(&self) -> f32 {
        self.pitches[self.count.saturating_sub(1).min(AGREE_HOPS - 1)]
    }

    fn holds(&self, least: usize) -> bool {
        self.settled && self.count >= least
    }
}

/// What a stroke turned out to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Decision {
    /// Not known yet.
    Wait,
    /// A new note.
    Note(Heard),
    /// None: the string that sounded before rings on.
    RingsOn,
    /// No pitch has come: a dead string, a noise. Whether anything had a pitch since.
    Nothing {
        /// No hop since the stroke was voiced.
        silent: bool,
    },
}

/// The pitch of a stroke.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Heard {
    /// Absolute cents, of the hops that agreed: oldest first.
    pub(crate) pitches: [f32; AGREE_HOPS],
    /// How many they are.
    pub(crate) count: usize,
    /// 0..1.
    pub(crate) clarity: f32,
    /// It was told under other strings that go on sounding, so what is heard next may have another pitch.
    pub(crate) mixed: bool,
}

impl Heard {
    /// The latest.
    pub(crate) fn pitch(&self) -> f32 {
        self.pitches[self.count.saturating_sub(1).min(AGREE_HOPS - 1)]
    }
}

/// What sounded before a stroke.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Context {
    /// Pitch of the sounding note, absolute cents.
    pub(crate) sounding: Option<f32>,
    /// Energy that the stroke brought to the low band, dB.
    pub(crate) gain_db: f32,
    /// Level that a note must reach, dBFS.
    pub(crate) threshold_db: f32,
}

/// See the module.
pub(crate) struct Stroke {
    /// Sample of its start.
    pub(crate) at: u64,
    /// Sample at which it was announced.
    pub(crate) announced: u64,
    /// Sum over the bands of their rises in factors of two.
    pub(crate) rise: f32,
    /// Highest 21 ms mean square since.
    pub(crate) peak: f32,
    /// The pitch of the sounding note stood still just before.
    steady: bool,
    /// The sounding strings could be measured long enough before it to foretell them.
    foretold: bool,
    whole: Agreement,
    rest: Agreement,
    /// Latest shares of old and new, and likeness of what is left to the pitch of the whole; nothing old without.
    shares: Option<(f32, f32, f32)>,
    power: f32,
    voiced: u32,
}

impl Stroke {
    pub(crate) fn new(at: u64, announced: u64, rise: f32, steady: bool, foretold: bool) -> Self {
        Self {
            at,
            announced,
            rise,
            peak: 0.0,
            steady,
            foretold,
            whole: Agreement::default(),
            rest: Agreement::default(),
            shares: None,
            power: 0.0,
            voiced: 0,
        }
    }

    /// No old string sounds any more, so nothing is to be taken out.
    pub(crate) fn alone(&self) -> bool {
        self.shares.is_some_and(|s| s.0 < GONE)
    }

    /// One hop on: the pitch of the whole, the mean square over 21 ms, and what is left without the old strings (its
    /// pitch in absolute cents).
    pub(crate) fn hear(&mut self, whole: Option<(f32, Estimate)>, power: f32, rest: Option<(f32, Rest)>) {
        self.peak = self.peak.max(power);
        self.power = power;
        self.whole.add(whole.map_or(0.0, |w| w.0), whole.as_ref().map(|w| &w.1));
        self.voiced += u32::from(whole.is_some());
        if let Some((pitch, rest)) = rest {
            self.shares = Some((rest.old, rest.new, rest.likeness));
            self.rest.add(pitch, rest.estimate.as_ref());
        }
    }

    /// What is known by sample `end`.
    pub(crate) fn decide(&self, end: u64, context: &Context) -> Decision {
        let loud = db(self.peak) >= context.threshold_db && db(self.power) > db(self.peak) + MUTED_DB;
        if loud {
            let known = self.known(context);
            if known != Decision::Wait {
                return known;
            }
        }
        if end.saturating_sub(self.at) > PENDING_LIMIT {
            return Decision::Nothing { silent: self.voiced == 0 };
        }
        Decision::Wait
    }

    /// What the pitches heard so far tell.
    pub(crate) fn known(&self, context: &Context) -> Decision {
        let enough = if self.whole.clarity >= CLEAR { AGREE_HOPS - 1 } else { AGREE_HOPS };
        let (old, new, likeness) = self.shares.unwrap_or((0.0, 1.0, 1.0));
        if old >= GONE && self.rest.holds(AGREE_HOPS) && self.is_new(self.rest.pitch(), new, context) {
            return Decision::Note(Heard::of(&self.rest, true));
        }
        if !self.whole.holds(enough) {
            return Decision::Wait;
        }
        let pitch = self.whole.pitch();
        if !self.is_new(pitch, new, context) {
            return Decision::RingsOn;
        }
        let another = context.sounding.is_some_and(|before| {
            (pitch - before).abs() >= SAME_CENTS && octave_of(pitch - before).is_none()
        });
        if old < GONE || another || likeness >= LIKENESS {
            return Decision::Note(Heard::of(&self.whole, old >= GONE));
        }
        Decision::Wait
    }

    /// Whether a sound of this pitch, `new` to that extent, is another note than the one that sounded before.
    fn is_new(&self, pitch: f32, new: f32, context: &Context) -> bool {
        if new < if self.rise >= RISEN { NEW_RISEN } else { NEW } {
            return false;
        }
        let Some(before) = context.sounding else { return true };
        let distance = pitch - before;
        let octave = octave_of(distance);
        if distance.abs() >= SAME_CENTS && octave.is_none() {
            return true;
        }
        if !self.foretold {
            return context.gain_db >= REPEAT_DB
                || (self.rise >= REPEAT_RISE && context.gain_db >= REPEAT_KEEP_DB);
        }
        let falls = db(self.power) - db(self.peak);
        if self.rise < RISEN && context.gain_db < DAMPED_DB && falls < DAMPING_DB {
            return false;
        }
        let moved = (distance - octave.unwrap_or(0.0)).abs() > STEADY_CENTS || !self.steady;
        !moved || self.rise >= MOVED_RISE || context.gain_db >= MOVED_DB
    }
}

impl Heard {
    fn of(agreement: &Agreement, mixed: bool) -> Self {
        let Agreement { pitches, count, clarity, .. } = *agreement;
        Self { pitches, count, clarity, mixed }
    }
}

/// The whole octaves, or the twelfth, that a distance in cents comes to.
pub(crate) fn octave_of(distance: f32) -> Option<f32> {
    [1200.0, 2400.0, 1902.0]
        .into_iter()
        .find(|o| (distance.abs() - o).abs() < 50.0)
        .map(|o: f32| o.copysign(distance))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POWER: f32 = 1e-2;

    fn estimate(clarity: f32) -> Estimate {
        Estimate { f0: 220.0, clarity, confidence: clarity, window: 0.03, settled: true, inharmonicity: None }
    }

    /// What a stroke turns out to be after four hops of one pitch, with these shares of old and new.
    fn decision(rise: f32, pitch: f32, likeness: f32, shares: (f32, f32), gain_db: f32) -> Decision {
        let mut stroke = Stroke::new(0, 512, rise, true, true);
        for _ in 0..4 {
            let (old, new) = shares;
            stroke.hear(
                Some((pitch, estimate(0.85))),
                POWER,
                Some((0.0, Rest { old, new, likeness, estimate: None })),
            );
        }
        stroke.decide(4096, &Context { sounding: Some(5700.0), gain_db, threshold_db: -58.0 })
    }

    fn is_note(decision: Decision) -> bool {
        matches!(decision, Decision::Note(_))
    }

    #[test]
    fn the_share_of_what_is_new_tells_a_stroke_from_a_string_that_rings_on() {
        assert_eq!(decision(0.0, 5702.0, 0.9, (0.95, 0.05), 0.0), Decision::RingsOn);
        assert_eq!(decision(0.0, 5702.0, 0.9, (0.8, 0.2), 0.0), Decision::RingsOn);
        assert!(is_note(decision(5.0, 5702.0, 0.9, (0.8, 0.2), 0.0)));
        assert!(is_note(decision(0.0, 5702.0, 0.9, (0.4, 0.6), 0.0)));
    }

    #[test]
    fn a_squeak_over_a_ringing_string_stays_undecided() {
        assert_eq!(decision(20.0, 5702.0, 0.1, (0.5, 0.5), 6.0), Decision::Wait);
        // Another pitch is proof enough.
        assert!(is_note(decision(20.0, 5900.0, 0.1, (0.5, 0.5), 6.0)));
    }

    #[test]
    fn a_string_under_way_needs_more_than_being_unlike_its_past() {
        assert_eq!(decision(1.0, 5740.0, 0.9, (0.2, 0.8), 0.0), Decision::RingsOn);
        assert!(is_note(decision(8.0, 5740.0, 0.9, (0.2, 0.8), 0.0)));
        assert!(is_note(decision(1.0, 5740.0, 0.9, (0.2, 0.8), 5.0)));
    }

    #[test]
    fn a_damped_string_under_a_click_is_no_new_note() {
        /// A stroke after which the sound goes on `falls` dB lower than it was at its height.
        fn after(rise: f32, pitch: f32, falls: f32) -> Decision {
            let mut stroke = Stroke::new(0, 512, rise, true, true);
            for i in 0..5i16 {
                let power = POWER * 10f32.powf(falls / 10.0 * f32::from(i) / 4.0);
                let rest = Rest { old: 0.6, new: 0.4, likeness: 0.9, estimate: None };
                stroke.hear(Some((pitch, estimate(0.85))), power, Some((0.0, rest)));
            }
            stroke.decide(4096, &Context { sounding: Some(5700.0), gain_db: -5.0, threshold_db: -58.0 })
        }
        assert_eq!(after(0.0, 5702.0, -15.0), Decision::RingsOn);
        // Struck softly: lower than before, but it stays. Another pitch, or a rise across the bands, is a stroke anyway.
        assert!(is_note(after(0.0, 5702.0, -3.0)));
        assert!(is_note(after(0.0, 5900.0, -15.0)));
        assert!(is_note(after(3.0, 5702.0, -15.0)));
    }

    #[test]
    fn without_a_pitch_it_was_nothing_in_the_end() {
        let mut stroke = Stroke::new(0, 512, 20.0, true, true);
        let context = Context { sounding: None, gain_db: 30.0, threshold_db: -58.0 };
        for _ in 0..40 {
            stroke.hear(None, POWER, None);
        }
        assert_eq!(stroke.decide(4096, &context), Decision::Wait);
        assert_eq!(stroke.decide(PENDING_LIMIT + 1, &context), Decision::Nothing { silent: true });
    }
}
