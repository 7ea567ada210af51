//! What is shown of the playing, wherever somebody looks: the live display, plain lines, the Hub's pages.
//!
//! The [`Screen`] is filled as things happen; the Hub's [`LiveView`] is made from it and the loop's latest frame
//! whenever [`Stage::publish`] is called, and sent on only when something in it has changed that can be seen.

use tokio::sync::{broadcast, mpsc, watch};

use super::session::News;
use crate::audio::live::LiveFrame;
use crate::cli::screen::{AdviceView, BeatView, DeviceState, Screen};
use crate::cli::text;
use crate::hub::link::{LiveAdvice, LiveBeat, LiveEvent, LiveNote, LiveView, Phase};
use crate::music::scale::Scale;

/// Below this the meter shows silence, dBFS: the noise floor of a 16-bit sound card.
const SILENCE_DB: f32 = -90.0;

/// Everyone who looks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stage {
    screen: watch::Sender<Screen>,
    view: watch::Sender<LiveView>,
    events: broadcast::Sender<LiveEvent>,
    news: mpsc::UnboundedSender<News>,
}

impl Stage {
    /// Shows on these.
    #[must_use]
    pub fn new(
        screen: watch::Sender<Screen>,
        view: watch::Sender<LiveView>,
        events: broadcast::Sender<LiveEvent>,
        news: mpsc::UnboundedSender<News>,
    ) -> Self {
        Self { screen, view, events, news }
    }

    /// Changes the screen; the Hub's view follows with [`Stage::publish`].
    pub fn change(&self, change: impl FnOnce(&mut Screen)) {
        self.screen.send_modify(change);
    }

    /// Changes what only the Hub shows.
    pub fn change_view(&self, change: impl FnOnce(&mut LiveView)) {
        self.view.send_modify(change);
    }

    /// What the Hub shows, as it changes.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<LiveView> {
        self.view.subscribe()
    }

    /// What the program is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        phase(&self.screen.borrow())
    }

    /// The metronome's tempo now, beats a minute.
    pub fn tempo(&self, bpm: f64) {
        self.view.send_if_modified(|view| view.bpm.replace(bpm) != Some(bpm));
    }

    /// A remark for everyone.
    pub fn say(&self, said: impl Into<String>) {
        let said = said.into();
        self.screen.send_modify(|s| s.message = Some(said.clone()));
        self.tell(LiveEvent::Message { text: said.clone() });
        self.news(News::Message(said));
    }

    /// Something for plain lines.
    pub fn news(&self, news: News) {
        // Nobody reads plain lines while the live display is shown.
        let _ = self.news.send(news);
    }

    /// Something for the Hub's pages.
    pub fn tell(&self, event: LiveEvent) {
        // An error only means that no browser looks.
        let _ = self.events.send(event);
    }

    /// Brings the Hub's view up to date; wakes its readers only when that changes something. `scale` spells the note.
    pub fn publish(&self, frame: &LiveFrame, scale: Option<&Scale>) {
        let screen = self.screen.borrow();
        self.view.send_if_modified(|view| {
            let mut next = view.clone();
            fill(&mut next, &screen, frame, scale);
            let changed = next != *view;
            *view = next;
            changed
        });
    }
}

fn phase(screen: &Screen) -> Phase {
    match screen {
        s if s.idle => Phase::Idle,
        s if s.closing => Phase::Closing,
        s if s.paused => Phase::Paused,
        _ => Phase::Playing,
    }
}

/// The view of a screen. Numbers are rounded to what a page can show, so that what looks the same is the same.
fn fill(view: &mut LiveView, screen: &Screen, frame: &LiveFrame, scale: Option<&Scale>) {
    view.phase = phase(screen);
    view.elapsed = (10.0 * screen.elapsed).floor() / 10.0;
    view.planned = screen.planned;
    view.muted = screen.muted;
    view.beat = screen.beat.map(|beat| match beat {
        BeatView::Off => LiveBeat::Off,
        BeatView::On(beat, beats) => LiveBeat::On { beat, beats },
        BeatView::CountIn(left) => LiveBeat::CountIn { left },
    });
    view.note = note(frame, scale);
    view.level_db = (screen.level_db > SILENCE_DB).then(|| (2.0 * screen.level_db).round() / 2.0);
    view.metrics.clone_from(&screen.metrics);
    view.scores = screen.scores;
    view.previous = screen.previous;
    (view.right, view.wrong) = (screen.right, screen.wrong);
    view.advice = screen.advice.as_ref().map(live_advice);
    view.next_advice = screen.next_advice.ceil();
    view.device.clone_from(&screen.device);
    view.device_trouble = match &screen.device_state {
        DeviceState::Lost(why) => Some(why.clone()),
        DeviceState::Opening | DeviceState::Listening | DeviceState::Ended => None,
    };
    view.voice.clone_from(&screen.voice);
    view.message.clone_from(&screen.message);
}

/// The note that sounds: to a hundredth of a hertz and a tenth of a cent, finer than any needle.
fn note(frame: &LiveFrame, scale: Option<&Scale>) -> Option<LiveNote> {
    Some(LiveNote {
        midi: frame.midi?,
        name: text::note_name(scale, frame.midi?),
        f0: (100.0 * frame.f0?).round() / 100.0,
        cents: (10.0 * frame.cents?).round() / 10.0,
        provisional: frame.provisional,
    })
}

/// Advice as the Hub shows it.
#[must_use]
pub fn live_advice(advice: &AdviceView) -> LiveAdvice {
    LiveAdvice {
        text: advice.text.clone(),
        source: advice.source.clone(),
        speaking: advice.speaking,
        at: advice.at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage() -> (Stage, watch::Receiver<LiveView>, broadcast::Receiver<LiveEvent>) {
        let screen = watch::Sender::new(Screen { level_db: f32::NEG_INFINITY, ..Screen::default() });
        let (view, seen) = watch::channel(LiveView::default());
        let (events, heard) = broadcast::channel(8);
        (Stage::new(screen, view, events, mpsc::unbounded_channel().0), seen, heard)
    }

    #[test]
    fn the_hub_is_woken_only_by_what_can_be_seen() {
        let (stage, mut seen, _heard) = stage();
        let silent = LiveFrame { level_db: -120.0, ..LiveFrame::default() };
        stage.publish(&silent, None);
        seen.mark_unchanged();
        stage.change(|s| s.elapsed = 0.09);
        stage.publish(&silent, None);
        assert!(!seen.has_changed().unwrap(), "less than a tenth of a second has passed");
        stage.change(|s| s.elapsed = 0.11);
        stage.publish(&silent, None);
        assert!(seen.has_changed().unwrap());
        let sounds =
            LiveFrame { f0: Some(110.004), cents: Some(0.06), midi: Some(45), ..LiveFrame::default() };
        stage.publish(&sounds, None);
        seen.mark_unchanged();
        stage.publish(&LiveFrame { f0: Some(110.003), cents: Some(0.05), ..sounds }, None);
        assert!(!seen.has_changed().unwrap(), "no needle shows a thousandth of a hertz");
        let note = seen.borrow().note.clone().unwrap();
        assert_eq!((note.name.as_str(), note.midi, note.f0), ("A2", 45, 110.0));
    }

    #[test]
    fn the_phase_is_what_the_screen_says() {
        let (stage, seen, _heard) = stage();
        let phase = |change: fn(&mut Screen)| {
            stage.change(|s| *s = Screen::default());
            stage.change(change);
            stage.publish(&LiveFrame::default(), None);
            seen.borrow().phase
        };
        assert_eq!(phase(|_| {}), Phase::Playing);
        assert_eq!(phase(|s| s.paused = true), Phase::Paused);
        assert_eq!(phase(|s| (s.paused, s.closing) = (true, true)), Phase::Closing);
        assert_eq!(phase(|s| s.idle = true), Phase::Idle);
    }

    #[test]
    fn a_remark_reaches_everyone() {
        let (stage, seen, mut heard) = stage();
        stage.say("paused");
        stage.publish(&LiveFrame::default(), None);
        assert_eq!(seen.borrow().message.as_deref(), Some("paused"));
        assert_eq!(heard.try_recv().unwrap(), LiveEvent::Message { text: "paused".into() });
    }
}
