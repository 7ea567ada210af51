//! The fretboard as a heat map: how often the pitch of each place was right. Sound does not tell on which string a pitch
//! was played, so every place of it has its colour.

use minijinja::{Value, context};

use super::words::{note_name, rating_class};
use crate::music::scale::Scale;
use crate::music::tuning::{FRETS, Tuning};
use crate::practice::metric::Rating;
use crate::store::PitchTally;

/// Frets shown at least: an octave.
const FEWEST_FRETS: u8 = 12;
/// From so many times on a share says something.
const FEWEST: u64 = 3;
/// Size of a place, in the units of the drawing.
const W: u32 = 46;
const H: u32 = 30;

/// What the template draws: places by string and fret, and the numbers as rows.
pub(super) fn value(pitches: &[PitchTally], tuning: &Tuning, scale: Option<&Scale>) -> Value {
    let highest =
        pitches.iter().filter_map(|p| tuning.positions(p.midi).iter().map(|(_, fret)| *fret).min()).max();
    let frets = highest.unwrap_or(0).clamp(FEWEST_FRETS, FRETS - tuning.capo());
    let strings = tuning.strings();
    let mut places = Vec::new();
    for pitch in pitches {
        for (string, fret) in tuning.positions(pitch.midi).into_iter().filter(|(_, fret)| *fret <= frets) {
            let share = 100.0 * pitch.right as f64 / pitch.judged as f64;
            let few = pitch.judged < FEWEST;
            places.push(context! {
                x => LEFT + u32::from(fret) * W,
                y => TOP + u32::from(string - 1) * H,
                class => if few { "few" } else { rating_class(Rating::of(share)) },
                text => if few { "·".to_owned() } else { format!("{share:.0}") },
                said => format!("{}, string {string}, fret {fret}: {} of {} right", note_name(scale, pitch.midi), pitch.right, pitch.judged),
            });
        }
    }
    let rows: Vec<Value> = pitches
        .iter()
        .map(|p| {
            let positions = tuning.positions(p.midi);
            let places: Vec<String> = positions
                .iter()
                .take(3)
                .map(|(string, fret)| format!("string {string} fret {fret}"))
                .collect();
            context! {
                note => note_name(scale, p.midi),
                judged => p.judged,
                right => p.right,
                share => format!("{:.0} %", 100.0 * p.right as f64 / p.judged as f64),
                places => places.join(", "),
            }
        })
        .collect();
    let lines: Vec<Value> = strings
        .iter()
        .rev()
        .enumerate()
        .map(|(n, midi)| context! { y => TOP + n as u32 * H + H / 2, name => note_name(None, *midi) })
        .collect();
    let marks: Vec<Value> = (0..=frets)
        .map(|fret| {
            let at = fret + tuning.capo();
            context! {
                fret,
                x => LEFT + u32::from(fret) * W,
                middle => LEFT + u32::from(fret) * W + W / 2,
                dot => matches!(at % 12, 0 | 3 | 5 | 7 | 9) && at > 0,
            }
        })
        .collect();
    context! {
        any => !pitches.is_empty(),
        places,
        rows,
        lines,
        marks,
        cell_width => W,
        cell_height => H,
        left => LEFT,
        top => TOP,
        width => LEFT + (u32::from(frets) + 1) * W + 4,
        height => TOP + strings.len() as u32 * H + 24,
        bottom => TOP + strings.len() as u32 * H,
        tuning => tuning.name(),
        capo => tuning.capo(),
    }
}

/// Room for the names of the strings, and above them.
const LEFT: u32 = 40;
const TOP: u32 = 4;
