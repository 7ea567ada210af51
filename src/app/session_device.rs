//! The session and its input: opened, lost, restored.

use std::time::Instant;

use tracing::Span;

use super::{News, Session};
use crate::app::listening;
use crate::audio::supervisor::{DeviceEvent, StreamInfo};
use crate::cli::screen::DeviceState;
use crate::names::{attr, span};
use crate::span::{Kind, SpanExt};

impl Session {
    pub(super) fn device(&mut self, event: DeviceEvent) {
        match event {
            DeviceEvent::Opened(stream) => {
                let step = self.p.thread.child(&self.p.root, span::CAPTURE_OPEN, Kind::Chain);
                describe(&step, &stream);
                describe(&self.p.root, &stream);
                self.input(&stream);
                if self.p.config.practice.metronome {
                    self.begin_beat();
                }
            }
            DeviceEvent::Lost { name, fault } => {
                let step = self.p.thread.child(&self.p.root, span::DEVICE_CHANGE, Kind::Chain);
                step.put(attr::DEVICE_FAULT, fault.word());
                step.output_text(&format!("{name}: {fault}"));
                self.lost = Some(fault.word().into());
                self.lost_since.get_or_insert_with(Instant::now);
                self.p.stage.change(|s| s.device_state = DeviceState::Lost(fault.to_string()));
                self.p.stage.news(News::Device(format!("{name} was lost: {fault}; looking for it")));
                tracing::warn!(device = name, fault = fault.word(), "input lost");
                self.last_fault = Some(step);
            }
            DeviceEvent::Restored { stream, gap_seconds, attempts } => {
                if let Some(step) = self.last_fault.take() {
                    step.put(attr::GAP_SECONDS, gap_seconds);
                    step.put(attr::ATTEMPT, i64::from(attempts));
                    describe(&step, &stream);
                }
                tracing::info!(device = stream.name, gap_seconds, attempts, "input restored");
                self.p.stage.news(News::Device(format!("{} is back after {gap_seconds:.1} s", stream.name)));
                self.input(&stream);
            }
            DeviceEvent::Missed { name, seconds } => {
                let step = self.p.thread.child(&self.p.root, span::DEVICE_CHANGE, Kind::Chain);
                step.put(attr::DEVICE_FAULT, "missed");
                step.put(attr::GAP_SECONDS, seconds);
                tracing::warn!(device = name, seconds, "sound was lost");
                self.p
                    .stage
                    .news(News::Device(format!("{name}: {seconds:.2} s of sound never came; not judged")));
            }
            DeviceEvent::Warning(said) => {
                tracing::warn!("{said}");
                self.say(said);
            }
        }
    }

    /// The input is there (again).
    pub(super) fn input(&mut self, stream: &StreamInfo) {
        self.lost_since = None;
        if let Some(beat) = &mut self.p.beat {
            beat.input(stream);
        }
        let name = listening::name_of(stream);
        self.p.stage.news(News::Device(format!("listening to {name}")));
        self.p.stage.change(|s| {
            s.device = name;
            s.device_state = DeviceState::Listening;
        });
    }
}

fn describe(span: &Span, stream: &StreamInfo) {
    span.put(attr::AUDIO_HOST, stream.host.clone());
    span.put(attr::AUDIO_INPUT, stream.name.clone());
    span.put(attr::AUDIO_RATE, i64::from(stream.rate));
    span.put(attr::AUDIO_PERIOD, i64::from(stream.period));
    span.put(attr::REALTIME, stream.realtime);
}
