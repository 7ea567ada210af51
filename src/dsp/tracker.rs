//! From onsets and pitches to notes.
//!
//! A note is an onset and a settled pitch after it. What has only one of the two is none: a dead stroke has no
//! pitch, hum has no onset. A proposed onset *pends* until the pitch after it decides: another pitch is a new note,
//! the same pitch only with new energy. A lasting jump of pitch under way (hammer-on, pull-off, slide) is a new note;
//! a bend or vibrato is not.
use super::event::{DspEvent, NoteEvent, NoteStart, OnsetEvent, Technique};
use super::filter::LowHistory;
use super::fit::Partials;
use super::note::Sounding;
use super::onset::{Onset, OnsetDetector};
use super::pitch::Estimate;
use super::stroke::Before;
use super::{ANALYSIS_RATE, DECIMATION, HOP, cents_between, db};

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
/// A softer sound of about the same pitch just before a note is the pick that touches the string: shorter than this
/// and softer by this factor.
const TOUCH: u64 = 120 * MS;
const TOUCH_POWER: f32 = 30.0;
/// Two onsets closer than this are one stroke: the touch of the pick and the string.
const ONE_STROKE: u64 = 30 * MS;
/// A pitch within this of the sounding one is the same note (a bend may be under way).
const SAME_CENTS: f32 = 60.0;
/// A repeated note has at least this share of energy in its partials that the note before does not account for
/// (measured: true repetitions 0.2 to 1, median 0.85; noises over a ringing string 0 to 0.2) …
const REPEAT_NOVELTY: f32 = 0.25;
/// … and is not much softer: a hand that stops the string changes its phases too, dB.
const REPEAT_LOSS_DB: f32 = -6.0;
/// A pitch further than this from the sounding one is under way, so that phases tell nothing.
const STEADY_CENTS: f32 = 35.0;
/// Where that cannot be measured, it brings at least this much new energy in the low band, dB …
const REPEAT_DB: f32 = 2.0;
/// … or a clear stroke across the bands without losing energy.
const REPEAT_RISE: f32 = 10.0;
const REPEAT_KEEP_DB: f32 = -1.0;
/// Change between two hops beyond which the pitch jumped; bends move at most some 15 cents a hop.
const JUMP_CENTS: f32 = 70.0;
/// The same within 43 ms. A full bend in a quarter of a second moves 35 cents, a wide vibrato 80.
const GLIDE_CENTS: f32 = 110.0;
/// Hops that a jumped pitch must last (59 ms).
const JUMP_HOPS: u32 = 11;
/// A jump with less than this rise anywhere near it and less energy than before is an old string that rings on.
const JUMP_RISE: f32 = 1.5;
const JUMP_LOSS_DB: f32 = -6.0;
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

struct Pending {
    at: u64,
    /// Sample at which it was announced.
    announced: u64,
    /// What sounded just before.
    before: Option<Before>,
    rise: f32,
    pitches: [f32; AGREE_HOPS],
    count: usize,
    settled: bool,
    clarity: f32,
    peak: f32,
    voiced: u32,
}

struct Jump {
    pitch: f32,
    at: u64,
    count: u32,
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
    partials: Partials,
    a4_hz: f32,
    pending: Option<Pending>,
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
            partials: Partials::new(),
            a4_hz,
            pending: None,
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
            if onset.at.saturating_sub(p.at) < ONE_STROKE && p.rise >= 0.5 * onset.rise {
                return Resolution::Open;
            }
            if p.count >= AGREE_HOPS - 1 && p.settled && self.is_new(p, Some(low)) {
                self.accept(end, clock, sink);
                resolution = Resolution::Played;
            } else {
                let one_stroke = onset.at.saturating_sub(p.at) < ONE_STROKE;
                resolution = if one_stroke { Resolution::Played } else { Resolution::Dismissed };
            }
        }
        let before = self.before(onset.at, end, low);
        sink(DspEvent::Onset(OnsetEvent { onset: clock.seconds(onset.at), t: clock.seconds(end) }));
        self.pending = Some(Pending {
            at: onset.at,
            announced: end,
            before,
            rise: onset.rise,
            pitches: [0.0; AGREE_HOPS],
            count: 0,
            settled: false,
            clarity: 0.0,
            peak: 0.0,
            voiced: 0,
        });
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
        let pitch = heard.estimate.map(|e| self.absolute(e.f0));
        let Some(p) = &mut self.pending else { return Resolution::Open };
        p.peak = p.peak.max(heard.power);
        if let (Some(pitch), Some(e)) = (pitch, heard.estimate) {
            let agrees = p.pitches[..p.count].iter().all(|q| (q - pitch).abs() < AGREE_CENTS);
            if !agrees {
                p.count = 0;
            }
            if p.count == AGREE_HOPS {
                p.pitches.copy_within(1.., 0);
                p.count -= 1;
            }
            p.pitches[p.count] = pitch;
            p.count += 1;
            p.settled = e.settled;
            p.clarity = e.clarity;
            p.voiced += 1;
        } else {
            p.count = 0;
            p.settled = false;
        }
        let loud = db(p.peak) >= heard.threshold_db && db(heard.power) > db(p.peak) + MUTED_DB;
        let age = heard.end.saturating_sub(p.at);
        let enough = if p.clarity >= CLEAR { AGREE_HOPS - 1 } else { AGREE_HOPS };
        if p.count >= enough && p.settled && loud {
            let Some(p) = &self.pending else { return Resolution::Open };
            if self.is_new(p, Some(heard.low)) {
                self.accept(heard.end, clock, sink);
                return Resolution::Played;
            }
            self.dismiss(heard.end);
            // The string rings on: what was heard before goes with what is heard now.
            if let Some(s) = &self.sounding {
                self.fresh_from = s.onset;
            }
            return Resolution::Dismissed;
        }
        if age > PENDING_LIMIT {
            // The pitch never came: if a note was sounding, this stroke stopped it.
            let (at, silent) = (p.at, p.voiced == 0);
            self.dismiss(heard.end);
            if silent {
                self.end_note(at, clock, sink);
            }
            return Resolution::Dismissed;
        }
        Resolution::Open
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

    /// Whether the pending onset, whose pitch has settled, starts a new note rather than going on with the old one.
    fn is_new(&self, p: &Pending, low: Option<&LowHistory>) -> bool {
        let Some(s) = &self.sounding else { return true };
        let pitch = p.pitches[p.count.saturating_sub(1).min(AGREE_HOPS - 1)];
        let distance = pitch - s.recent;
        let (before, after) = self.energy_around(p.at);
        let gain = db(after) - db(before);
        // While the pitch glides, the past foretells nothing.
        let steady = (distance - octave_of(distance).unwrap_or(0.0)).abs() < STEADY_CENTS;
        let back = (self.end.saturating_sub(p.at) as usize) / DECIMATION;
        let novelty = low
            .zip(p.before.as_ref())
            .filter(|_| steady)
            .and_then(|(low, before)| before.novelty(&self.partials, low, back));
        let struck = match novelty {
            Some(share) => share >= REPEAT_NOVELTY && gain >= REPEAT_LOSS_DB,
            None => gain >= REPEAT_DB || (p.rise >= REPEAT_RISE && gain >= REPEAT_KEEP_DB),
        };
        if distance.abs() < SAME_CENTS { struck } else { octave_of(distance).is_none() || struck }
    }

    /// The sounding string as it was before an onset.
    fn before(&self, at: u64, end: u64, low: &LowHistory) -> Option<Before> {
        let s = self.sounding.as_ref()?;
        let samples = |n: u64| n as usize / DECIMATION;
        let (back, age) = (samples(end.saturating_sub(at)), samples(at.saturating_sub(s.onset)));
        Before::measure(&self.partials, low, self.hz(s.recent), back, age)
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
    fn accept(&mut self, end: u64, clock: Clock, sink: &mut impl FnMut(DspEvent)) {
        let Some(p) = self.pending.take() else { return };
        let pitch = p.pitches[p.count.saturating_sub(1).min(AGREE_HOPS - 1)];
        let touch = |s: &Sounding| {
            p.at.saturating_sub(s.onset) < TOUCH
                && p.peak > TOUCH_POWER * s.peak
                && (s.recent - pitch).abs() < 100.0
        };
        if self.sounding.as_ref().is_some_and(touch) {
            self.sounding = None;
        }
        self.end_note(p.at, clock, sink);
        self.just_opened = false;
        let mut note = Sounding::new(p.at, end, pitch, p.peak);
        note.announced = p.announced;
        self.start(note, clock, sink);
        if let Some(s) = &mut self.sounding {
            for &q in &p.pitches[..p.count] {
                s.add(end, q, p.clarity, p.settled);
            }
        }
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
        s.peak = s.peak.max(heard.power);
        let age = heard.end.saturating_sub(s.onset);
        if s.early.is_none() && age > 100 * MS {
            s.early = Some(heard.low_power);
        }
        if s.late.is_none() && age > 250 * MS {
            s.late = Some(heard.low_power);
        }
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
            self.jump = None;
        } else if let Some(octaves) = octave_of(distance) {
            s.fold(octaves);
            self.jump = None;
        } else {
            let window = (e.window * ANALYSIS_RATE as f32) as u64;
            match &mut self.jump {
                Some(j) if (j.pitch - pitch).abs() < AGREE_CENTS => {
                    j.pitch = pitch;
                    j.count += 1;
                }
                _ => self.jump = Some(Jump { pitch, at: heard.end.saturating_sub(window / 2), count: 1 }),
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
        let from = jump.at.saturating_sub(45 * MS).max(old + 20 * MS);
        let near = onsets.strongest(from, jump.at + 25 * MS).filter(|o| o.rise >= JUMP_RISE);
        let (before, after) = self.energy_around(jump.at);
        let at = near.map(|o| o.at).or_else(|| onsets.softest(from, jump.at + 25 * MS)).unwrap_or(jump.at);
        self.end_note(at, clock, sink);
        self.fresh_from = at;
        if near.is_some() || db(after) - db(before) > JUMP_LOSS_DB {
            sink(DspEvent::Onset(OnsetEvent { onset: clock.seconds(at), t: clock.seconds(heard.end) }));
            self.start(Sounding::new(at, heard.end, jump.pitch, heard.power), clock, sink);
            if let Some(s) = &mut self.sounding {
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
        let Some(verdict) = s.verdict(at).filter(|v| v.hops >= LEAST_HOPS) else { return };
        let f0 = self.hz(verdict.pitch);
        if is_hum(f0, s.early, s.late) {
            return;
        }
        let (midi, cents) = nearest(verdict.pitch);
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
            inharmonicity: None,
            technique: Technique::default(),
            gated: false,
        }));
    }

    /// Nothing after `at` may be used: report what sounds with what is known of it, forget what pends.
    pub(crate) fn close(&mut self, at: u64, clock: Clock, sink: &mut impl FnMut(DspEvent)) {
        if self
            .pending
            .as_ref()
            .is_some_and(|p| p.count >= AGREE_HOPS - 1 && p.settled && self.is_new(p, None))
        {
            self.accept(at, clock, sink);
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
        self.powers = [0.0; POWERS];
        self.ended = None;
        self.just_opened = true;
        self.silent_hops = 0;
        self.end = position;
    }
}

/// MIDI number and deviation, -50..50, of an absolute pitch in cents.
fn nearest(pitch: f32) -> (u8, f32) {
    let midi = (pitch / 100.0).round().clamp(0.0, 127.0);
    (midi as u8, (pitch - 100.0 * midi).clamp(-50.0, 50.0))
}

/// The whole octaves, or the twelfth, that a distance in cents comes to.
fn octave_of(distance: f32) -> Option<f32> {
    [1200.0, 2400.0, 1902.0]
        .into_iter()
        .find(|o| (distance.abs() - o).abs() < 50.0)
        .map(|o: f32| o.copysign(distance))
}

/// Mains hum: 50 or 60 Hz or a low multiple, standing still, as no string does.
fn is_hum(f0: f32, early: Option<f32>, late: Option<f32>) -> bool {
    let (Some(early), Some(late)) = (early, late) else { return false };
    let on_mains = [50.0, 60.0]
        .into_iter()
        .any(|mains| (1..=4).any(|k| cents_between(f0, mains * k as f32).abs() < HUM_CENTS));
    on_mains && (db(late) - db(early)).abs() < HUM_DB
}
