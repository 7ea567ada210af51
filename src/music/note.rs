//! Note names and pitch: MIDI numbers, hertz, cents, and names spelled as a key wants them.

use std::fmt;

/// Reference pitch of A4 when nothing else is set, Hz (ISO 16).
pub const A4_HZ: f64 = 440.0;
/// MIDI number of A4.
pub const A4_MIDI: f64 = 69.0;
/// Semitones in an octave.
pub const OCTAVE: u8 = 12;

/// Semitones above C of the letters C D E F G A B.
const LETTER_SEMITONES: [i16; 7] = [0, 2, 4, 5, 7, 9, 11];
const LETTERS: [char; 7] = ['C', 'D', 'E', 'F', 'G', 'A', 'B'];

/// Frequency of a (possibly fractional) MIDI number in equal temperament, Hz.
#[must_use]
pub fn midi_to_hz(midi: f64, a4_hz: f64) -> f64 {
    a4_hz * ((midi - A4_MIDI) / f64::from(OCTAVE)).exp2()
}

/// Fractional MIDI number of a frequency; NaN or infinite for a frequency that is not positive.
#[must_use]
pub fn hz_to_midi(hz: f64, a4_hz: f64) -> f64 {
    A4_MIDI + f64::from(OCTAVE) * (hz / a4_hz).log2()
}

/// Nearest MIDI number (0..=127) and the deviation from it in cents (-50..=50 inside that range).
/// `None` for a frequency or reference that is not a positive finite number.
#[must_use]
pub fn nearest_midi(hz: f64, a4_hz: f64) -> Option<(u8, f64)> {
    let exact = hz_to_midi(hz, a4_hz);
    if !exact.is_finite() {
        return None;
    }
    let midi = exact.round().clamp(0.0, 127.0);
    Some((midi as u8, (exact - midi) * 100.0))
}

/// A note name without octave: a letter and its accidentals, so that C# and Db stay apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NoteName {
    /// 0..=6 for C..=B.
    letter: u8,
    /// Sharps (positive) or flats (negative).
    accidental: i8,
}

impl NoteName {
    /// Name from a letter index (0 = C … 6 = B, taken modulo 7) and sharps (positive) or flats.
    #[must_use]
    pub fn new(letter: u8, accidental: i8) -> Self {
        Self { letter: letter % 7, accidental }
    }

    /// Letter index, 0 = C … 6 = B.
    #[must_use]
    pub fn letter(self) -> u8 {
        self.letter
    }

    /// Sharps (positive) or flats (negative).
    #[must_use]
    pub fn accidental(self) -> i8 {
        self.accidental
    }

    /// 0..=11 semitones above C.
    #[must_use]
    pub fn pitch_class(self) -> u8 {
        (LETTER_SEMITONES[usize::from(self.letter)] + i16::from(self.accidental))
            .rem_euclid(i16::from(OCTAVE)) as u8
    }

    /// The plain name of a pitch class: a natural, else one sharp (`sharps`) or one flat.
    #[must_use]
    pub fn of_pitch_class(pitch_class: u8, sharps: bool) -> Self {
        let pc = i16::from(pitch_class % OCTAVE);
        let natural = |pc: i16| LETTER_SEMITONES.iter().position(|&s| s == pc.rem_euclid(12));
        let (letter, accidental) = match natural(pc) {
            Some(letter) => (letter, 0),
            None if sharps => (natural(pc - 1).unwrap_or(0), 1),
            None => (natural(pc + 1).unwrap_or(0), -1),
        };
        Self::new(letter as u8, accidental)
    }

    /// The name on `letter` that sounds `pitch_class`, with as few accidentals as that takes.
    #[must_use]
    pub fn on_letter(letter: u8, pitch_class: u8) -> Self {
        let letter = letter % 7;
        let away = i16::from(pitch_class) - LETTER_SEMITONES[usize::from(letter)];
        // -6..=5: the nearest way round the octave.
        let accidental = (away + 6).rem_euclid(12) - 6;
        Self::new(letter, accidental as i8)
    }

    /// Reads a whole string as a name: `A`, `f#`, `B♭`, `Ebb`, `C##`, `Cx`. `None` when it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = Self::parse_prefix(text)?;
        rest.is_empty().then_some(name)
    }

    /// Reads a name at the start of `text` and returns what follows it. Takes up to two accidentals.
    pub(crate) fn parse_prefix(text: &str) -> Option<(Self, &str)> {
        let mut chars = text.chars();
        let first = chars.next()?.to_ascii_uppercase();
        let letter = LETTERS.iter().position(|&l| l == first)? as u8;
        let mut rest = chars.as_str();
        let mut accidental = 0i8;
        for _ in 0..2 {
            let Some(sign) = rest.chars().next() else { break };
            let step = match sign {
                '#' | '♯' => 1,
                'b' | '♭' => -1,
                'x' | '𝄪' if accidental == 0 => 2,
                _ => break,
            };
            // A sharp and a flat on one note is no name but two words run together.
            if i32::from(step) * i32::from(accidental) < 0 {
                break;
            }
            accidental += step;
            rest = &rest[sign.len_utf8()..];
            if step == 2 {
                break;
            }
        }
        Some((Self::new(letter, accidental), rest))
    }
}

impl fmt::Display for NoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.accidental < 0 { "b" } else { "#" };
        write!(
            f,
            "{}{}",
            LETTERS[usize::from(self.letter)],
            sign.repeat(self.accidental.unsigned_abs().into())
        )
    }
}

/// Name with octave, `C#4` or `Db4` (MIDI 60 is C4, as in the guitar literature and most software).
#[must_use]
pub fn midi_name(midi: u8, sharps: bool) -> String {
    format!("{}{}", NoteName::of_pitch_class(midi % OCTAVE, sharps), i16::from(midi / OCTAVE) - 1)
}

/// Reads a note with octave, such as `E2`, `Bb3`, `F♯4` or `C-1`, as a MIDI number.
/// `None` when the text is not a note or lies outside 0..=127.
#[must_use]
pub fn parse_midi(text: &str) -> Option<u8> {
    let (name, rest) = NoteName::parse_prefix(text.trim())?;
    let octave: i16 = rest.parse().ok()?;
    let semitones = LETTER_SEMITONES[usize::from(name.letter)] + i16::from(name.accidental);
    u8::try_from(octave.checked_add(1)?.checked_mul(12)?.checked_add(semitones)?).ok().filter(|m| *m < 128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hertz_and_midi_agree_with_the_standard() {
        assert!((midi_to_hz(69.0, 440.0) - 440.0).abs() < 1e-9);
        assert!((midi_to_hz(40.0, 440.0) - 82.4069).abs() < 1e-4);
        assert!((midi_to_hz(69.0, 432.0) - 432.0).abs() < 1e-9);
        for midi in 0..128u8 {
            let (back, cents) = nearest_midi(midi_to_hz(f64::from(midi) + 0.2, 442.0), 442.0).unwrap();
            assert_eq!(back, midi);
            assert!((cents - 20.0).abs() < 1e-6);
        }
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(nearest_midi(bad, 440.0), None);
        }
    }

    #[test]
    fn names_read_and_print() {
        for (text, pc, shown) in [
            ("A", 9, "A"),
            ("f#", 6, "F#"),
            ("B♭", 10, "Bb"),
            ("bb", 10, "Bb"),
            ("Cb", 11, "Cb"),
            ("E♯", 5, "E#"),
            ("Fx", 7, "F##"),
            ("Abb", 7, "Abb"),
        ] {
            let name = NoteName::parse(text).unwrap();
            assert_eq!((name.pitch_class(), name.to_string().as_str()), (pc, shown), "{text}");
        }
        for text in ["", "H", "A#b", "Abbb", "A minor"] {
            assert_eq!(NoteName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn notes_with_octaves_read_and_print() {
        for (text, midi) in
            [("E2", 40), ("e4", 64), ("Bb3", 58), ("F♯4", 66), ("C-1", 0), ("G9", 127), ("Cb4", 59)]
        {
            assert_eq!(parse_midi(text), Some(midi), "{text}");
        }
        for text in ["", "E", "X2", "G#9", "C-2", "E99999"] {
            assert_eq!(parse_midi(text), None, "{text}");
        }
        assert_eq!(midi_name(61, true), "C#4");
        assert_eq!(midi_name(61, false), "Db4");
        for midi in 0..128 {
            assert_eq!(parse_midi(&midi_name(midi, midi % 2 == 0)), Some(midi));
        }
    }

    #[test]
    fn a_letter_takes_the_fewest_accidentals() {
        assert_eq!(NoteName::on_letter(6, 0).to_string(), "B#");
        assert_eq!(NoteName::on_letter(0, 11).to_string(), "Cb");
        for letter in 0..7 {
            for pc in 0..12 {
                assert_eq!(NoteName::on_letter(letter, pc).pitch_class(), pc);
            }
        }
    }
}
