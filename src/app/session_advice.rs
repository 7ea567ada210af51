//! The session and its coach: what is said is shown, stored, and marked as heard or not.

use super::{News, Session};
use crate::app::stage::live_advice;
use crate::cli::screen::AdviceView;
use crate::coach::{self, AdviceRecord, CoachEvent};
use crate::hub::link::LiveEvent;
use crate::store::{AdviceId, AdviceKind, AdviceRow};

impl Session {
    pub(super) fn coach(&mut self, event: CoachEvent) {
        match event {
            CoachEvent::AdviceStarted { .. } => self.p.stage.change(|s| {
                s.advice = Some(AdviceView { at: self.now, ..AdviceView::default() });
            }),
            CoachEvent::AdviceDelta { text, .. } => self.p.stage.change(|s| {
                if let Some(advice) = &mut s.advice {
                    let gap = if advice.text.is_empty() { "" } else { " " };
                    advice.text.push_str(gap);
                    advice.text.push_str(&text);
                }
            }),
            CoachEvent::Advice(record) => self.advice(*record),
            CoachEvent::Spoken { id, interrupted, .. } => {
                self.spoken(id, !interrupted);
            }
            CoachEvent::SpeechFailed { id, reason, again } => {
                self.spoken(id, false);
                if !again {
                    self.say(format!("not spoken: {reason}"));
                }
            }
            CoachEvent::Skipped { reason } => {
                self.asked = false;
                self.say(format!("no advice ({reason})"));
            }
        }
    }

    pub(super) fn advice(&mut self, record: AdviceRecord) {
        self.p.stage.news(News::Advice { text: record.text.clone(), source: record.source.clone() });
        let speaking = self.p.player.status().speaking;
        let (text, source) = (record.text.clone(), who(&record.source));
        let view = AdviceView { text, source, speaking, at: self.now };
        self.p.stage.tell(LiveEvent::Advice(live_advice(&view)));
        self.p.stage.change(|s| s.advice = Some(view));
        let row = AdviceRow {
            id: AdviceId::new(),
            kind: match record.kind {
                coach::AdviceKind::Live if self.asked => AdviceKind::Asked,
                coach::AdviceKind::Live => AdviceKind::Live,
                coach::AdviceKind::Summary => AdviceKind::Summary,
            },
            at: record.at,
            at_s: self.now,
            window_index: record.window_index,
            text: record.text,
            source: record.source,
            // The kind of advice tells the name.
            prompt_version: record.prompt.map(|(_, version)| version),
            spoken: self.early.remove(&record.id),
            trace_id: record.trace_id,
            span_id: record.span_id,
        };
        self.p.writer.advice(row.clone());
        self.advised = self.advised.max(record.id);
        if row.spoken.is_none() {
            self.unspoken.insert(record.id, row);
        }
        self.asked = false;
        if let Some(note) = record.note {
            self.say(note);
        }
    }

    pub(super) fn spoken(&mut self, id: u64, heard: bool) {
        if let Some(mut row) = self.unspoken.remove(&id) {
            row.spoken = Some(heard);
            self.p.writer.advice(row);
        } else if id > self.advised {
            self.early.insert(id, heard);
        }
    }
}

/// Who advises, for a player: the model's name, or that no model did.
fn who(source: &str) -> String {
    if source == "offline" { "offline coach".into() } else { source.into() }
}
