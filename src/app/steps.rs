//! The exercises of a plan on the clock of a session: which one is due, and what its metronome plays. Pure.

use crate::audio::metronome::{Climb, Metronome};
use crate::coach::plan::words;
use crate::config::Practice;
use crate::practice::plan::{Exercise, Plan};

/// The exercises, each after the one before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steps {
    exercises: Vec<(f64, Exercise)>,
    next: usize,
}

/// An exercise that begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What to do, in a line.
    pub said: String,
    /// It is the first: what the session begins with is its metronome already.
    pub first: bool,
    /// The exercise.
    pub exercise: Exercise,
}

impl Steps {
    /// Of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut at = 0.0;
        let mut exercises = Vec::new();
        for exercise in &plan.exercises {
            exercises.push((at, exercise.clone()));
            at += 60.0 * f64::from(exercise.minutes);
        }
        Self { exercises, next: 0 }
    }

    /// The exercise that begins by `now`, seconds of the session, told once; of several the last.
    pub fn due(&mut self, now: f64) -> Option<Step> {
        let begun = self.exercises.partition_point(|(from, _)| *from <= now);
        if begun <= self.next {
            return None;
        }
        self.next = begun;
        let exercise = self.exercises[begun - 1].1.clone();
        let Exercise { title, how, .. } = &exercise;
        let tempo = words::tempo(&exercise);
        let said = format!("exercise {begun} of {}: {title}, {tempo}: {how}", self.exercises.len());
        Some(Step { said, first: begun == 1, exercise })
    }
}

/// What clicks for an exercise; `None`: it has no tempo, or one that no metronome plays.
#[must_use]
pub fn metronome(exercise: &Exercise, practice: &Practice) -> Option<Metronome> {
    let bpm = exercise.starts_at()?;
    let plain =
        Metronome::new(bpm, practice.click_accent, practice.click_subdivision, practice.click_swing).ok()?;
    Some(match exercise.speed_trainer {
        None => plain,
        Some(t) => plain.climbing(Climb {
            after: practice.count_in * plain.bar(),
            every: t.every_bars * plain.bar(),
            step: t.step,
            end: t.end,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::practice::plan::SpeedTrainer;

    fn exercise(title: &str, minutes: u32, tempo: Option<f64>, trainer: Option<SpeedTrainer>) -> Exercise {
        let how = "slowly".to_owned();
        Exercise { title: title.into(), how, minutes, tempo, speed_trainer: trainer }
    }

    #[test]
    fn each_exercise_begins_once_when_those_before_it_are_over() {
        let trainer = SpeedTrainer { start: 60.0, end: 90.0, step: 5.0, every_bars: 4 };
        let all = [
            exercise("warm up", 2, Some(70.0), None),
            exercise("climb", 5, None, Some(trainer)),
            exercise("play", 3, None, None),
        ];
        let mut at = 0.0;
        let exercises = all
            .into_iter()
            .map(|e| {
                let from = at;
                at += 60.0 * f64::from(e.minutes);
                (from, e)
            })
            .collect();
        let mut steps = Steps { exercises, next: 0 };
        let first = steps.due(0.0).unwrap();
        assert!(first.first && first.said.starts_with("exercise 1 of 3: warm up, 70 bpm"), "{}", first.said);
        assert_eq!(steps.due(119.9), None);
        let second = steps.due(120.0).unwrap();
        assert!(!second.first && second.said.contains("60 to 90 bpm"), "{}", second.said);
        assert_eq!(steps.due(400.0), None);
        assert!(steps.due(420.1).unwrap().said.contains("free time"));
        assert_eq!(steps.due(9_000.0), None);
    }

    #[test]
    fn a_speed_trainer_climbs_by_bars_after_the_count_in() {
        let trainer = SpeedTrainer { start: 60.0, end: 90.0, step: 5.0, every_bars: 4 };
        let practice = Practice { count_in: 2, click_accent: 3, ..Practice::default() };
        let m = metronome(&exercise("climb", 5, None, Some(trainer)), &practice).unwrap();
        assert_eq!(m.bpm, 60.0);
        for bar in 0..40_u64 {
            let beat = (6 + 3 * bar) as f64;
            assert_eq!(m.at_beat(beat).bpm, trainer.tempo(bar), "bar {bar}");
            let exact = 6.0 + trainer.begins(bar, 3);
            assert!((m.seconds(beat) - exact).abs() < 1e-9, "bar {bar}: {} and not {exact}", m.seconds(beat));
        }
        assert_eq!(metronome(&exercise("free", 5, None, None), &practice), None);
    }
}
