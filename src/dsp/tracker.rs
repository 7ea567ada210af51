//! From onsets and pitches to notes.
//!
//! A note is an onset and a settled pitch after it. What has only one of the two is none: a dead stroke has no
//! pitch, hum has no onset. A proposed onset is announced at once and *pends* until it is known what it was
//! ([`super::stroke`]). A lasting jump of pitch under way (hammer-on, pull-off, slide) is a new note;
//! a bend or vibrato is not.
use super::event::{Attack, DspEvent, NoteEvent, NoteStart, OnsetEvent, Technique};
use super::filter::LowHistory;
use super::note::Sounding;
use super::onset::{Onset, OnsetDetector};
use super::pitch::Estimate;
use super::ringing::Ringing;
use super::stroke::{self, Context, Decision, Stroke, octave_of};
use super::{ANALYSIS_RATE, DECIMATION, HOP, cents_between, db};

const MS: u64 = ANALYSIS_RATE as u64 / 1000;
/// Estimates this near to each other agree.
const AGREE_CENTS: f32 = 35.0;
/// A softer sound of about the same pitch just before a note is the pick that touches the string: shorter than this
/// and softer by this factor.
const TOUCH: u64 = 120 * MS;
const TOUCH_POWER: f32 = 30.0;
const TOUCH_CENTS: f32 = 150.0;
/// Two onsets closer than this are one stroke: the touch of the pick and the string.
const ONE_STROKE: u64 = 30 * MS;
/// The string itself is louder than the touch by this factor.
const LOUDER: f32 = 4.0;
/// So long after a stroke that is still undecided, one that rises half as much at the most and brings less energy than
/// this is its rattle, dB.
const RATTLE: u64 = 60 * MS;
const RATTLE_DB: f32 = 3.0;
/// A pitch that moved no more than this in the last 43 ms stands still, cents.
const STILL_CENTS: f32 = 8.0;
/// The attack of a string foretells nothing, decimated samples (80 ms).
const FORETOLD: usize = 80 * MS as usize / DECIMATION;
/// Change between two hops beyond which the pitch jumped; bends move at most some 15 cents a hop.
const JUMP_CENTS: f32 = 70.0;
/// The same within 43 ms. A full bend in a quarter of a second moves 35 cents, a wide vibrato 80.
const GLIDE_CENTS: f32 = 110.0;
/// Hops that a jumped pitch must last (59 ms).
const JUMP_HOPS: u32 = 11;
/// A jump with less than this rise anywhere near it and less energy than before is an old string that rings on.
const JUMP_RISE: f32 = 1.5;
const JUMP_LOSS_DB: f32 = -6.0;
/// … and so is one that lies this much under the peak of the note before (measured: hammer-ons, pull-offs and slides at
/// most 8 dB, what hums or rings on under a note that has died away nearly always more).
const JUMP_FADED_DB: f32 = -18.0;
/// A jump with more rise near it was struck after all, and one that is wider than a hand reaches was too.
const STROKE_RISE: f32 = 4.0;
const LEGATO_CENTS: f32 = 550.0;
/// Pitches in between from which on it is a slide.
const SLID_PITCHES: u32 = 3;
/// Unvoiced hops in a row that end a note (43 ms).
const END_HOPS: u32 = 8;
/// A note lies this much under its peak at the most, dB: what still sounds then is the room.
const FADE_DB: f32 = -45.0;
/// Settled estimates without which nothing is a note.
const LEAST_HOPS: usize = 3;
/// A steady tone this near to a multiple of the mains frequency, whose level stands still, is hum.
const HUM_CENTS: f32 = 15.0;
const HUM_DB: f32 = 0.5;
/// Hops of low-band power that are kept.
const POWERS: usize = 64;

/// What one hop brought.
pub(crate) struct Heard<'a> {
    /// The newest decimated samples.
    pub(crate) low: &'a LowHistory,
    /// Sample after its last one.
    pub(crate) end: u64,
    /// The pitch, if any.
    pub(crate) estimate: Option<Estimate>,
    /// Mean square of the decimated hop.
    pub(crate) low_power: f32,
    /// Mean square over the last 21 ms, full band.
    pub(crate) power: f32,
    /// Level that a note must reach, dBFS.
    pub(crate) threshold_db: f32,
}

/// What became of a pending onset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Nothing was decided.
    Open,
    /// It was a stroke of a note.
    Played,
    /// It was none.
    Dismissed,
}

struct Jump {
    pitch: f32,
    at: u64,
    count: u32,
    /// Pitches that it passed on its way, each further in the same direction.
    passed: u32,
}

/// Turns samples of the analyser's counter into capture-clock seconds.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    /// Time of sample 0, seconds.
    pub(crate) origin: f64,
}

impl Clock {
    pub(crate) fn seconds(self, sample: u64) -> f64 {
        self.origin + sample as f64 / f64::from(ANALYSIS_RATE)
    }
}

/// See the module.
pub(crate) struct Tracker {
    ringing: Ringing,
    a4_hz: f32,
    pending: Option<Stroke>,
    /// Sample before which nothing sounded as it does now: the last stroke, lost input.
    since: u64,
    sounding: Option<Sounding>,
    jump: Option<Jump>,
    powers: [f32; POWERS],
    newest: usize,
    end: u64,
    /// Samples before this belong to an earlier note or to lost input.
    fresh_from: u64,
    ended: Option<(u64, f32)>,
    /// The gate has just opened, or input is back: what sounds may have been struck before.
    just_opened: bool,
    /// Unvoiced hops since then.
    silent_hops: u32,
}

impl Tracker {
    pub(crate) fn new(a4_hz: f32) -> Self {
        Self {
            ringing: Ringing::new(),
            a4_hz,
            pending: None,
            since: 0,
            sounding: None,
            jump: None,
            powers: [0.0; POWERS],
            newest: 0,
            end: 0,
            fresh_from: 0,
            ended: None,
            just_opened: false,
            silent_hops: 0,
        }
    }

    /// First sample that the pitch may rest on.
    pub(crate) fn fresh_from(&self) -> u64 {
        self.fresh_from
    }

    /// Onset of the sounding note.
    pub(crate) fn sounding_since(&self) -> Option<u64> {
        self.sounding.as_ref().filter(|s| !s.unheard).map(|s| s.onset)
    }

    /// Sample of the undecided onset.
    pub(crate) fn pending_since(&self) -> Option<u64> {
        self.pending.as_ref().map(|p| p.at)
    }

    /// Pitch of the sounding note, or of the last one with the sample of its end, Hz.
    pub(crate) fn pitch(&self) -> Option<(f32, Option<u64>)> {
        match (self.sounding.as_ref().filter(|s| !s.unheard), self.ended) {
            (Some(s), _) => Some((self.hz(s.recent), None)),
            (None, Some((end, hz))) => Some((hz, Some(end))),
            (None, None) => None,
        }
    }

    /// Pitch of the sounding note, if nothing else sounds with it, Hz.
    pub(crate) fn alone(&self) -> Option<f32> {
        self.sounding.as_ref().filter(|s| !s.mixed && !s.unheard).map(|s| self.hz(s.recent))
    }

    /// No note sounds and none may be starting.
    pub(crate) fn idle(&self) -> bool {
        self.sounding.is_none() && self.pending.is_none()
    }

    fn absolute(&self, hz: f32) -> f32 {
        6900.0 + cents_between(hz, self.a4_hz)
    }

    fn hz(&self, pitch: f32) -> f32 {
        self.a4_hz * 2f32.powf((pitch - 6900.0) / 1200.0)
    }

    /// A hop begins to be looked at: its end and the mean square of its decimated samples.
    pub(crate) fn advance(&mut self, end: u64, low_power: f32) {
        self.newest = (self.newest + 1) % POWERS;
        self.powers[self.newest] = low_power;
        self.end = end;
    }

    /// A new onset was proposed.
    pub(crate) fn propose(
        &mut self,
        onset: Onset,
        end: u64,
        low: &LowHistory,
        clock: Clock,
        sink: &mut impl FnMut(DspEvent),
    ) -> Resolution {
        let mut resolution = Resolution::Open;
        if let Some(p) = &self.pending {
            let since = onset.at.saturating_sub(p.at);
            let (before, after) = self.energy_around(onset.at);
            let rattle = since < RATTLE && onset.rise < 0.5 * p.rise && db(after) - db(before) < RATTLE_DB;
            if !onset.moved && (since < ONE_STROKE && p.rise >= 0.5 * onset.rise || rattle) {
                return Resolution::Open;
            }
            if let Decision::Note(heard) = p.known(&self.context(p.at, f32::MIN)) {
                self.accept(heard, end, clock, sink);
                resolution = Resolution::Played;
            } else if since >= ONE_STROKE {
                self.since = p.at;
                resolution = Resolution::Dismissed;
            }
            // Else it is the same stroke still: what was held back of it stays undecided.
        }
        let samples = |n: u64| n as usize / DECIMATION;
        let (back, age) =
            (samples(end.saturating_sub(onset.at)), samples(onset.at.saturating_sub(self.since)));
        let foretold = self.ringing.measure(low, back, age) && age >= FORETOLD;
        sink(DspEvent::Onset(OnsetEvent { onset: clock.seconds(onset.at), t: clock.seconds(end) }));
        let steady = self.sounding.as_ref().is_none_or(|s| (s.recent - s.anchor()).abs() < STILL_CENTS);
        self.pending = Some(Stroke::new(onset.at, end, onset.rise, steady, foretold));
        self.fresh_from = onset.at;
        self.jump = None;
        resolution
    }

    /// One hop on.
    pub(crate) fn step(
        &mut self,
        heard: &Heard<'_>,
        onsets: &OnsetDetector,
        clock: Clock,
        sink: &mut impl FnMut(DspEvent),
    ) -> Resolution {
        if self.pending.is_some() {
            return self.step_pending(heard, clock, sink);
        }
        if self.sounding.is_none() && self.just_opened {
            self.step_opened(heard);
        }
        self.step_sounding(heard, onsets, clock, sink);
        Resolution::Open
    }

    fn step_pending(
        &mut self,
        heard: &Heard<'_>,
        clock: Clock,
        sink: &mut impl FnMut(DspEvent),
    ) -> Resolution {
        let Some(mut p) = self.pending.take() else { return Resolution::Open };
        let back = heard.end.saturating_sub(p.at) as usize / DECIMATION;
        let whole = heard.estimate.map(|e| (self.absolute(e.f0), e));
        let rest =
            if p.alone() { None } else { self.ringing.rest(heard.low, back, heard.estimate.map(|e| e.f0)) };
        let rest = rest.map(|r| (r.estimate.map_or(0.0, |e| self.absolute(e.f0)), r));
        p.hear(whole, heard.power, rest);
        let decision = p.decide(heard.end, &self.context(p.at, heard.threshold_db));
        let at = p.at;
        self.pending = Some(p);
        match decision {
            Decision::Wait => Resolution::Open,
            Decision::Note(pitch) => {
                self.accept(pitch, heard.end, clock, sink);
                Resolution::Played
            }
            Decision::RingsOn => {
                self.dismiss(heard.end);
                // What was heard before goes with what is heard now.
                if let Some(s) = &self.sounding {
                    self.fresh_from = s.onset;
                }
                Resolution::Dismissed
            }
            Decision::Nothing { silent } => {
                self.dismiss(heard.end);
                self.since = at;
                // If a note was sounding, this stroke stopped it.
                if silent {
                    self.end_note(at, clock, sink);
                }
                Resolution::Dismissed
            }
        }
    }

    /// After the gate or lost input: a string may ring whose stroke was not heard.
    fn step_opened(&mut self, heard: &Heard<'_>) {
        let Some(e) = heard.estimate else {
            self.silent_hops += 1;
            self.just_opened = self.silent_hops < END_HOPS;
            return;
        };
        self.silent_hops = 0;
        if e.settled {
            let pitch = self.absolute(e.f0);
            let mut s = Sounding::new(self.fresh_from, heard.end, pitch, heard.power);
            s.unheard = true;
            s.add(heard.end, pitch, e.clarity, e.settled);
            self.sounding = Some(s);
            self.just_opened = false;
        }
    }

    /// What is to be known of the time before the stroke at a sample.
    fn context(&self, at: u64, threshold_db: f32) -> Context {
        let (before, after) = self.energy_around(at);
        Context {
            sounding: self.sounding.as_ref().map(|s| s.recent),
            gain_db: db(after) - db(before),
            threshold_db,
        }
    }

    /// Low-band mean square just before a sample, and the highest after it.
    fn energy_around(&self, at: u64) -> (f32, f32) {
        // Four hops, so that the beat of a low string (12 ms) averages out.
        let mean = |n: usize| {
            (n..n + 4).map(|k| self.powers[(self.newest + POWERS - k.min(POWERS - 1)) % POWERS]).sum::<f32>()
                / 4.0
        };
        // The hop with the onset, counted back from the newest.
        let hop = (self.end.saturating_sub(at) / HOP as u64) as usize;
        let last = hop.saturating_sub(3);
        (mean(hop + 1), (0..=last.min(POWERS)).map(mean).fold(0.0, f32::max))
    }

    /// The pending onset becomes a note; the one before ends there.
    fn accept(&mut self, heard: stroke::Heard, end: u64, clock: Clock, sink: &mut impl FnMut(DspEvent)) {
        let Some(p) = self.pending.take() else { return };
        let pitch = heard.pitch();
        let touch = |s: &Sounding| {
            p.at.saturating_sub(s.onset) < TOUCH
                && p.peak > TOUCH_POWER * s.peak
                && (s.recent - pitch).abs() < TOUCH_CENTS
        };
        if self.sounding.as_ref().is_some_and(touch) {
            self.sounding = None;
        }
        // Nobody strikes twice so fast: the stroke before was this one, its pitch told too soon.
        let same = |s: &mut Sounding| {
            !s.unheard && p.at.saturating_sub(s.onset) < ONE_STROKE && p.peak < LOUDER * s.peak
        };
        let (at, announced) =
            self.sounding.take_if(same).map_or((p.at, p.announced), |s| (s.onset, s.announced));
        self.end_note(at, clock, sink);
        self.just_opened = false;
        let mut note = Sounding::new(at, end, pitch, p.peak);
        note.announced = announced;
        note.mixed = heard.mixed;
        self.start(note, clock, sink);
        if let Some(s) = &mut self.sounding {
            for &q in &heard.pitches[..heard.count] {
                s.add(end, q, heard.clarity, true);
            }
        }
        self.since = p.at;
    }

    fn start(&mut self, note: Sounding, clock: Clock, sink: &mut impl FnMut(DspEvent)) {
        let (midi, cents) = nearest(note.recent);
        sink(DspEvent::NoteStart(NoteStart {
            onset: clock.seconds(note.onset),
            t: clock.seconds(note.announced),
            midi,
            cents,
        }));
        self.sounding = Some(note);
        self.jump = None;
    }

    fn dismiss(&mut self, end: u64) {
        self.pending = None;
        // What the stroke left behind, if anything, was looked at since; nothing older is mixed in.
        if let Some(s) = &mut self.sounding {
            s.last_voiced = end;
            s.unvoiced = 0;
        }
    }

    fn step_sounding(
        &mut self,
        heard: &Heard<'_>,
        onsets: &OnsetDetector,
        clock: Clock,
        sink: &mut impl FnMut(DspEvent),
    ) {
        let pitch = heard.estimate.map(|e| self.absolute(e.f0));
        let Some(s) = &mut self.sounding else { return };
        s.hear(heard.end, heard.power, heard.low_power);
        let faded = db(heard.power) < db(s.peak) + FADE_DB;
        let (Some(pitch), Some(e), false) = (pitch, heard.estimate, faded) else {
            s.unvoiced += 1;
            if s.unvoiced >= END_HOPS {
                let at = s.last_voiced;
                self.end_note(at, clock, sink);
            }
            return;
        };
        s.unvoiced = 0;
        s.last_voiced = heard.end;
        let distance = pitch - s.recent;
        if distance.abs() < JUMP_CENTS && (pitch - s.anchor()).abs() < GLIDE_CENTS {
            s.add(heard.end, pitch, e.clarity, e.settled);
            s.learn(e.inharmonicity);
            self.jump = None;
        } else if let Some(octaves) = octave_of(distance).filter(|_| !s.mixed) {
            s.fold(octaves);
            self.jump = None;
        } else if !s.mixed {
            let window = (e.window * ANALYSIS_RATE as f32) as u64;
            match &mut self.jump {
                Some(j) if (j.pitch - pitch).abs() < AGREE_CENTS => {
                    j.pitch = pitch;
                    j.count += 1;
                }
                before => {
                    let at = heard.end.saturating_sub(window / 2);
                    let on_the_way = |j: &Jump| (pitch - j.pitch) * distance > 0.0;
                    let passed = before.as_ref().filter(|j| on_the_way(j)).map_or(0, |j| j.passed + 1);
                    *before = Some(Jump { pitch, at, count: 1, passed });
                }
            }
            if self.jump.as_ref().is_some_and(|j| j.count >= JUMP_HOPS) && e.settled {
                self.take_jump(heard, onsets, clock, sink);
            }
        }
    }

    /// The pitch has jumped for good without a stroke: a hammer-on, pull-off or slide; or the played string was
    /// damped and an older one is heard again, which is no note.
    fn take_jump(
        &mut self,
        heard: &Heard<'_>,
        onsets: &OnsetDetector,
        clock: Clock,
        sink: &mut impl FnMut(DspEvent),
    ) {
        let Some(jump) = self.jump.take() else { return };
        let Some(old) = self.sounding_since() else { return };
        let (left, peak) = self.sounding.as_ref().map_or((jump.pitch, 0.0), |s| (s.recent, s.peak));
        let from = jump.at.saturating_sub(45 * MS).max(old + 20 * MS);
        let near = onsets.strongest(from, jump.at + 25 * MS).filter(|o| o.rise >= JUMP_RISE);
        let (before, after) = self.energy_around(jump.at);
        // A small rise may be the beat of two strings: the flux dates it better.
        let clear = near.filter(|o| o.rise >= STROKE_RISE).map(|o| o.at);
        let soft = || onsets.softest(from, jump.at + 25 * MS);
        let at = clear.or_else(soft).or(near.map(|o| o.at)).unwrap_or(jump.at);
        self.end_note(at, clock, sink);
        self.fresh_from = at;
        self.since = at;
        let kept = db(after) - db(before) > JUMP_LOSS_DB && db(heard.power) - db(peak) > JUMP_FADED_DB;
        if near.is_some() || kept {
            sink(DspEvent::Onset(OnsetEvent { onset: clock.seconds(at), t: clock.seconds(heard.end) }));
            self.start(Sounding::new(at, heard.end, jump.pitch, heard.power), clock, sink);
            if let Some(s) = &mut self.sounding {
                s.attack = attack_of(jump.pitch - left, jump.passed, near.map_or(0.0, |o| o.rise));
                s.add(heard.end, jump.pitch, heard.estimate.map_or(0.0, |e| e.clarity), true);
            }
        }
    }

    /// Ends the sounding note at a sample and reports it, if it was one.
    fn end_note(&mut self, at: u64, clock: Clock, sink: &mut impl FnMut(DspEvent)) {
        let Some(mut s) = self.sounding.take() else { return };
        self.jump = None;
        let at = at.max(s.onset);
        if s.unheard {
            return;
        }
        self.ended = Some((at, self.hz(s.recent)));
        if s.is_noise(self.hz(s.recent)) {
            return;
        }
        let Some(verdict) = s.verdict(at).filter(|v| v.hops >= LEAST_HOPS) else { return };
        let f0 = self.hz(verdict.pitch);
        if is_hum(f0, s.early, s.late) {
            return;
        }
        let (midi, cents) = nearest(verdict.pitch);
        let inharmonicity = s.inharmonicity();
        sink(DspEvent::Note(NoteEvent {
            onset: clock.seconds(s.onset),
            offset: clock.seconds(at),
            t: clock.seconds(s.announced),
            midi,
            f0,
            cents,
            level_db: db(s.peak),
            confidence: verdict.confidence,
            settled: clock.seconds(s.decided),
            inharmonicity,
            technique: Technique {
                attack: s.attack,
                motion: verdict.motion,
                motion_cents: verdict.motion_cents,
            },
            gated: false,
        }));
    }

    /// Nothing after `at` may be used: report what sounds with what is known of it, forget what pends.
    pub(crate) fn close(&mut self, at: u64, clock: Clock, sink: &mut impl FnMut(DspEvent)) {
        let known = self.pending.as_ref().map(|p| p.known(&self.context(p.at, f32::MIN)));
        if let Some(Decision::Note(heard)) = known {
            self.accept(heard, at, clock, sink);
        }
        self.pending = None;
        self.end_note(at, clock, sink);
        self.fresh_from = at;
    }

    /// A stroke that may be none (just after the gate): whatever sounds from here on is followed, not reported.
    pub(crate) fn unsure(&mut self, at: u64) {
        self.sounding = None;
        self.jump = None;
        self.fresh_from = at;
        self.just_opened = true;
        self.silent_hops = 0;
    }

    /// Input was lost, or the gate was shut: what comes is fresh from `position` on.
    pub(crate) fn restart(&mut self, position: u64) {
        self.fresh_from = position;
        self.since = position;
        self.powers = [0.0; POWERS];
        self.ended = None;
        self.just_opened = true;
        self.silent_hops = 0;
        self.end = position;
    }
}

/// How a note began whose pitch came without a stroke that was heard as one: `by` is its distance from the pitch
/// before, cents.
fn attack_of(by: f32, passed: u32, rise: f32) -> Attack {
    if rise > STROKE_RISE || by.abs() > LEGATO_CENTS {
        Attack::Picked
    } else if passed >= SLID_PITCHES {
        Attack::Slide
    } else if by > 0.0 {
        Attack::HammerOn
    } else {
        Attack::PullOff
    }
}

/// MIDI number and deviation, -50..50, of an absolute pitch in cents.
fn nearest(pitch: f32) -> (u8, f32) {
    let midi = (pitch / 100.0).round().clamp(0.0, 127.0);
    (midi as u8, (pitch - 100.0 * midi).clamp(-50.0, 50.0))
}

/// Mains hum: 50 or 60 Hz or a low multiple, standing still, as no string does.
fn is_hum(f0: f32, early: Option<f32>, late: Option<f32>) -> bool {
    let (Some(early), Some(late)) = (early, late) else { return false };
    let on_mains = [50.0, 60.0]
        .into_iter()
        .any(|mains| (1..=4).any(|k| cents_between(f0, mains * k as f32).abs() < HUM_CENTS));
    on_mains && (db(late) - db(early)).abs() < HUM_DB
}
