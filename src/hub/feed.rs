//! What a browser hears of the playing: the view in full whenever something lasting changed, a light message for what
//! moves with every frame, and every event.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::Event;
use futures::Stream;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::Viewer;
use super::link::{Link, LiveBeat, LiveEvent, LiveNote, LiveView, Phase};

/// Shortest time between two pictures: 50 a second, more than a screen's eye needs.
const BETWEEN: Duration = Duration::from_millis(20);

/// What moves with every frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tick {
    /// As in [`LiveView`].
    pub elapsed: f64,
    /// As in [`LiveView`].
    pub note: Option<LiveNote>,
    /// As in [`LiveView`].
    pub level_db: Option<f32>,
    /// As in [`LiveView`].
    pub beat: Option<LiveBeat>,
    /// As in [`LiveView`].
    pub next_advice: f64,
}

impl Tick {
    fn of(view: &LiveView) -> Self {
        Self {
            elapsed: view.elapsed,
            note: view.note.clone(),
            level_db: view.level_db,
            beat: view.beat,
            next_advice: view.next_advice,
        }
    }

    /// Puts it into a view.
    fn into(self, view: &mut LiveView) {
        view.elapsed = self.elapsed;
        view.note = self.note;
        view.level_db = self.level_db;
        view.beat = self.beat;
        view.next_advice = self.next_advice;
    }
}

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Everything; what was known before is replaced.
    View(Box<LiveView>),
    /// Only what moves.
    Tick(Tick),
    /// Something happened.
    Event(LiveEvent),
    /// Events were missed: load the view again.
    Reload,
}

impl Message {
    fn event(&self) -> Event {
        let (name, data) = match self {
            Self::View(view) => ("view", serde_json::to_string(view)),
            Self::Tick(tick) => ("tick", serde_json::to_string(tick)),
            Self::Event(event) => ("event", serde_json::to_string(event)),
            Self::Reload => ("reload", Ok("{}".into())),
        };
        // Views and events are plain values: they always have a JSON form.
        Event::default().event(name).data(data.unwrap_or_default())
    }
}

/// The view as `viewer` may see it: what another player plays is that player's own business. What belongs to the
/// device (level, note, device, voice) is seen by all while nobody's session runs.
#[must_use]
pub fn narrowed(view: &LiveView, viewer: &Viewer) -> LiveView {
    if view.user == viewer.user {
        return view.clone();
    }
    let seen = LiveView {
        phase: view.phase,
        user: view.user.clone(),
        device: view.device.clone(),
        device_trouble: view.device_trouble.clone(),
        voice: view.voice.clone(),
        ..LiveView::default()
    };
    match view.phase {
        Phase::Idle => LiveView {
            strings: view.strings.clone(),
            note: view.note.clone(),
            level_db: view.level_db,
            muted: view.muted,
            ..seen
        },
        _ => LiveView { message: Some(format!("{} is practising here", view.user)), ..seen },
    }
}

/// What to send when the view has become `now` and the browser knows `last`; `None`: nothing that it would see.
fn change(last: Option<&LiveView>, now: &LiveView) -> Option<Message> {
    let Some(last) = last else { return Some(Message::View(Box::new(now.clone()))) };
    if last == now {
        return None;
    }
    let mut moved = last.clone();
    let tick = Tick::of(now);
    tick.clone().into(&mut moved);
    Some(if moved == *now { Message::Tick(tick) } else { Message::View(Box::new(now.clone())) })
}

/// One browser's ear.
struct Listener {
    viewer: Viewer,
    view: watch::Receiver<LiveView>,
    events: broadcast::Receiver<LiveEvent>,
    last: Option<LiveView>,
    /// Earliest time of the next picture.
    at: Instant,
}

impl Listener {
    /// The next message; `None` when the daemon ends.
    async fn next(&mut self) -> Option<Message> {
        loop {
            let pictured = async {
                tokio::time::sleep_until(self.at).await;
                self.view.changed().await
            };
            tokio::select! {
                event = self.events.recv() => match event {
                    Ok(event) if self.view.borrow().user == self.viewer.user => return Some(Message::Event(event)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        self.last = None;
                        self.view.mark_changed();
                        return Some(Message::Reload);
                    }
                    Err(RecvError::Closed) => return None,
                },
                changed = pictured => {
                    changed.ok()?;
                    let now = narrowed(&self.view.borrow_and_update(), &self.viewer);
                    if let Some(message) = change(self.last.as_ref(), &now) {
                        self.last = Some(now);
                        self.at = Instant::now() + BETWEEN;
                        return Some(message);
                    }
                }
            }
        }
    }
}

/// The messages for `viewer`, the whole view first, until the daemon ends.
pub fn listen(link: &Link, viewer: Viewer) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    futures::stream::unfold(listener(link, viewer), |mut listener| async move {
        let message = listener.next().await?;
        Some((Ok(message.event()), listener))
    })
}

fn listener(link: &Link, viewer: Viewer) -> Listener {
    let mut view = link.view.clone();
    view.mark_changed();
    Listener { viewer, view, events: link.events.subscribe(), last: None, at: Instant::now() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::link::{self, EVENTS_KEPT};

    fn viewer(name: &str) -> Viewer {
        Viewer { user: name.into() }
    }

    fn playing() -> LiveView {
        LiveView { phase: Phase::Playing, user: "anna".into(), right: 3, elapsed: 1.0, ..LiveView::default() }
    }

    fn message(text: &str) -> LiveEvent {
        LiveEvent::Message { text: text.into() }
    }

    #[tokio::test]
    async fn a_browser_gets_the_view_then_what_changes_and_every_event() {
        let (joint, link) = link::joint(playing());
        let mut ear = listener(&link, viewer("anna"));
        assert_eq!(ear.next().await, Some(Message::View(Box::new(playing()))));
        joint.view.send_modify(|v| v.elapsed = 1.1);
        let Some(Message::Tick(tick)) = ear.next().await else { panic!("what moves is sent lightly") };
        assert_eq!(tick.elapsed, 1.1);
        joint.view.send_modify(|v| v.right = 4);
        assert!(matches!(ear.next().await, Some(Message::View(view)) if view.right == 4));
        for text in ["a", "b"] {
            joint.events.send(message(text)).unwrap();
        }
        assert_eq!(ear.next().await, Some(Message::Event(message("a"))));
        assert_eq!(ear.next().await, Some(Message::Event(message("b"))));
        drop((joint, link));
        assert_eq!(ear.next().await, None);
    }

    #[tokio::test]
    async fn a_browser_that_falls_behind_is_told_and_gets_the_view_again() {
        let (joint, link) = link::joint(playing());
        let mut ear = listener(&link, viewer("anna"));
        ear.next().await;
        for n in 0..=EVENTS_KEPT {
            joint.events.send(message(&n.to_string())).unwrap();
        }
        assert_eq!(ear.next().await, Some(Message::Reload));
        let mut seen = Vec::new();
        for _ in 0..=EVENTS_KEPT {
            seen.push(ear.next().await);
        }
        assert!(seen.contains(&Some(Message::View(Box::new(playing())))));
        assert!(seen.contains(&Some(Message::Event(message(&EVENTS_KEPT.to_string())))));
    }

    #[tokio::test]
    async fn nobody_hears_what_another_plays() {
        let (joint, link) = link::joint(playing());
        let mut ear = listener(&link, viewer("ben"));
        let Some(Message::View(view)) = ear.next().await else { panic!("a view comes first") };
        assert_eq!((view.right, view.elapsed), (0, 0.0));
        assert_eq!(view.message.as_deref(), Some("anna is practising here"));
        joint.events.send(message("anna's")).unwrap();
        joint.view.send_modify(|v| {
            v.right = 9;
            v.session = Some("0198".into());
        });
        joint.view.send_modify(|v| {
            v.phase = Phase::Idle;
            v.level_db = Some(-20.0);
        });
        let Some(Message::View(view)) = ear.next().await else { panic!("the next thing to see is the end") };
        assert_eq!((view.right, view.session.as_ref(), view.level_db), (0, None, Some(-20.0)));
    }

    #[test]
    fn what_cannot_be_seen_is_not_sent() {
        assert_eq!(change(Some(&playing()), &playing()), None);
    }
}
