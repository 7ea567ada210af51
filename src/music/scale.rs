//! Scales: read by name, forgiving of spelling; spelled as the key wants it; asked which notes they hold.

use std::fmt;

use super::note::{NoteName, OCTAVE};

/// One degree of a scale, as musicians write it: `b3` is the third letter, one semitone below the major third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Degree {
    /// 1..=7: which letter, counted from the root.
    pub number: u8,
    /// Sharps (positive) or flats (negative) against the major scale.
    pub accidental: i8,
}

impl Degree {
    /// Semitones above the root, 0..=11.
    #[must_use]
    pub fn semitones(self) -> u8 {
        const MAJOR: [i16; 7] = [0, 2, 4, 5, 7, 9, 11];
        (MAJOR[usize::from((self.number + 6) % 7)] + i16::from(self.accidental)).rem_euclid(12) as u8
    }
}

impl fmt::Display for Degree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.accidental < 0 { "b" } else { "#" };
        write!(f, "{}{}", sign.repeat(self.accidental.unsigned_abs().into()), self.number)
    }
}

const fn n(number: u8) -> Degree {
    Degree { number, accidental: 0 }
}
const fn flat(number: u8) -> Degree {
    Degree { number, accidental: -1 }
}
const fn sharp(number: u8) -> Degree {
    Degree { number, accidental: 1 }
}

/// The kinds of scale, whatever the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleKind {
    /// Major.
    Major,
    /// Natural minor.
    Minor,
    /// Major pentatonic.
    MajorPentatonic,
    /// Minor pentatonic.
    MinorPentatonic,
    /// Minor pentatonic with the flat fifth.
    Blues,
    /// Major pentatonic with the flat third.
    MajorBlues,
    /// Minor with a raised seventh.
    HarmonicMinor,
    /// Minor with raised sixth and seventh (ascending form, both ways).
    MelodicMinor,
    /// First mode: the notes of major.
    Ionian,
    /// Second mode.
    Dorian,
    /// Third mode.
    Phrygian,
    /// Fourth mode.
    Lydian,
    /// Fifth mode.
    Mixolydian,
    /// Sixth mode: the notes of natural minor.
    Aeolian,
    /// Seventh mode.
    Locrian,
    /// Fifth mode of harmonic minor.
    PhrygianDominant,
    /// All twelve notes.
    Chromatic,
}

impl ScaleKind {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Major,
        Self::Minor,
        Self::MajorPentatonic,
        Self::MinorPentatonic,
        Self::Blues,
        Self::MajorBlues,
        Self::HarmonicMinor,
        Self::MelodicMinor,
        Self::Ionian,
        Self::Dorian,
        Self::Phrygian,
        Self::Lydian,
        Self::Mixolydian,
        Self::Aeolian,
        Self::Locrian,
        Self::PhrygianDominant,
        Self::Chromatic,
    ];

    /// Name without the root.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Major => "major",
            Self::Minor => "minor",
            Self::MajorPentatonic => "major pentatonic",
            Self::MinorPentatonic => "minor pentatonic",
            Self::Blues => "blues",
            Self::MajorBlues => "major blues",
            Self::HarmonicMinor => "harmonic minor",
            Self::MelodicMinor => "melodic minor",
            Self::Ionian => "ionian",
            Self::Dorian => "dorian",
            Self::Phrygian => "phrygian",
            Self::Lydian => "lydian",
            Self::Mixolydian => "mixolydian",
            Self::Aeolian => "aeolian",
            Self::Locrian => "locrian",
            Self::PhrygianDominant => "phrygian dominant",
            Self::Chromatic => "chromatic",
        }
    }

    /// Its degrees, rising from the root.
    #[must_use]
    pub fn degrees(self) -> &'static [Degree] {
        match self {
            Self::Major | Self::Ionian => const { &[n(1), n(2), n(3), n(4), n(5), n(6), n(7)] },
            Self::Minor | Self::Aeolian => const { &[n(1), n(2), flat(3), n(4), n(5), flat(6), flat(7)] },
            Self::MajorPentatonic => const { &[n(1), n(2), n(3), n(5), n(6)] },
            Self::MinorPentatonic => const { &[n(1), flat(3), n(4), n(5), flat(7)] },
            Self::Blues => const { &[n(1), flat(3), n(4), flat(5), n(5), flat(7)] },
            Self::MajorBlues => const { &[n(1), n(2), flat(3), n(3), n(5), n(6)] },
            Self::HarmonicMinor => const { &[n(1), n(2), flat(3), n(4), n(5), flat(6), n(7)] },
            Self::MelodicMinor => const { &[n(1), n(2), flat(3), n(4), n(5), n(6), n(7)] },
            Self::Dorian => const { &[n(1), n(2), flat(3), n(4), n(5), n(6), flat(7)] },
            Self::Phrygian => const { &[n(1), flat(2), flat(3), n(4), n(5), flat(6), flat(7)] },
            Self::Lydian => const { &[n(1), n(2), n(3), sharp(4), n(5), n(6), n(7)] },
            Self::Mixolydian => const { &[n(1), n(2), n(3), n(4), n(5), n(6), flat(7)] },
            Self::Locrian => const { &[n(1), flat(2), flat(3), n(4), flat(5), flat(6), flat(7)] },
            Self::PhrygianDominant => const { &[n(1), flat(2), n(3), n(4), n(5), flat(6), flat(7)] },
            Self::Chromatic => {
                const { &[n(1), flat(2), n(2), flat(3), n(3), n(4), flat(5), n(5), flat(6), n(6), flat(7), n(7)] }
            }
        }
    }

    /// Words that must be there, and words that may be there besides.
    fn words(self) -> (&'static [Word], &'static [Word]) {
        use Word::{
            Aeolian, Blues, Chromatic, Dominant, Dorian, Harmonic, Ionian, Locrian, Lydian, Major, Melodic,
            Minor, Mixolydian, Natural, Pentatonic, Phrygian,
        };
        match self {
            Self::Major => (&[], &[Major, Natural]),
            Self::Minor => (&[Minor], &[Natural]),
            Self::MajorPentatonic => (&[Major, Pentatonic], &[]),
            // Unqualified, guitarists mean the minor one, as with the blues scale.
            Self::MinorPentatonic => (&[Pentatonic], &[Minor]),
            Self::Blues => (&[Blues], &[Minor, Pentatonic]),
            Self::MajorBlues => (&[Major, Blues], &[Pentatonic]),
            Self::HarmonicMinor => (&[Harmonic], &[Minor]),
            Self::MelodicMinor => (&[Melodic], &[Minor]),
            Self::Ionian => (&[Ionian], &[Major]),
            Self::Dorian => (&[Dorian], &[Minor]),
            Self::Phrygian => (&[Phrygian], &[Minor]),
            Self::Lydian => (&[Lydian], &[Major]),
            Self::Mixolydian => (&[Mixolydian], &[Major, Dominant]),
            Self::Aeolian => (&[Aeolian], &[Minor, Natural]),
            Self::Locrian => (&[Locrian], &[Minor]),
            Self::PhrygianDominant => (&[Phrygian, Dominant], &[Major]),
            Self::Chromatic => (&[Chromatic], &[]),
        }
    }
}

/// A root and a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scale {
    root: NoteName,
    kind: ScaleKind,
}

/// A text that names no scale.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// Nothing was written.
    #[error("no scale was named: write a note and a kind, as \"A minor pentatonic\" or \"F# dorian\"")]
    Empty,
    /// A kind without a root.
    #[error("\"{text}\" names no root: write for example \"{example}\"")]
    NoRoot {
        /// What was asked for.
        text: String,
        /// The same kind on a root.
        example: String,
    },
    /// Not understood.
    #[error("\"{text}\" is no scale known here; nearest: {}", nearest.join(", "))]
    Unknown {
        /// What was asked for.
        text: String,
        /// Names that would have been understood, nearest first.
        nearest: Vec<String>,
    },
}

/// Words that make up the name of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Major,
    Minor,
    Natural,
    Harmonic,
    Melodic,
    Pentatonic,
    Blues,
    Ionian,
    Dorian,
    Phrygian,
    Lydian,
    Mixolydian,
    Aeolian,
    Locrian,
    Dominant,
    Chromatic,
    /// Understood and without meaning: "scale", "in", "the", …
    Filler,
}

/// Every spelling that is taken; the first of a word is its full form, against which slips are measured.
const WORDS: [(Word, &[&str]); 17] = [
    (Word::Major, &["major", "maj", "ma", "dur", "majeur", "mayor", "maggiore"]),
    (Word::Minor, &["minor", "min", "mi", "m", "mn", "moll", "mol", "mineur", "menor", "minore"]),
    (Word::Natural, &["natural", "nat", "pure", "plain"]),
    (Word::Harmonic, &["harmonic", "harm", "har", "harmonisch"]),
    (Word::Melodic, &["melodic", "mel", "melo", "melodisch"]),
    (Word::Pentatonic, &["pentatonic", "pent", "penta", "pen", "pentatonik", "pentatonisch"]),
    (Word::Blues, &["blues", "blue", "bluesy", "bl"]),
    (Word::Ionian, &["ionian", "ion", "ionisch"]),
    (Word::Dorian, &["dorian", "dor", "dorisch"]),
    (Word::Phrygian, &["phrygian", "phr", "phry", "phryg", "phrygisch"]),
    (Word::Lydian, &["lydian", "lyd", "lydisch"]),
    (Word::Mixolydian, &["mixolydian", "mix", "mixo", "mixolyd", "mixolydisch"]),
    (Word::Aeolian, &["aeolian", "aeo", "aeol", "eolian", "aolian", "äolisch"]),
    (Word::Locrian, &["locrian", "loc", "locr", "lokrisch"]),
    (Word::Dominant, &["dominant", "dom"]),
    (Word::Chromatic, &["chromatic", "chrom", "chromatisch"]),
    (
        Word::Filler,
        &["scale", "scales", "in", "of", "the", "key", "mode", "on", "from", "diatonic", "tonleiter", "and"],
    ),
];

/// German names that differ from letter and sign (`H` is B natural; `fis moll`, `Es-Dur`).
const GERMAN: [(&str, &str); 14] = [
    ("h", "B"),
    ("his", "B#"),
    ("cis", "C#"),
    ("dis", "D#"),
    ("eis", "E#"),
    ("fis", "F#"),
    ("gis", "G#"),
    ("ais", "A#"),
    ("ces", "Cb"),
    ("des", "Db"),
    ("es", "Eb"),
    ("fes", "Fb"),
    ("ges", "Gb"),
    ("as", "Ab"),
];

/// How many names an error offers.
const OFFERED: usize = 3;

impl Scale {
    /// A kind on a root.
    #[must_use]
    pub fn new(root: NoteName, kind: ScaleKind) -> Self {
        Self { root, kind }
    }

    /// Reads a name. Case (but for `M` major and `m` minor), order of words, abbreviations, signs or words for
    /// accidentals and small slips do not matter: `A minor pentatonic`, `Am pent`, `pentatonic minor in A`,
    /// `F♯ dorain`, `b flat blues`, `a-moll`, `C`. A root alone is major; `pentatonic` and `blues` without a
    /// further word are minor.
    ///
    /// # Errors
    /// [`ScaleError`] with the nearest names.
    pub fn parse(text: &str) -> Result<Self, ScaleError> {
        if text.trim().is_empty() {
            return Err(ScaleError::Empty);
        }
        let words = words_of(text);
        let shouted = words.len() > 1 && !text.chars().any(char::is_lowercase);
        let mut roots: Vec<(NoteName, bool)> = Vec::new();
        let mut kinds: Vec<Word> = Vec::new();
        let mut understood = true;
        for word in &words {
            match read_word(word, shouted) {
                Some((root, kind)) => {
                    roots.extend(root.map(|r| (r, word == "a")));
                    kinds.extend(kind.filter(|k| *k != Word::Filler));
                }
                None => understood = false,
            }
        }
        // In "play a C major scale" the `a` is an article.
        if roots.len() > 1 {
            roots.retain(|(_, article)| !article);
        }
        let root = roots.first().map(|(root, _)| *root);
        let kind = understood.then(|| kind_of(&kinds)).flatten();
        match (root, kind) {
            (Some(root), Some(kind)) if roots.len() == 1 => Ok(Self { root, kind }),
            (None, Some(kind)) if !kinds.is_empty() => {
                Err(ScaleError::NoRoot { text: text.trim().into(), example: format!("A {}", kind.name()) })
            }
            _ => Err(ScaleError::Unknown { text: text.trim().into(), nearest: nearest_names(&words, root) }),
        }
    }

    /// Name shown to the player: `A minor pentatonic`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.root, self.kind.name())
    }

    /// The root, spelled.
    #[must_use]
    pub fn root(&self) -> NoteName {
        self.root
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ScaleKind {
        self.kind
    }

    /// Degrees, rising from the root (`1`, `b3`, …).
    #[must_use]
    pub fn degrees(&self) -> &'static [Degree] {
        self.kind.degrees()
    }

    /// True when a MIDI note belongs to the scale, in any octave.
    #[must_use]
    pub fn contains(&self, midi: u8) -> bool {
        let above = (midi % OCTAVE + OCTAVE - self.root.pitch_class()) % OCTAVE;
        self.degrees().iter().any(|d| d.semitones() == above)
    }

    /// The notes, rising from the root, spelled for the key: each letter once where the scale has seven notes
    /// (`F#`, `G#`, `A`, `B`, `C#`, `D#`, `E`).
    #[must_use]
    pub fn pitch_classes(&self) -> Vec<String> {
        self.degrees().iter().map(|d| self.spelled(*d).to_string()).collect()
    }

    /// Name of any pitch class in this key: the scale's own spelling if it holds it, else with the
    /// accidentals that the key uses.
    #[must_use]
    pub fn spell(&self, midi: u8) -> NoteName {
        let pc = midi % OCTAVE;
        let sharps = self.degrees().iter().all(|d| self.spelled(*d).accidental() >= 0);
        self.degrees()
            .iter()
            .map(|d| self.spelled(*d))
            .find(|name| name.pitch_class() == pc)
            .unwrap_or_else(|| NoteName::of_pitch_class(pc, sharps))
    }

    fn spelled(&self, degree: Degree) -> NoteName {
        let pc = (self.root.pitch_class() + degree.semitones()) % OCTAVE;
        if self.kind == ScaleKind::Chromatic {
            // Twelve notes share seven letters: plain names, by the root's own sign.
            return NoteName::of_pitch_class(pc, self.root.accidental() >= 0);
        }
        NoteName::on_letter(self.root.letter() + degree.number - 1, pc)
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl std::str::FromStr for Scale {
    type Err = ScaleError;
    fn from_str(text: &str) -> Result<Self, ScaleError> {
        Self::parse(text)
    }
}

/// Splits into words, with accidentals as signs joined to their letter; case is kept.
fn words_of(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let plain: String = text
        .chars()
        .map(|c| match c {
            '♯' | '＃' => '#',
            '♭' => 'b',
            c if c.is_alphanumeric() || c == '#' => c,
            _ => ' ',
        })
        .collect();
    for word in plain.split_whitespace() {
        let sign = match word {
            "#" => Some("#"),
            // A small `b` alone after the first letter is a sign; a capital one would be a second root.
            "b" if words.len() == 1 => Some("b"),
            _ if word.eq_ignore_ascii_case("sharp") => Some("#"),
            _ if word.eq_ignore_ascii_case("flat") => Some("b"),
            _ => None,
        };
        match (sign, words.last_mut()) {
            (Some(sign), Some(last)) if is_letter(last) => last.push_str(sign),
            _ => match split_sign(word) {
                Some(joined) => words.push(joined),
                None => words.push(word.into()),
            },
        }
    }
    words
}

fn is_letter(word: &str) -> bool {
    word.len() == 1 && NoteName::parse(word).is_some()
}

/// `Csharp` and `bflat` in one word.
fn split_sign(word: &str) -> Option<String> {
    let lower = word.to_lowercase();
    for (tail, sign) in [("sharp", "#"), ("flat", "b")] {
        if let Some(letter) = lower.strip_suffix(tail).filter(|l| is_letter(l)) {
            return Some(format!("{letter}{sign}"));
        }
    }
    None
}

/// Reads one word as a root, a word of a kind, or both in one (`F#m`). `None` when it is neither.
fn read_word(word: &str, shouted: bool) -> Option<(Option<NoteName>, Option<Word>)> {
    let exact = |part: &str| -> Option<Word> {
        if part == "M" && !shouted {
            return Some(Word::Major);
        }
        let part = part.to_lowercase();
        WORDS.iter().find(|(_, spellings)| spellings.contains(&part.as_str())).map(|(w, _)| *w)
    };
    if let Some(found) = exact(word) {
        return Some((None, Some(found)));
    }
    let lower = word.to_lowercase();
    if let Some(root) = NoteName::parse(&signs(word)) {
        return Some((Some(root), None));
    }
    let split = NoteName::parse_prefix(word);
    if let Some((root, rest)) = split
        && let Some(found) = exact(rest)
    {
        return Some((Some(root), Some(found)));
    }
    // `Bbm` reads as B♭ minor above; `Bblues` needs the shorter root.
    if let Some((letter, rest)) = word.split_at_checked(1)
        && let (Some(root), Some(found)) = (NoteName::parse(letter), exact(rest))
    {
        return Some((Some(root), Some(found)));
    }
    if let Some((_, name)) = GERMAN.iter().find(|(german, _)| *german == lower) {
        return Some((NoteName::parse(name), None));
    }
    if let Some(found) = slip(&lower) {
        return Some((None, Some(found)));
    }
    let (root, rest) = split?;
    slip(&rest.to_lowercase()).map(|found| (Some(root), Some(found)))
}

/// `BB` is B flat too.
fn signs(word: &str) -> String {
    let mut chars = word.chars();
    let first: String = chars.next().into_iter().collect();
    first + &chars.as_str().to_lowercase()
}

/// A word with a small slip: one edit in up to five letters, two in longer words, and no second word as near.
fn slip(word: &str) -> Option<Word> {
    let length = word.chars().count();
    if length < 3 {
        return None;
    }
    // A clear beginning of a long word is no slip at all: `mixolyd`, `pentat`.
    let mut begun = WORDS.iter().filter(|(_, s)| s[0].starts_with(word));
    if let (Some((found, _)), None) = (begun.next(), begun.next()) {
        return Some(*found);
    }
    let allowed = if length <= 5 { 1 } else { 2 };
    let mut near: Vec<(usize, Word)> = WORDS
        .iter()
        .filter(|(found, _)| *found != Word::Filler)
        .map(|(found, spellings)| (strsim::damerau_levenshtein(spellings[0], word), *found))
        .filter(|(distance, _)| *distance <= allowed)
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    match near.as_slice() {
        [(_, found)] => Some(*found),
        [(first, found), (second, _), ..] if first < second => Some(*found),
        _ => None,
    }
}

/// The kind that these words name: all that it needs, and nothing that it does not know.
fn kind_of(words: &[Word]) -> Option<ScaleKind> {
    ScaleKind::ALL
        .into_iter()
        .filter(|kind| {
            let (needed, allowed) = kind.words();
            needed.iter().all(|w| words.contains(w))
                && words.iter().all(|w| needed.contains(w) || allowed.contains(w))
        })
        .max_by_key(|kind| kind.words().0.len())
}

fn nearest_names(words: &[String], root: Option<NoteName>) -> Vec<String> {
    let asked = words.join(" ").to_lowercase();
    let roots: Vec<NoteName> = match root {
        Some(root) => vec![root],
        None => (0..OCTAVE).map(|pc| NoteName::of_pitch_class(pc, true)).collect(),
    };
    let mut near: Vec<(usize, String)> = roots
        .iter()
        .flat_map(|root| ScaleKind::ALL.map(|kind| Scale::new(*root, kind).name()))
        .map(|name| (strsim::damerau_levenshtein(&name.to_lowercase(), &asked), name))
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter().take(OFFERED).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> String {
        Scale::parse(text).map_or_else(|e| format!("error: {e}"), |s| s.name())
    }

    #[test]
    fn names_are_read_as_players_write_them() {
        for (text, expected) in [
            ("A minor pentatonic", "A minor pentatonic"),
            ("Am pent", "A minor pentatonic"),
            ("am pentatonic", "A minor pentatonic"),
            ("AM PENTATONIC", "A minor pentatonic"),
            ("A pent", "A minor pentatonic"),
            ("pentatonic minor in A", "A minor pentatonic"),
            ("minor pentatonic, A", "A minor pentatonic"),
            ("A_minor_pentatonic", "A minor pentatonic"),
            ("a minr pentatnoic", "A minor pentatonic"),
            ("A Maj Pent", "A major pentatonic"),
            ("F# dorian", "F# dorian"),
            ("f♯ dorain", "F# dorian"),
            ("F sharp dorian", "F# dorian"),
            ("fsharp dor", "F# dorian"),
            ("dorian F#", "F# dorian"),
            ("C", "C major"),
            ("c", "C major"),
            ("CM", "C major"),
            ("Cmaj", "C major"),
            ("Cm", "C minor"),
            ("C-min", "C minor"),
            ("bb blues", "Bb blues"),
            ("BB BLUES", "Bb blues"),
            ("B♭ blues", "Bb blues"),
            ("b flat blues", "Bb blues"),
            ("B-flat Blues", "Bb blues"),
            ("Bblues", "B blues"),
            ("b blues", "B blues"),
            ("e major blues", "E major blues"),
            ("blues in e minor", "E blues"),
            ("A moll", "A minor"),
            ("a-Moll", "A minor"),
            ("H-Moll", "B minor"),
            ("fis moll", "F# minor"),
            ("Es-Dur", "Eb major"),
            ("A natural minor", "A minor"),
            ("harmonic minor of D", "D harmonic minor"),
            ("E melodic", "E melodic minor"),
            ("G mixo", "G mixolydian"),
            ("G mixolidian", "G mixolydian"),
            ("Gmix", "G mixolydian"),
            ("D phrygian dominant", "D phrygian dominant"),
            ("E phryg", "E phrygian"),
            ("the key of C", "C major"),
            ("a C major scale", "C major"),
            ("in the key of a", "A major"),
            ("Cb lydian mode", "Cb lydian"),
            ("A aeolian", "A aeolian"),
            ("aeolian a", "A aeolian"),
            ("B locrian", "B locrian"),
            ("C ionian", "C ionian"),
            ("chromatic C", "C chromatic"),
            ("Ebm", "Eb minor"),
            ("Abmaj", "Ab major"),
            ("Dminor", "D minor"),
            ("A min  pen", "A minor pentatonic"),
        ] {
            assert_eq!(name(text), expected, "{text}");
        }
    }

    #[test]
    fn every_root_and_kind_reads_back() {
        for letter in 0..7 {
            for accidental in -1..=1 {
                for kind in ScaleKind::ALL {
                    let scale = Scale::new(NoteName::new(letter, accidental), kind);
                    for text in [scale.name(), scale.name().to_uppercase(), scale.name().to_lowercase()] {
                        assert_eq!(Scale::parse(&text), Ok(scale), "{text}");
                    }
                    let last_first = format!("{} {}", kind.name(), scale.root());
                    assert_eq!(Scale::parse(&last_first), Ok(scale), "{last_first}");
                }
            }
        }
    }

    #[test]
    fn spelling_follows_the_key() {
        let notes = |text: &str| Scale::parse(text).unwrap().pitch_classes().join(" ");
        assert_eq!(notes("A minor pentatonic"), "A C D E G");
        assert_eq!(notes("F# dorian"), "F# G# A B C# D# E");
        assert_eq!(notes("Eb major"), "Eb F G Ab Bb C D");
        assert_eq!(notes("A harmonic minor"), "A B C D E F G#");
        assert_eq!(notes("E blues"), "E G A Bb B D");
        assert_eq!(notes("Gb major"), "Gb Ab Bb Cb Db Eb F");
        assert_eq!(notes("G# harmonic minor"), "G# A# B C# D# E F##");
        assert_eq!(notes("Bb chromatic"), "Bb B C Db D Eb E F Gb G Ab A");
        let scale = Scale::parse("F minor").unwrap();
        assert_eq!(scale.spell(63).to_string(), "Eb");
        assert_eq!(scale.spell(66).to_string(), "Gb");
        assert_eq!(Scale::parse("E major").unwrap().spell(65).to_string(), "F");
        assert_eq!(Scale::parse("A minor").unwrap().spell(61).to_string(), "C#");
        let degrees: Vec<String> = scale.degrees().iter().map(ToString::to_string).collect();
        assert_eq!(degrees.join(" "), "1 2 b3 4 5 b6 b7");
    }

    #[test]
    fn membership_holds_in_every_octave() {
        for kind in ScaleKind::ALL {
            for letter in 0..7 {
                let scale = Scale::new(NoteName::new(letter, 1), kind);
                let held = (0..120).filter(|m| scale.contains(*m)).count();
                assert_eq!(held, 10 * kind.degrees().len());
                assert!((0..120).step_by(12).all(|m| scale.contains(m + scale.root().pitch_class())));
            }
        }
    }

    #[test]
    fn errors_offer_the_nearest_names() {
        assert_eq!(Scale::parse(" "), Err(ScaleError::Empty));
        assert!(name("minor pentatonic").contains("A minor pentatonic"));
        assert!(name("A foonic").contains("nearest: A "), "{}", name("A foonic"));
        assert!(name("Q minor").contains("minor"), "{}", name("Q minor"));
        for text in
            ["A lydian blues", "A B minor", "A minor major", "Z", "12", "♯", "A 7", "💥", "Abbb", "h7"]
        {
            assert!(matches!(Scale::parse(text), Err(ScaleError::Unknown { .. })), "{text}: {}", name(text));
        }
    }
}
