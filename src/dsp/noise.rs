//! How much of the sound is the playing, and how much is not.
//!
//! Every hop is judged a little later than it was heard, when it is known whether an onset lies in it. While a note
//! sounds, the valleys between its partials tell the noise ([`super::residual`]); its attack, and the stretch that the
//! measuring window needs to get clear of it, count as playing with the noise known from before. A stroke that is
//! still undecided is held back and added as soon as it turns out to be a note, or none.
//!
//! What the noise comes from is looked for beside that: hum and hiss ([`super::hum`]), strings that ring on
//! ([`super::rings_on`]), squeaks and buzz ([`super::scrape`]).
use super::event::NoisePowers;
use super::filter::LowHistory;
use super::fine::FineSpectrum;
use super::hum::Room;
use super::nsdf::likeness;
use super::residual::{Residual, SIZE};
use super::rings_on::{Played, RingsOn};
use super::scrape::{Look, Scrape};
use super::tracker::{Heard, Resolution, Tracker};
use super::{ANALYSIS_RATE, DECIMATION, HOP, LOW_HOP};

/// Hops between hearing and judging (37 ms): longer than an onset takes to be found.
const DELAY: usize = 7;
/// The pick and the body speak for this long; no window that looks for noise may touch it, samples.
const ATTACK: u64 = ANALYSIS_RATE as u64 * 60 / 1000;
/// The measuring window, samples at [`ANALYSIS_RATE`] and hops.
const WINDOW: u64 = (SIZE * DECIMATION) as u64;
const WINDOW_HOPS: usize = WINDOW as usize / HOP;
/// Loudest over softest 21 ms in the window, above which it holds the end of a note, not only noise (9 dB).
const STEADY: f32 = 8.0;
/// After a note its damping is still heard; then its tail for a while, samples.
const DAMPING: u64 = ANALYSIS_RATE as u64 * 60 / 1000;
const TAIL: u64 = ANALYSIS_RATE as u64;
/// Relative change of pitch within the window, above which its lines fill the valleys (10 cents).
const GLIDE: f32 = 0.006;
/// Stretch whose likeness to the period before tells whether the note still sounds, decimated samples (11 ms), and
/// the likeness below which it was damped and what is heard is noise.
const LIKENESS_LEN: usize = 2 * LOW_HOP;
const LIKENESS: f32 = 0.5;
/// Only if its power has fallen to this share of the highest in the window, and not before this many samples after the
/// onset: an attack rattles, a bend is unlike its own past.
const FALLEN: f32 = 0.3;
const RATTLE: u64 = ANALYSIS_RATE as u64 * 120 / 1000;
/// Unvoiced hops after which a string whose stroke was not heard (gate, lost input) has ended (64 ms).
const ORPHAN_HOPS: u32 = 12;
/// Share of the newest measurement in the running noise under notes (time constant 0.2 s).
const SMOOTH: f32 = 0.025;
/// Hops from one look between the partials to the next (21 ms): a quarter of its window.
const LOOK_EVERY: u32 = 4;
/// Hops from a stroke until it is proposed, and some more (43 ms).
const UNNOTICED: usize = 8;
/// Notes that are remembered: those of a second of fast playing.
const NOTES: usize = 12;

#[derive(Clone, Copy, Default)]
struct Hop {
    end: u64,
    power: f32,
    /// Noise in the window that ends here, where it could be measured.
    residual: Option<f32>,
    /// Normalised correlation with the period before, of the note that sounds.
    likeness: f32,
    /// Power over 21 ms relative to the highest in the window.
    share: f32,
}

/// See the module.
pub(crate) struct NoiseMeter {
    residual: Residual,
    fine: FineSpectrum,
    room: Room,
    ringing: RingsOn,
    scrape: Scrape,
    /// Noise in the latest window that was looked at, if it could be measured there, and what was measured before.
    measured: Option<f32>,
    measured_before: f32,
    since_look: u32,
    notes: [Played; NOTES],
    causes: NoisePowers,
    waiting: [Hop; DELAY],
    /// Low-band mean squares and pitches of the last window, newest last.
    powers: [f32; WINDOW_HOPS + 3],
    pitches: [f32; WINDOW_HOPS],
    under_notes: f32,
    held_power: f32,
    held_noise: f32,
    /// A string may sound whose stroke was not heard: neither playing nor noise.
    orphan: bool,
    unvoiced: u32,
}

impl NoiseMeter {
    pub(crate) fn new() -> Self {
        Self {
            residual: Residual::new(),
            fine: FineSpectrum::new(),
            room: Room::new(),
            ringing: RingsOn::new(),
            scrape: Scrape::new(),
            measured: None,
            measured_before: f32::MAX,
            since_look: 0,
            notes: [Played::default(); NOTES],
            causes: NoisePowers::default(),
            waiting: [Hop::default(); DELAY],
            powers: [0.0; WINDOW_HOPS + 3],
            pitches: [0.0; WINDOW_HOPS],
            under_notes: 0.0,
            held_power: 0.0,
            held_noise: 0.0,
            orphan: false,
            unvoiced: 0,
        }
    }

    /// Forgets what was heard (input lost); keeps the noise that was learnt.
    pub(crate) fn reset(&mut self) {
        self.measured = None;
        self.fine.reset();
        self.ringing.reset();
        self.scrape.reset();
        self.notes = [Played::default(); NOTES];
        self.causes.ringing = 0.0;
        self.causes.squeaks = 0.0;
        self.causes.buzz = 0.0;
        self.waiting = [Hop::default(); DELAY];
        self.powers.fill(0.0);
        self.pitches.fill(0.0);
        self.held_power = 0.0;
        self.held_noise = 0.0;
        self.orphan = true;
        self.unvoiced = 0;
    }

    /// What the unwanted part comes from, as far as it is known.
    pub(crate) fn causes(&self) -> NoisePowers {
        self.causes
    }

    /// Takes in a hop and gives wanted and unwanted mean squares of the one that was due.
    pub(crate) fn push(
        &mut self,
        heard: &Heard<'_>,
        power: f32,
        low: &LowHistory,
        tracker: &Tracker,
        resolution: Resolution,
    ) -> (f32, f32) {
        self.powers.copy_within(1.., 0);
        self.powers[WINDOW_HOPS + 2] = heard.low_power;
        let pitch = tracker.pitch();
        self.pitches.copy_within(1.., 0);
        self.pitches[WINDOW_HOPS - 1] = pitch.map_or(0.0, |p| p.0);
        self.unvoiced = if heard.estimate.is_some() { 0 } else { self.unvoiced.saturating_add(1) };
        self.orphan &= tracker.sounding_since().is_none() && self.unvoiced < ORPHAN_HOPS;
        self.remember(heard.end, tracker);
        self.look_for_causes(heard.end, low, tracker);
        let residual = self.measured;
        let likeness = pitch.map_or(0.0, |p| likeness(low.all(), p.0, LIKENESS_LEN));
        let four = |at: usize| self.powers[at..at + 4].iter().sum::<f32>();
        let most = (0..WINDOW_HOPS).map(four).fold(f32::MIN_POSITIVE, f32::max);
        let share = four(WINDOW_HOPS - 1) / most;
        let due = self.waiting[0];
        self.waiting.copy_within(1.., 0);
        self.waiting[DELAY - 1] = Hop { end: heard.end, power, residual, likeness, share };

        let (mut wanted, mut unwanted) = (0.0, 0.0);
        match resolution {
            Resolution::Open => {}
            Resolution::Played => wanted += self.held_power,
            Resolution::Dismissed if self.orphan => {}
            Resolution::Dismissed => {
                unwanted += self.held_noise;
                wanted += self.held_power - self.held_noise;
            }
        }
        if resolution != Resolution::Open {
            self.held_power = 0.0;
            self.held_noise = 0.0;
        }
        let pending = tracker.pending_since().is_some_and(|at| due.end > at);
        if due.end == 0 || (self.orphan && !pending) {
            return (wanted, unwanted);
        }
        let mut due = due;
        // An onset that was found only after the window was measured lies in it.
        let mut known = self.notes.iter().map(|n| n.onset).chain(tracker.pending_since());
        if known.any(|onset| due.end > onset && due.end - onset < WINDOW + ATTACK) {
            due.residual = None;
        }
        let (w, u) = self.judge(&due, tracker);
        if pending {
            self.held_power += w + u;
            self.held_noise += u;
        } else {
            wanted += w;
            unwanted += u;
            // Only now is it known that no onset lay in the window.
            if let (Some(noise), Some(_)) = (due.residual, tracker.sounding_since()) {
                self.under_notes += SMOOTH * (noise - self.under_notes);
            }
        }
        (wanted, unwanted)
    }

    fn look_for_causes(&mut self, end: u64, low: &LowHistory, tracker: &Tracker) {
        self.since_look += 1;
        if self.since_look >= LOOK_EVERY {
            self.since_look = 0;
            self.residual.look(low.all());
            let valleys = self.residual.valleys(tracker.pitch().map_or(0.0, |p| p.0));
            self.measured = self.is_clear(end, tracker).then(|| {
                // The lower of two: a stroke that nobody noticed fills the valleys once.
                let now: f32 = valleys.iter().sum();
                now.min(std::mem::replace(&mut self.measured_before, now))
            });
            let (below, above) = self.residual.bands();
            let look = Look { end, low: below, high: above, middle: valleys[1], noise: valleys[2] };
            (self.causes.squeaks, self.causes.buzz) = self.scrape.push(look, &self.notes);
        }
        if let Some(power) = self.fine.push(low.all()) {
            self.room.push(power);
            self.causes.ringing = self.ringing.push(power, end, &self.notes, &self.room);
            (self.causes.hum, self.causes.mains_hz) = self.room.hum();
            let (middle, high) = self.scrape.floors();
            self.causes.hiss = self.room.hiss(middle, high);
        }
    }

    /// Keeps the list of notes up to date.
    fn remember(&mut self, end: u64, tracker: &Tracker) {
        let Some((now, ended)) = tracker.pitch() else { return };
        // The latest pitches may be those of a stroke that has not been noticed yet.
        let earlier = self.pitches[WINDOW_HOPS - UNNOTICED];
        let newest = &mut self.notes[NOTES - 1];
        match tracker.sounding_since() {
            Some(onset) if onset > newest.onset => {
                newest.end = newest.end.min(onset);
                self.notes.copy_within(1.., 0);
                self.notes[NOTES - 1] = Played { onset, end, hz: now };
            }
            Some(_) => {
                newest.end = end;
                let known = end - newest.onset.min(end) > (UNNOTICED * 3 * HOP) as u64;
                if known && earlier > 0.0 && tracker.pending_since().is_none() {
                    newest.hz = earlier;
                } else if !known {
                    newest.hz = now;
                }
            }
            None => newest.end = ended.unwrap_or(newest.end).max(newest.onset),
        }
    }

    /// Whether the window that ends here holds nothing but one steady note, or the tail of one.
    fn is_clear(&self, end: u64, tracker: &Tracker) -> bool {
        let Some((f0, ended)) = tracker.pitch() else { return false };
        let clear = match (tracker.sounding_since(), ended) {
            (Some(onset), _) => end.saturating_sub(onset) >= WINDOW + ATTACK,
            (None, Some(at)) => (WINDOW + DAMPING..TAIL).contains(&end.saturating_sub(at)),
            (None, None) => false,
        };
        if !clear {
            return false;
        }
        // Four hops together, so that the beat of a low string averages out.
        let (mut least, mut most) = (f32::MAX, 0.0f32);
        for four in self.powers.windows(4) {
            let sum = four.iter().sum::<f32>();
            least = least.min(sum);
            most = most.max(sum);
        }
        most <= STEADY * least && !self.pitches.iter().any(|&p| p > 0.0 && (p - f0).abs() > GLIDE * f0)
    }

    fn judge(&self, hop: &Hop, tracker: &Tracker) -> (f32, f32) {
        let under_note = match (tracker.sounding_since(), tracker.pitch()) {
            (Some(onset), _) if hop.end > onset => true,
            // The one before: it sounded until the onset that has just been accepted.
            (_, Some((_, Some(at)))) if hop.end <= at => true,
            (Some(_), _) => true,
            _ => false,
        };
        if under_note {
            let rattles = tracker.sounding_since().is_some_and(|at| hop.end > at && hop.end - at < RATTLE);
            let noise = if hop.likeness < LIKENESS && hop.share < FALLEN && !rattles {
                hop.power * (1.0 - hop.likeness.max(0.0))
            } else {
                hop.residual.unwrap_or(self.under_notes)
            };
            // What stands in lines is not seen between the partials.
            let noise = (noise + self.causes.hum + self.causes.ringing).min(hop.power);
            return (hop.power - noise, noise);
        }
        let since = tracker.pitch().and_then(|p| p.1).map_or(u64::MAX, |at| hop.end.saturating_sub(at));
        let noise = if since < DAMPING + WINDOW {
            self.under_notes.min(hop.power)
        } else {
            hop.residual.unwrap_or(hop.power).min(hop.power)
        };
        (0.0, noise)
    }
}
