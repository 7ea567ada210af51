//! Level, and the noise floor that follows the room.
use super::db;

/// Where the floor starts before anything was heard, dBFS.
const START_DB: f32 = -90.0;
/// Share of the distance taken per idle hop, downwards and upwards (time constants 50 ms and 0.27 s).
const FALL: f32 = 0.1;
const RISE: f32 = 0.02;

/// Levels below which a note does not count: an absolute one and a distance from the noise floor, by sensitivity
/// 0..1. At 0.5: -58 dBFS and 8 dB.
pub(crate) fn note_threshold_db(sensitivity: f32, floor_db: f32) -> f32 {
    let s = if sensitivity.is_finite() { sensitivity.clamp(0.0, 1.0) } else { 0.5 };
    (-44.0 - 28.0 * s).max(floor_db + 14.0 - 12.0 * s)
}

/// Level of what is heard while no note sounds.
pub(crate) struct NoiseFloor {
    db: f32,
}

impl NoiseFloor {
    pub(crate) fn new() -> Self {
        Self { db: START_DB }
    }

    /// Takes in the mean square of a hop in which nothing was played.
    pub(crate) fn learn(&mut self, power: f32) {
        let distance = db(power) - self.db;
        self.db += distance * if distance < 0.0 { FALL } else { RISE };
    }

    /// dBFS.
    pub(crate) fn db(&self) -> f32 {
        self.db
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_reaches_the_room_within_two_seconds_and_falls_faster_than_it_rises() {
        let mut floor = NoiseFloor::new();
        for _ in 0..375 {
            floor.learn(1e-5);
        }
        assert!((floor.db() + 50.0).abs() < 0.5, "{}", floor.db());
        for _ in 0..60 {
            floor.learn(1e-7);
        }
        assert!((floor.db() + 70.0).abs() < 0.5, "{}", floor.db());
    }

    #[test]
    fn more_sensitivity_lets_softer_notes_count() {
        assert!(note_threshold_db(1.0, -90.0) < note_threshold_db(0.5, -90.0));
        assert!(note_threshold_db(0.5, -40.0) > -40.0);
        assert!(note_threshold_db(f32::NAN, -90.0).is_finite());
    }
}
