//! The metronome of a session: starts and stops it, counts in, and tells the judge where its beats are in the input.

use crate::audio::metronome::ear::Link;
use crate::audio::metronome::{Metronome, Stretch};
use crate::audio::player::Player;
use crate::audio::supervisor::StreamInfo;
use crate::cli::screen::BeatView;
use crate::config::Config;
use crate::music::grid::Tempo;
use crate::practice::timing::Click;
use crate::store::{CalibrationRow, DevicePair};

/// A round trip that nobody has measured is taken to be this long, seconds (usual for sound cards and loudspeakers): the
/// count-in has to end somewhere.
const USUAL_ROUND_TRIP: f64 = 0.08;
/// Notes this much before the first beat after the count-in belong to it, beats: who comes in early is judged.
const EARLY: f64 = 0.4;
/// The beats are told anew when they have moved by this, seconds: of those that are heard, and of those that are only
/// known by the clock of the machine (which is good to a few milliseconds).
const MOVED: (f64, f64) = (0.000_3, 0.003);
/// Clicks that go unheard until it is said.
const UNHEARD: f64 = 12.0;

/// Where the round trip is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The clicks are heard in the input.
    Heard,
    /// It was measured before.
    Calibration,
    /// It is not known.
    Unknown,
}

impl Source {
    /// One word for traces.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Heard => "heard",
            Self::Calibration => "calibration",
            Self::Unknown => "unknown",
        }
    }
}

/// What has become known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// The beats in the input.
    pub click: Click,
    /// From where.
    pub source: Source,
    /// Round trip and its standard error (or spread), seconds; `None`: not known.
    pub round_trip: Option<(f64, f64)>,
    /// The source is another than before.
    pub news: bool,
}

/// The metronome of a session.
pub struct Beat {
    metronome: Metronome,
    /// Beats to count in.
    count_in: f64,
    link: Link,
    player: Player,
    measured: Vec<CalibrationRow>,
    input_period: u32,
    pair: Option<DevicePair>,
    on: bool,
    /// Number of the train of clicks that was started last.
    train: u64,
    known: Option<Known>,
    /// Notes that begin earlier are not judged, seconds on the session's clock.
    judged_from: f64,
    told_unheard: bool,
    /// Begin of the session on the capture clock, seconds: all times in and out are the session's.
    zero: f64,
}

impl Beat {
    /// A metronome that does not click yet, for a session that began at `zero` seconds on the capture clock. `count_in`:
    /// bars.
    #[must_use]
    pub fn new(
        config: &Config,
        metronome: Metronome,
        link: Link,
        player: Player,
        measured: Vec<CalibrationRow>,
        zero: f64,
        count_in: u32,
    ) -> Self {
        Self {
            metronome,
            count_in: f64::from(count_in * metronome.bar()),
            link,
            player,
            measured,
            input_period: config.audio.period,
            pair: None,
            on: false,
            train: 0,
            known: None,
            judged_from: f64::NEG_INFINITY,
            told_unheard: false,
            zero,
        }
    }

    /// The input is there: its round trip may be known.
    pub fn input(&mut self, stream: &StreamInfo) {
        self.pair = Some(pair(stream, self.input_period, &self.player));
    }

    /// True while it clicks.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Starts it, with its count-in.
    ///
    /// # Errors
    /// There is no output; why.
    pub fn begin(&mut self) -> Result<(), String> {
        let status = self.player.status();
        if status.device.is_none() {
            let why = status.reason.unwrap_or_else(|| "there is no output device".into());
            return Err(format!("no metronome: {why}"));
        }
        self.train = self.link.board.train().map_or(0, |t| t.number) + 1;
        self.player.metronome(Some(self.metronome));
        (self.on, self.known, self.told_unheard) = (true, None, false);
        self.judged_from = if self.count_in > 0.0 { f64::INFINITY } else { f64::NEG_INFINITY };
        Ok(())
    }

    /// Stops it.
    pub fn end(&mut self) {
        self.player.metronome(None);
        self.on = false;
        self.known = None;
        if self.judged_from == f64::INFINITY {
            self.judged_from = f64::NEG_INFINITY;
        }
    }

    /// False for what begins at this time in the count-in.
    #[must_use]
    pub fn is_judged(&self, onset: f64) -> bool {
        onset >= self.judged_from
    }

    /// What has become known of the beats by `now` (seconds on the session's clock), if anything has.
    pub fn follow(&mut self, now: f64) -> Option<Known> {
        if !self.on {
            return None;
        }
        let echo = self.link.echo().filter(|e| e.train >= self.train)?;
        if echo.train > self.train {
            // The device was lost and is back: the beats lie elsewhere.
            (self.train, self.known) = (echo.train, None);
        }
        let measured = self.measured().map(|c| (c.round_trip_ms / 1000.0, c.spread_ms / 1000.0));
        let (origin, drift, source, round_trip) = match (echo.heard, measured) {
            (Some(b), _) => (b.origin, b.drift, Source::Heard, Some((b.round_trip, b.error))),
            (None, Some(known)) => (echo.nominal + known.0, 0.0, Source::Calibration, Some(known)),
            (None, None) => (echo.nominal + USUAL_ROUND_TRIP, 0.0, Source::Unknown, None),
        };
        let origin = origin - self.zero;
        let (stretch, click) = click(&self.metronome, origin, drift, now, round_trip.is_some())?;
        let beat = stretch.beat_seconds();
        let first = click.origin + (self.count_in - EARLY) * beat;
        if self.count_in > 0.0 && stretch.beat == 0.0 && now < first + beat {
            self.judged_from = first;
        } else if self.judged_from == f64::INFINITY {
            // The count-in passed unheard: the input was away.
            self.judged_from = if stretch.beat == 0.0 { first } else { now };
        }
        let news = self.known.is_none_or(|k| k.source != source);
        let most = if source == Source::Heard { MOVED.0 } else { MOVED.1 };
        let same = |k: Known| k.click.tempo == click.tempo && (k.click.origin - click.origin).abs() < most;
        if !news && self.known.is_some_and(same) {
            return None;
        }
        let known = Known { click, source, round_trip, news };
        self.known = Some(known);
        Some(known)
    }

    /// A remark, once: the clicks are looked for and not heard, and their way was never measured.
    pub fn unheard(&mut self) -> Option<String> {
        let unknown = self.known.is_some_and(|k| k.source == Source::Unknown);
        let beats = self.link.board.beat().unwrap_or(0.0);
        if self.told_unheard || !self.on || !unknown || beats < UNHEARD {
            return None;
        }
        self.told_unheard = true;
        let how = if self.link.cancel { "the clicks are not heard" } else { "the guitar comes by cable" };
        Some(format!(
            "{how} and the latency is not known: timing is judged for evenness; `fretcoach calibrate --tap` measures it"
        ))
    }

    /// Plays another one from now on, with its count-in.
    ///
    /// # Errors
    /// As [`Beat::begin`].
    pub fn change(&mut self, metronome: Metronome) -> Result<(), String> {
        self.metronome = metronome;
        self.begin()
    }

    /// Tempo now, beats a minute.
    #[must_use]
    pub fn bpm(&self) -> f64 {
        self.metronome.at_beat(self.link.board.beat().filter(|_| self.on).unwrap_or(0.0)).bpm
    }

    /// For the display.
    #[must_use]
    pub fn view(&self) -> BeatView {
        if !self.on {
            return BeatView::Off;
        }
        // What is handed to the device is heard two periods later.
        let status = self.player.status();
        let delay = 2.0 * f64::from(status.period) / f64::from(status.rate.max(1));
        let beat_seconds = 60.0 / self.bpm();
        let Some(beat) = self.link.board.beat().map(|b| b - delay / beat_seconds) else {
            return BeatView::CountIn(self.count_in as u32);
        };
        let left = self.count_in - beat.max(0.0).floor();
        if left > 0.0 && self.judged_from > f64::NEG_INFINITY {
            BeatView::CountIn(left as u32)
        } else {
            let bar = self.metronome.bar();
            BeatView::On((beat.max(0.0) as u64 % u64::from(bar)) as u32 + 1, bar)
        }
    }

    fn measured(&self) -> Option<&CalibrationRow> {
        let pair = self.pair.as_ref()?;
        self.measured.iter().find(|c| c.pair == *pair)
    }
}

/// The beats around `now`, when beat 0 was heard at `origin` and the input's clock is faster by `drift`; with the stretch
/// of one tempo in which they lie. A tempo that is about to change is told a beat before, so that it holds for notes that
/// come early.
fn click(
    metronome: &Metronome,
    origin: f64,
    drift: f64,
    now: f64,
    latency_known: bool,
) -> Option<(Stretch, Click)> {
    let played = (now - origin) / (1.0 + drift);
    let stretch = metronome.at_seconds(played + metronome.at_seconds(played).beat_seconds());
    let (origin, beat) = (origin + stretch.seconds * (1.0 + drift), stretch.beat_seconds());
    // The tempo as set; the difference of the two clocks is made good by moving the beats.
    let beats = ((now - origin) / (beat * (1.0 + drift))).round();
    let tempo = Tempo::new(stretch.bpm).ok()?;
    Some((stretch, Click { origin: origin + beats * beat * drift, tempo, latency_known }))
}

/// The two devices as they are open now.
#[must_use]
pub fn pair(input: &StreamInfo, input_period: u32, player: &Player) -> DevicePair {
    let output = player.status();
    DevicePair {
        host: input.host.clone(),
        input: input.name.clone(),
        input_rate: input.rate,
        input_period,
        output: output.device.unwrap_or_default(),
        output_rate: output.rate,
        output_period: output.period,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::metronome::Climb;
    use crate::practice::click::Pulse;

    #[test]
    fn the_judge_s_beats_are_those_that_are_heard_while_the_tempo_climbs() {
        let metronome = Metronome::new(80.0, 4, 1, 0.5).unwrap();
        let metronome = metronome.climbing(Climb { after: 4, every: 8, step: 10.0, end: 130.0 });
        let (zero, drift) = (3.217, 40e-6);
        let heard = |beat: f64| zero + metronome.seconds(beat) * (1.0 + drift);
        let mut pulse = Pulse::default();
        let (mut now, mut next, mut told) = (zero, 1.0, None);
        while next < 80.0 {
            now += 0.02;
            let told_now = click(&metronome, zero, drift, now, true).unwrap().1;
            if told.replace(told_now) != Some(told_now) {
                pulse.set(now, Some(told_now));
            }
            // A note up to a quarter of a beat early or late is judged against the beat that it is meant for.
            while next < 80.0 && heard(next) + 0.3 < now {
                for off in [-0.25, -0.02, 0.0, 0.02, 0.25] {
                    let length = metronome.at_beat(next - f64::from(off < 0.0)).beat_seconds();
                    let held = pulse.click_at(heard(next) + off * length).unwrap();
                    let beats = held.beats(heard(next));
                    let error = (beats - beats.round()).abs() * held.tempo.beat_seconds();
                    assert!(error < 0.001, "beat {next}, {off} off: {:.1} ms", 1000.0 * error);
                }
                let at_beat = pulse.click_at(heard(next) + 0.001).unwrap().tempo;
                assert_eq!(at_beat, Tempo::new(metronome.at_beat(next).bpm).unwrap(), "beat {next}");
                next += 1.0;
            }
        }
    }
}
