//! Names of chords from what sounds in them.

use super::note::{NoteName, OCTAVE};

/// Semitones over the root, and what follows the root's name, fuller chords first.
const KINDS: [(&[u8], &str); 10] = [
    (&[0, 4, 7, 10], "7"),
    (&[0, 3, 7, 10], "m7"),
    (&[0, 4, 7, 11], "maj7"),
    (&[0, 4, 7], ""),
    (&[0, 3, 7], "m"),
    (&[0, 5, 7], "sus4"),
    (&[0, 2, 7], "sus2"),
    (&[0, 3, 6], "dim"),
    (&[0, 4, 8], "aug"),
    (&[0, 7], "5"),
];

/// Name of the chord whose pitch classes are the bits of `classes` (bit 0 is C): `Am`, `E5`, `C/G`. `bass` is the lowest
/// note's MIDI number; where several roots fit (C6 is Am7, C+ is E+), the bass decides. `spell` gives a pitch class the
/// name that the key wants. `None` for what has no common name.
#[must_use]
pub fn chord_name(classes: u16, bass: Option<u8>, spell: impl Fn(u8) -> NoteName) -> Option<String> {
    let has = |class: u8| classes & (1 << (class % OCTAVE)) != 0;
    let bass = bass.map(|b| b % OCTAVE);
    let kind_on = |root: u8| {
        KINDS.iter().find_map(|(steps, name)| {
            let whole = steps.iter().all(|s| has(root + s));
            (whole && classes.count_ones() as usize == steps.len()).then_some(*name)
        })
    };
    let roots = bass.into_iter().chain(0..OCTAVE);
    let (root, kind) = roots.filter(|r| has(*r)).find_map(|root| Some((root, kind_on(root)?)))?;
    let under = bass.filter(|b| *b != root && has(*b)).map_or_else(String::new, |b| format!("/{}", spell(b)));
    Some(format!("{}{kind}{under}", spell(root)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(notes: &[u8], bass: Option<u8>) -> Option<String> {
        let classes = notes.iter().fold(0u16, |c, n| c | 1 << (n % 12));
        chord_name(classes, bass, |c| NoteName::of_pitch_class(c, true))
    }

    #[test]
    fn open_chords_have_their_names() {
        for (notes, expected) in [
            (&[40u8, 47, 52, 56, 59, 64][..], "E"),
            (&[45, 52, 57, 60, 64], "Am"),
            (&[43, 47, 50, 55, 59, 65], "G7"),
            (&[40, 47], "E5"),
            (&[40, 47, 52], "E5"),
            (&[50, 57, 62, 67], "Dsus4"),
            (&[45, 52, 57, 59], "Asus2"),
            (&[48, 52, 55, 59], "Cmaj7"),
            (&[45, 48, 52, 55], "Am7"),
            (&[47, 50, 53], "Bdim"),
            (&[48, 52, 56], "Caug"),
            (&[52, 56, 60], "Eaug"),
        ] {
            assert_eq!(name(notes, notes.first().copied()).as_deref(), Some(expected), "{notes:?}");
        }
    }

    #[test]
    fn another_bass_is_written_under_the_chord_and_flats_as_the_key_has_them() {
        assert_eq!(name(&[43, 48, 52, 60], Some(43)).as_deref(), Some("C/G"));
        assert_eq!(name(&[48, 52, 55], None).as_deref(), Some("C"));
        let flat = chord_name(1 << 10 | 1 << 2 | 1 << 5, Some(46), |c| NoteName::of_pitch_class(c, false));
        assert_eq!(flat.as_deref(), Some("Bb"));
    }

    #[test]
    fn what_has_no_common_name_gets_none() {
        for notes in [&[][..], &[40], &[40, 52], &[40, 41, 42], &[40, 42, 44, 46, 47, 49, 51]] {
            assert_eq!(name(notes, Some(40)), None, "{notes:?}");
        }
    }

    #[test]
    fn every_kind_is_named_on_every_root() {
        for root in 0..12u8 {
            for (steps, kind) in KINDS {
                let notes: Vec<u8> = steps.iter().map(|s| 36 + root + s).collect();
                let expected = format!("{}{kind}", NoteName::of_pitch_class(root, true));
                assert_eq!(name(&notes, Some(36 + root)), Some(expected));
            }
        }
    }
}
