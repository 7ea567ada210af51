//! The session and the plan that it carries out.

use super::Session;
use crate::app::steps;

impl Session {
    /// Begins the exercise that is due: says it, and sets the metronome to it.
    pub(super) fn follow_plan(&mut self) {
        let now = self.now;
        let Some(step) = self.p.steps.as_mut().and_then(|s| s.due(now)) else { return };
        self.say(step.said);
        if step.first {
            return;
        }
        let metronome = steps::metronome(&step.exercise, &self.p.config.practice);
        let Some(beat) = &mut self.p.beat else { return };
        match metronome {
            // The player has switched it off: it stays off.
            Some(metronome) if beat.is_on() || self.rests_in_free_time => {
                self.rests_in_free_time = false;
                self.p.judge.set_click(None);
                if let Err(why) = beat.change(metronome) {
                    self.say(why);
                }
            }
            Some(_) => {}
            None => {
                self.rests_in_free_time = beat.is_on();
                beat.end();
                self.p.judge.set_click(None);
            }
        }
    }
}
