//! Tunings: which note each string sounds, and where on the neck a note can be played.

use super::note::{NoteName, midi_name, parse_midi};

/// Fewest and most strings of an instrument.
pub const STRINGS: std::ops::RangeInclusive<usize> = 1..=10;
/// Frets of the neck.
pub const FRETS: u8 = 24;
/// Highest fret a capo may sit on: above it too little of the neck is left to play on.
pub const MAX_CAPO: u8 = 12;
/// Lowest and highest open string taken: B0 (a bass) to E5.
pub const OPEN_STRING: std::ops::RangeInclusive<u8> = 23..=76;

/// Names of a tuning (the first is shown) and its open strings from the lowest (the player's top string).
const NAMED: [(&[&str], &str); 16] = [
    (&["standard", "e standard", "eadgbe"], "E2 A2 D3 G3 B3 E4"),
    (&["drop D", "dropped d"], "D2 A2 D3 G3 B3 E4"),
    (&["half step down", "eb standard", "d# standard", "semitone down"], "Eb2 Ab2 Db3 Gb3 Bb3 Eb4"),
    (&["whole step down", "d standard", "full step down", "tone down"], "D2 G2 C3 F3 A3 D4"),
    (&["drop C", "dropped c"], "C2 G2 C3 F3 A3 D4"),
    (&["drop C#", "drop db"], "C#2 G#2 C#3 F#3 A#3 D#4"),
    (&["double drop D"], "D2 A2 D3 G3 B3 D4"),
    (&["DADGAD"], "D2 A2 D3 G3 A3 D4"),
    (&["open G"], "D2 G2 D3 G3 B3 D4"),
    (&["open D"], "D2 A2 D3 F#3 A3 D4"),
    (&["open E"], "E2 B2 E3 G#3 B3 E4"),
    (&["open A"], "E2 A2 E3 A3 C#4 E4"),
    (&["open C"], "C2 G2 C3 G3 C4 E4"),
    (&["all fourths", "fourths"], "E2 A2 D3 G3 C4 F4"),
    (&["7-string standard", "seven string", "7 string"], "B1 E2 A2 D3 G3 B3 E4"),
    (&["8-string standard", "eight string", "8 string"], "F#1 B1 E2 A2 D3 G3 B3 E4"),
];

/// Strings of an instrument and the fret of its capo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    name: String,
    open: Vec<u8>,
    capo: u8,
}

/// A tuning that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TuningError {
    /// Neither a name nor a list of notes.
    #[error(
        "`{text}` is no tuning known here: write one of {known}, or the open strings from low to high, as `E2 A2 D3 G3 B3 E4`"
    )]
    Unknown {
        /// What was asked for.
        text: String,
        /// The names nearest to it.
        known: String,
    },
    /// One word in a list of notes is no note.
    #[error("`{note}` in the tuning `{text}` is no note: write a letter and an octave, as E2, Bb3 or F#3")]
    Note {
        /// The word.
        note: String,
        /// The whole text.
        text: String,
    },
    /// Too low or too high.
    #[error("the open string {note} is out of reach: strings from B0 to E5 can be used")]
    Range {
        /// The note.
        note: String,
    },
    /// Too many strings.
    #[error("a tuning of {count} strings cannot be used: name 1 to 10 strings")]
    Strings {
        /// How many were named.
        count: usize,
    },
    /// The capo sits too high.
    #[error("a capo on fret {fret} cannot be used: choose fret 0 (none) to {MAX_CAPO}")]
    Capo {
        /// The fret.
        fret: u8,
    },
}

impl Default for Tuning {
    /// Standard tuning of a six-string guitar, no capo.
    fn default() -> Self {
        Self { name: "standard".into(), open: vec![40, 45, 50, 55, 59, 64], capo: 0 }
    }
}

impl Tuning {
    /// Every tuning with a name, and its open strings from low to high, as they are usually written.
    pub fn named() -> impl Iterator<Item = (&'static str, &'static str)> {
        NAMED.iter().map(|(names, strings)| (names[0], *strings))
    }

    /// Reads a name (`standard`, `Drop-D`, `open g`) or the open strings from low to high (`E2 A2 D3 G3 B3 E4`). Six to
    /// eight strings need no octaves (`D A D G B E`): each then lies as near to the standard string as it can.
    /// An empty text is standard tuning.
    ///
    /// # Errors
    /// When the text is neither, with the nearest names; when a string is out of reach; with no or more than ten
    /// strings.
    pub fn parse(text: &str) -> Result<Self, TuningError> {
        let squeezed = squeeze(text);
        if squeezed.is_empty() {
            return Ok(Self::default());
        }
        for (names, strings) in NAMED {
            if names.iter().any(|name| squeeze(name) == squeezed) {
                return Ok(Self { name: names[0].into(), open: Self::notes(strings)?, capo: 0 });
            }
        }
        if let Some(open) = without_octaves(text) {
            let name = open.iter().map(|&m| midi_name(m, !text.contains('b'))).collect::<Vec<_>>().join(" ");
            return Ok(Self { name, open, capo: 0 });
        }
        let words = text.split([' ', ',', ';', '/']).filter(|w| !w.is_empty()).count();
        let notes = text.split([' ', ',', ';', '/']).filter(|w| parse_midi(w).is_some()).count();
        // Mostly notes: a slip in one of them is worth naming; anything else is a name.
        if notes * 2 > words {
            let open = Self::notes(text)?;
            let name = open.iter().map(|&m| midi_name(m, !text.contains('b'))).collect::<Vec<_>>().join(" ");
            return Ok(Self { name, open, capo: 0 });
        }
        let mut near: Vec<(usize, &str)> = NAMED
            .iter()
            .flat_map(|(names, _)| names.iter())
            .map(|name| (strsim::damerau_levenshtein(&squeeze(name), &squeezed), *name))
            .collect();
        near.sort();
        let known = near.iter().take(3).map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
        Err(TuningError::Unknown { text: text.trim().into(), known })
    }

    fn notes(text: &str) -> Result<Vec<u8>, TuningError> {
        let mut open = Vec::new();
        for word in text.split([' ', ',', ';', '/']).filter(|w| !w.is_empty()) {
            let midi = parse_midi(word)
                .ok_or_else(|| TuningError::Note { note: word.into(), text: text.trim().into() })?;
            if !OPEN_STRING.contains(&midi) {
                return Err(TuningError::Range { note: word.into() });
            }
            open.push(midi);
        }
        if STRINGS.contains(&open.len()) { Ok(open) } else { Err(TuningError::Strings { count: open.len() }) }
    }

    /// The same strings with a capo on `fret` (0: none).
    ///
    /// # Errors
    /// Above fret 12.
    pub fn with_capo(mut self, fret: u8) -> Result<Self, TuningError> {
        if fret > MAX_CAPO {
            return Err(TuningError::Capo { fret });
        }
        self.capo = fret;
        Ok(self)
    }

    /// Name shown to the player.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Fret of the capo; 0: none.
    #[must_use]
    pub fn capo(&self) -> u8 {
        self.capo
    }

    /// MIDI numbers of the strings played open (capo counted in), from the lowest-lying string up.
    #[must_use]
    pub fn strings(&self) -> Vec<u8> {
        self.open.iter().map(|m| m + self.capo).collect()
    }

    /// Lowest note that can be played.
    #[must_use]
    pub fn lowest(&self) -> u8 {
        self.open.iter().min().map_or(0, |m| m + self.capo)
    }

    /// Highest note that can be played (24 frets).
    #[must_use]
    pub fn highest(&self) -> u8 {
        self.open.iter().max().map_or(0, |m| m + FRETS)
    }

    /// Every place where a note can be played, as (string, fret): strings are counted as players count them,
    /// 1 being the last of [`strings`](Self::strings) (the thinnest); frets are counted from the capo.
    #[must_use]
    pub fn positions(&self, midi: u8) -> Vec<(u8, u8)> {
        let count = self.open.len();
        let reach = FRETS - self.capo;
        (0..count)
            .rev()
            .filter_map(|i| {
                let fret = midi.checked_sub(self.open[i] + self.capo)?;
                (fret <= reach).then_some(((count - i) as u8, fret))
            })
            .collect()
    }
}

/// Strings named without octaves, low to high, as `D A D G B E` or `DADGBE`: as near to the standard strings as can be,
/// downwards where two are as near. `None` for any other text or number of strings.
fn without_octaves(text: &str) -> Option<Vec<u8>> {
    /// Standard strings of eight; a guitar with fewer lacks the lowest.
    const STANDARD: [u8; 8] = [30, 35, 40, 45, 50, 55, 59, 64];
    let mut classes = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = NoteName::parse_prefix(rest)?;
        classes.push(name.pitch_class());
        rest = after.trim_start_matches([' ', ',', ';', '/', '-']);
    }
    if !(6..=STANDARD.len()).contains(&classes.len()) {
        return None;
    }
    let standard = &STANDARD[STANDARD.len() - classes.len()..];
    let near = |(&midi, &class): (&u8, &u8)| {
        let away = (i16::from(class) - i16::from(midi)).rem_euclid(12);
        let away = if away >= 6 { away - 12 } else { away };
        u8::try_from(i16::from(midi) + away).ok().filter(|m| OPEN_STRING.contains(m))
    };
    standard.iter().zip(&classes).map(near).collect()
}

/// Letters, digits and signs alone, in lower case: `Drop-D`, `drop d` and `DROP D` are one.
fn squeeze(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| {
            if c == '♯' {
                '#'
            } else if c == '♭' {
                'b'
            } else {
                c
            }
        })
        .filter(|c| c.is_alphanumeric() || *c == '#')
        .flat_map(char::to_lowercase)
        .collect();
    plain.strip_suffix("tuning").map(String::from).unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_tuning_reads_and_is_playable() {
        for (names, strings) in NAMED {
            for name in names {
                let tuning = Tuning::parse(name).unwrap();
                assert_eq!(tuning.name(), names[0]);
                assert_eq!(tuning.strings(), Tuning::parse(strings).unwrap().strings(), "{name}");
            }
        }
        assert_eq!(Tuning::parse("").unwrap(), Tuning::default());
        assert_eq!(Tuning::parse("Drop-D tuning").unwrap().strings()[0], 38);
        assert_eq!(Tuning::parse("E♭ standard").unwrap().strings()[0], 39);
        assert_eq!(Tuning::parse("e2,a2,d3").unwrap().strings(), [40, 45, 50]);
    }

    #[test]
    fn octaves_may_be_left_out() {
        let strings = |t: &str| Tuning::parse(t).map(|t| t.strings());
        assert_eq!(strings("D A D G B E"), strings("drop D"));
        assert_eq!(strings("CGCGCE"), strings("open C"));
        assert_eq!(strings("Eb Ab Db Gb Bb Eb"), strings("half step down"));
        assert_eq!(strings("B,E,A,D,G,B,E"), strings("7-string standard"));
        assert_eq!(strings("F# B E A D G B E"), strings("8-string standard"));
        assert!(strings("D A D").is_err(), "three strings need octaves");
        assert!(strings("D A D G B H").is_err());
    }

    #[test]
    fn errors_say_what_to_do() {
        let text = |t: &str| Tuning::parse(t).unwrap_err().to_string();
        assert!(text("drop x").contains("drop"), "{}", text("drop x"));
        assert!(text("E2 A2 D3 G3 B3 Q4").contains("`Q4`"));
        assert!(text("E9").contains("B0 to E5"));
        assert!(text(&"E2 ".repeat(11)).contains("11 strings"));
        assert!(Tuning::default().with_capo(13).unwrap_err().to_string().contains("fret 13"));
    }

    #[test]
    fn positions_count_like_players_do() {
        let guitar = Tuning::default();
        assert_eq!(guitar.positions(64), [(1, 0), (2, 5), (3, 9), (4, 14), (5, 19), (6, 24)]);
        assert_eq!(guitar.positions(40), [(6, 0)]);
        assert!(guitar.positions(39).is_empty() && guitar.positions(90).is_empty());
        assert_eq!((guitar.lowest(), guitar.highest()), (40, 88));
        let capo = guitar.with_capo(3).unwrap();
        assert_eq!(capo.strings()[0], 43);
        assert_eq!(capo.positions(43), [(6, 0)]);
        assert_eq!(capo.positions(88), [(1, 21)]);
    }
}
