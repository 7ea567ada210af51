//! From what a model writes to what may be said: sentence by sentence, plain, and never over the limit.

/// A cut may fall back to the last clause only if that keeps at least this share of the words allowed.
const CLAUSE_SHARE: f64 = 0.5;
/// Scripts written without spaces: this many characters are counted as a word.
const CHARS_A_WORD: usize = 2;

/// Takes text as it streams in, gives out whole sentences that fit the limit.
///
/// A sentence is held back until it is complete; one that would exceed the limit is never given out, and
/// nothing after it. If the very first sentence alone is too long, it is cut at a clause or word and ended cleanly.
#[derive(Clone, Debug)]
pub struct Gate {
    limit: usize,
    /// Written, but not yet a complete sentence.
    held: String,
    out: Vec<String>,
    words: usize,
    full: bool,
}

impl Gate {
    /// A gate for at most `limit` words in all.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, held: String::new(), out: Vec::new(), words: 0, full: false }
    }

    /// Takes a piece of text; gives out the sentences that it completes.
    pub fn push(&mut self, piece: &str) -> Vec<String> {
        if self.full {
            return Vec::new();
        }
        self.held.push_str(piece);
        let mut released = Vec::new();
        loop {
            // A model's thinking aloud is no advice, and while it thinks nothing is complete.
            if let Some(open) = self.held.find("<think>") {
                match self.held[open..].find("</think>") {
                    Some(len) => self.held.replace_range(open..open + len + "</think>".len(), " "),
                    None if open == 0 => break,
                    None => {}
                }
            }
            let visible = self.held.find("<think>").unwrap_or(self.held.len());
            let Some(end) = boundary(&self.held[..visible]) else {
                // A sentence that is already too long need not be waited for.
                if self.words + count(&clean(&self.held[..visible])) > self.limit && self.held.ends_with(' ')
                {
                    let rest = self.held[..visible].to_owned();
                    released.extend(self.release(&rest));
                    self.full = true;
                }
                break;
            };
            let sentence: String = self.held.drain(..end).collect();
            released.extend(self.release(&sentence));
            if self.full {
                break;
            }
        }
        released
    }

    /// The text has come to its end: what is still held is a sentence too.
    pub fn end(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.held);
        let visible = rest.find("<think>").unwrap_or(rest.len());
        if self.full { None } else { self.release(&rest[..visible]) }
    }

    /// Forgets what has not been given out.
    pub fn discard(&mut self) {
        self.held.clear();
    }

    /// True when nothing more will be given out.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// True before the first sentence.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Everything given out.
    #[must_use]
    pub fn text(&self) -> String {
        self.out.join(" ")
    }

    fn release(&mut self, sentence: &str) -> Option<String> {
        let mut sentence = clean(sentence);
        if self.out.is_empty() {
            sentence = without_label(&sentence);
        }
        let n = count(&sentence);
        if n == 0 {
            return None;
        }
        if self.words + n > self.limit {
            self.full = true;
            if !self.out.is_empty() {
                return None;
            }
            sentence = cut(&sentence, self.limit);
            if sentence.is_empty() {
                return None;
            }
        }
        self.words += count(&sentence);
        self.full |= self.words >= self.limit;
        self.out.push(sentence.clone());
        Some(sentence)
    }
}

/// Words as a listener counts them.
#[must_use]
pub fn count(text: &str) -> usize {
    text.split_whitespace()
        .map(|word| {
            let dense = word.chars().filter(|c| is_dense(*c)).count();
            let other = word.chars().any(|c| c.is_alphanumeric() && !is_dense(c));
            dense.div_ceil(CHARS_A_WORD) + usize::from(other)
        })
        .sum()
}

/// Chinese characters and Japanese kana, which stand without spaces.
fn is_dense(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

/// Where the first sentence ends, in bytes; `None` while it may still go on.
fn boundary(text: &str) -> Option<usize> {
    for (i, c) in text.char_indices() {
        match c {
            '\n' if text[..i].chars().any(char::is_alphanumeric) => return Some(i + 1),
            '。' | '！' | '？' => return Some(i + c.len_utf8()),
            '.' | '!' | '?' | '…' => {
                let after = &text[i + c.len_utf8()..];
                let closing = after.find(|c: char| {
                    !matches!(c, '"' | '\'' | '”' | '’' | ')' | '*' | '_' | '.' | '!' | '?')
                })?;
                if after[closing..].starts_with(char::is_whitespace)
                    && !(c == '.' && is_abbreviation(&text[..i]))
                {
                    return Some(i + c.len_utf8() + closing);
                }
            }
            _ => {}
        }
    }
    None
}

/// The full stop after this does not end a sentence: `1.` at the start of a line, `e.g.`, `vs.`.
fn is_abbreviation(before: &str) -> bool {
    const KNOWN: [&str; 8] = ["e.g", "i.e", "vs", "approx", "ca", "etc", "z.b", "bzw"];
    let line = before.rsplit('\n').next().unwrap_or(before);
    let word = line.rsplit(char::is_whitespace).next().unwrap_or(line);
    let word = word.trim_start_matches(['(', '*', '"']).to_ascii_lowercase();
    let numbers_a_line = line.trim().chars().all(|c| c.is_ascii_digit()) && !line.trim().is_empty();
    numbers_a_line || KNOWN.contains(&word.as_str())
}

/// Plain text on one line, with an end: no markdown, lists, emoji, addresses, quotation marks around it.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut line = line.trim();
        loop {
            let before = line;
            line = line.trim_start_matches(['#', '>', '-', '*', '•', '–', '+', '|']).trim_start();
            if let Some((number, rest)) = line.split_once(['.', ')']) {
                let marks =
                    !number.is_empty() && number.len() <= 2 && number.bytes().all(|b| b.is_ascii_digit());
                if marks && rest.starts_with(' ') {
                    line = rest.trim_start();
                }
            }
            if line == before {
                break;
            }
        }
        let line = without_links(line);
        words.extend(line.split_whitespace().filter_map(plain_word));
    }
    let mut out = words.join(" ");
    for pair in [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»')] {
        // Only where they enclose the whole.
        if out.starts_with(pair.0) && out.ends_with(pair.1) && out.chars().count() > 1 {
            out = out.trim_start_matches(pair.0).trim_end_matches(pair.1).to_owned();
        }
    }
    finish(out)
}

/// One word without marks-up; `None` when nothing is left of it.
fn plain_word(word: &str) -> Option<String> {
    if word.starts_with("http://") || word.starts_with("https://") || word.starts_with("www.") {
        return None;
    }
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        let after_note = out.chars().last().is_some_and(|n| ('A'..='G').contains(&n));
        match c {
            '*' | '`' | '_' | '|' | '~' => {}
            '♯' => out.push('#'),
            '♭' => out.push('b'),
            // A sharp stays, a heading or hashtag goes.
            '#' if !after_note => {}
            '→' => out.push_str("to"),
            c if is_pictograph(c) || c.is_control() => {}
            c => out.push(c),
        }
    }
    (!out.is_empty()).then_some(out)
}

/// Emoji, dingbats, arrows, and what joins and colours them.
fn is_pictograph(c: char) -> bool {
    matches!(u32::from(c),
        0x1f000..=0x1fbff | 0x2600..=0x27bf | 0x2190..=0x21ff | 0x2300..=0x23ff | 0x2b00..=0x2bff
        | 0xfe00..=0xfe0f | 0x200b..=0x200f | 0x20e3 | 0xe0020..=0xe007f)
}

/// `[text](url)` → `text`, `<tag>` → nothing.
fn without_links(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(i) = rest.find(['[', '<']) {
        out.push_str(&rest[..i]);
        let tail = &rest[i..];
        if let Some((text, after)) = tail.strip_prefix('[').and_then(|t| t.split_once("]("))
            && let Some((_, after)) = after.split_once(')')
        {
            out.push_str(text);
            rest = after;
            continue;
        }
        let tag = tail.find('>').filter(|_| {
            tail.starts_with('<') && tail[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        });
        if let Some(end) = tag {
            rest = &tail[end + 1..];
            continue;
        }
        out.push_str(&tail[..1]);
        rest = &tail[1..];
    }
    out.push_str(rest);
    out
}

/// Models like to announce themselves: `Advice: …`.
fn without_label(sentence: &str) -> String {
    if let Some((label, rest)) = sentence.split_once(':') {
        let label = label.trim().to_ascii_lowercase();
        if matches!(
            label.as_str(),
            "advice" | "feedback" | "coach" | "tip" | "answer" | "summary" | "response"
        ) {
            return rest.trim_start().trim_start_matches(['"', '“']).to_owned();
        }
    }
    sentence.to_owned()
}

/// Ends a sentence properly.
fn finish(mut text: String) -> String {
    let cut = text.trim_end_matches([',', ';', ':', ' ', '-', '–', '—', '(']).len();
    text.truncate(cut);
    let ends =
        text.trim_end_matches(['"', '”', '’', '\'', ')']).ends_with(['.', '!', '?', '…', '。', '！', '？']);
    if !text.is_empty() && !ends {
        text.push('.');
    }
    text
}

/// The first `limit` words, back to the last clause if that keeps enough, without dangling small words.
fn cut(sentence: &str, limit: usize) -> String {
    const JOIN: [&str; 14] = [
        "and", "but", "so", "because", "while", "which", "then", "und", "aber", "denn", "weil", "pero",
        "mais", "et",
    ];
    const DANGLE: [&str; 34] = [
        "a", "an", "the", "to", "of", "with", "by", "your", "is", "are", "was", "at", "on", "in", "for",
        "from", "and", "but", "or", "so", "that", "this", "each", "every", "as", "than", "be", "try", "und",
        "der", "die", "das", "mit", "very",
    ];
    let mut words: Vec<&str> = Vec::new();
    let mut n = 0;
    for word in sentence.split_whitespace() {
        n += count(word);
        if n > limit {
            break;
        }
        words.push(word);
    }
    if words.is_empty() {
        // One endless word: the longest begin of it that fits.
        let begin = sentence.char_indices().map(|(i, c)| &sentence[..i + c.len_utf8()]);
        return finish(begin.take_while(|b| count(b) <= limit).last().unwrap_or_default().to_owned());
    }
    let bare = |w: &str| w.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    #[expect(clippy::cast_precision_loss, reason = "a few dozen words")]
    let enough = |i: usize| i as f64 >= limit as f64 * CLAUSE_SHARE;
    let clause = (1..words.len()).rev().find(|&i| {
        enough(i)
            && (words[i - 1].ends_with([',', ';', ':', '—', '–']) || JOIN.contains(&bare(words[i]).as_str()))
    });
    words.truncate(clause.unwrap_or(words.len()));
    while words.len() > 1 && words.last().is_some_and(|w| DANGLE.contains(&bare(w).as_str())) {
        words.pop();
    }
    finish(words.join(" "))
}

/// The text as an engine should read it. Only English has the words for it; in other languages models
/// write note names as they are said.
#[must_use]
pub fn spoken(text: &str, english: bool) -> String {
    if !english {
        return text.to_owned();
    }
    let words = text.split(' ').map(|word| {
        let core_end = word.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '#' && c != '%').len();
        let (core, tail) = word.split_at(core_end);
        let lead = core.len() - core.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '%').len();
        let (lead, core) = core.split_at(lead);
        let mut letters = core.chars();
        let note = letters.next().filter(|c| ('A'..='G').contains(c));
        let said = match (note, letters.as_str(), core) {
            (Some(n), "#", _) => format!("{n} sharp"),
            (Some(n), "#s", _) => format!("{n} sharps"),
            (Some(n), "b", _) => format!("{n} flat"),
            (_, _, "bpm" | "BPM") => "beats per minute".into(),
            (_, _, "ms") => "milliseconds".into(),
            (_, _, "dB") => "decibels".into(),
            (_, _, "%") => "percent".into(),
            (_, _, c) if c.len() > 1 && c.ends_with('%') => format!("{} percent", &c[..c.len() - 1]),
            _ => core.to_owned(),
        };
        format!("{lead}{said}{tail}")
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Streams the text in pieces of `size` characters; what went out on the way, and at the end.
    fn stream(text: &str, limit: usize, size: usize) -> (Vec<String>, Gate) {
        let mut gate = Gate::new(limit);
        let chars: Vec<char> = text.chars().collect();
        let mut out: Vec<String> = Vec::new();
        for piece in chars.chunks(size.max(1)) {
            out.extend(gate.push(&piece.iter().collect::<String>()));
        }
        out.extend(gate.end());
        (out, gate)
    }

    #[test]
    fn a_sentence_goes_out_when_the_next_begins() {
        let mut gate = Gate::new(30);
        assert!(gate.push("Nice timing at 94.").is_empty(), "94.5 could follow");
        assert_eq!(gate.push(" Now"), ["Nice timing at 94."]);
        assert!(gate.push(" ease your grip").is_empty());
        assert_eq!(gate.end().as_deref(), Some("Now ease your grip."));
        assert_eq!(gate.text(), "Nice timing at 94. Now ease your grip.");
    }

    #[test]
    fn sentences_over_the_limit_are_dropped_whole() {
        let text = "One two three. Four five six. Seven eight.";
        assert_eq!(stream(text, 7, 4).0, ["One two three.", "Four five six."]);
        assert_eq!(stream(text, 5, 4).0, ["One two three."]);
        let (out, gate) = stream("One two. Three four five six seven eight nine ten eleven", 4, 3);
        assert_eq!((out, gate.is_full()), (vec!["One two.".to_owned()], true));
    }

    #[test]
    fn a_first_sentence_that_is_too_long_is_cut_cleanly() {
        let long = "Your timing was steady at ninety, but your pitch on the G drifted by twenty cents and the \
                    bends in the second half of the phrase did not quite reach their target so listen closely";
        let (out, gate) = stream(long, 20, 5);
        assert_eq!(
            out,
            ["Your timing was steady at ninety, but your pitch on the G drifted by twenty cents."]
        );
        assert!(gate.is_full());
        assert_eq!(
            cut("Play it slower with the metronome to get the", 9),
            "Play it slower with the metronome to get."
        );
        assert_eq!(cut("Nice work on the very long phrase", 3), "Nice work.");
    }

    #[test]
    fn a_rambling_model_is_not_waited_for() {
        let mut gate = Gate::new(5);
        let out: Vec<String> = (0..50).flat_map(|i| gate.push(&format!("word{i} "))).collect();
        assert_eq!(out, ["word0 word1 word2 word3 word4."]);
        assert!(gate.is_full());
    }

    #[test]
    fn markdown_lists_emoji_and_thinking_go() {
        let messy = "<think>He plays sharp. Long thought.</think>**Feedback:** Great *timing*! 🎸\n- Your `F#` was sharp\n\
                     2. See [this](http://x.y) https://a.b 👍🏽";
        for size in [1, 2, 7, 300] {
            let (out, _) = stream(messy, 30, size);
            assert_eq!(out, ["Great timing!", "Your F# was sharp.", "See this."], "{size}");
        }
        assert_eq!(clean("\"Ease your grip.\""), "Ease your grip.");
        assert_eq!(clean("Play F♯, not B♭ # now"), "Play F#, not Bb now.");
        assert_eq!(clean("🎸🔥"), "");
        assert_eq!(stream("<think>never ends. Ever.", 30, 3).0, [""; 0]);
    }

    #[test]
    fn full_stops_inside_a_sentence_do_not_end_it() {
        for text in
            ["Spread of 12.5 ms, e.g. on beat two.", "Use a click vs. your foot.", "Hold it for 2.0 beats."]
        {
            assert_eq!(stream(text, 30, 3).0, [text]);
        }
        assert_eq!(stream("Wow... Really?! Yes.", 30, 1).0, ["Wow...", "Really?!", "Yes."]);
        assert_eq!(stream("テンポが良い。音程に注意。", 30, 1).0, ["テンポが良い。", "音程に注意。"]);
    }

    #[test]
    fn discarding_keeps_what_is_out() {
        let mut gate = Gate::new(30);
        let _ = gate.push("Good. But your F");
        gate.discard();
        assert_eq!((gate.end(), gate.text().as_str()), (None, "Good."));
    }

    #[test]
    fn engines_get_words_for_signs() {
        assert_eq!(
            spoken("Play C# and Bb (not F#), 80 bpm, 12 ms, 5%: A# blues.", true),
            "Play C sharp and B flat (not F sharp), 80 beats per minute, 12 milliseconds, 5 percent: A sharp blues."
        );
        assert_eq!(spoken("Be bold, Dad. About 3 % off", true), "Be bold, Dad. About 3 percent off");
        assert_eq!(spoken("Spiele C#.", false), "Spiele C#.");
    }

    #[test]
    fn a_word_of_two_scripts_counts_as_both_and_is_cut_between_them() {
        assert_eq!(count("音0"), 2);
        assert_eq!(cut("音0", 1), "音.");
    }

    proptest! {
        #[test]
        fn nothing_ever_exceeds_the_limit(
            text in "([A-Za-z0-9#*<>_,;:!?. \n\"\u{1f3b8}音。]{0,200})", limit in 1usize..40, size in 1usize..30
        ) {
            let (out, gate) = stream(&text, limit, size);
            prop_assert!(count(&gate.text()) <= limit, "{:?}", gate.text());
            for sentence in &out {
                prop_assert!(!sentence.contains(['*', '\n', '🎸']) && !sentence.trim().is_empty());
            }
        }
    }
}
