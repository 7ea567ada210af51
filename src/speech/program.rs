//! Speech by a program: text on its stdin, sound from its stdout. `espeak-ng` and any command of the player's.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::limits::{Limited, Pieces};
use super::pcm::{Samples, Trim, Wav};
use super::{PcmStream, SpeechError, Voice};

/// Read at once, bytes: a tenth of a second at 22 kHz, so that the first piece is handed on early.
const READ: usize = 4096;
/// Longest part of a program's own error text that is repeated, bytes.
const MAX_STDERR: usize = 300;
/// Longest wait for the rest of a program's error text once its sound has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Name of the program and of its engine.
pub(super) const ESPEAK: &str = "espeak-ng";

/// How the program's sound is coded.
#[derive(Clone, Copy, Debug)]
enum Coding {
    /// A WAV header, then samples.
    Wav,
    /// Signed 16-bit mono at this rate, Hz.
    Raw(u32),
}

/// A speech engine that is a program.
#[derive(Debug)]
pub struct Program {
    engine: &'static str,
    voice: String,
    argv: Vec<String>,
    coding: Coding,
    patience: Duration,
    /// Write the name of the note A so that an English voice does not read an article.
    english_espeak: bool,
}

impl Program {
    /// `espeak-ng` with a voice (`de`, `en-us+f3`) and a speed in words per minute.
    #[must_use]
    pub fn espeak(voice: &str, words_per_minute: u32, patience: Duration) -> Self {
        // Outside these, espeak-ng falls back to its own limits without a word.
        let speed = words_per_minute.clamp(80, 450).to_string();
        let argv = [ESPEAK, "--stdin", "--stdout", "-v", voice, "-s", &speed].map(String::from);
        Self {
            engine: ESPEAK,
            voice: voice.to_owned(),
            argv: argv.to_vec(),
            coding: Coding::Wav,
            patience,
            english_espeak: voice.starts_with("en"),
        }
    }

    /// Any command: the text on stdin, signed 16-bit little-endian mono at `rate` Hz on stdout. `argv` must not
    /// be empty.
    #[must_use]
    pub fn command(argv: &[String], rate: u32, patience: Duration) -> Self {
        Self {
            engine: "command",
            voice: argv.first().map(|p| file_name(p)).unwrap_or_default(),
            argv: argv.to_vec(),
            coding: Coding::Raw(rate),
            patience,
            english_espeak: false,
        }
    }

    async fn run(&self, text: String) -> Result<PcmStream, SpeechError> {
        let mut child = self.start()?;
        let mut stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err(self.failed("its output could not be read"));
        };
        let running = Running {
            engine: self.engine,
            program: self.argv[0].clone(),
            child,
            stdout,
            stderr: Stderr::read(stderr),
            decode: Decode::new(self.coding),
            any: false,
        };
        // A program may answer before it has read everything: writing and reading go on side by side. A sentence
        // fits into a pipe, so in practice the write is over at once.
        let write = async move {
            if let Some(mut pipe) = stdin.take() {
                // A broken pipe means that the program is gone; its exit status will say why.
                let _ = pipe.write_all(text.as_bytes()).await;
                let _ = pipe.write_all(b"\n").await;
            }
        };
        let mut sound = Limited::new(running, self.patience);
        let first = timeout(self.patience, async {
            let ((), first) = tokio::join!(write, sound.first());
            first
        })
        .await
        .map_err(|_| SpeechError::Timeout { engine: self.engine, after: self.patience })?;
        let Some((first, sample_rate)) = first.transpose()? else {
            return Err(self.failed("it made no sound; try the command in a terminal"));
        };
        let chunks = stream::once(async { Ok(first) }).chain(sound.rest()).boxed();
        Ok(PcmStream { sample_rate, chunks })
    }

    fn start(&self) -> Result<Child, SpeechError> {
        Command::new(&self.argv[0])
            .args(&self.argv[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A cancelled utterance must not leave a process talking to nobody.
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| SpeechError::Start {
                engine: self.engine,
                program: self.argv[0].clone(),
                source,
            })
    }

    fn failed(&self, what: &str) -> SpeechError {
        SpeechError::Failed { engine: self.engine, message: format!("{}: {what}", self.argv[0]) }
    }
}

impl Voice for Program {
    fn engine(&self) -> &'static str {
        self.engine
    }

    fn model(&self) -> &str {
        ""
    }

    fn voice(&self) -> &str {
        &self.voice
    }

    fn speak(&self, text: &str) -> BoxFuture<'_, Result<PcmStream, SpeechError>> {
        // `[[` would switch espeak-ng to phonemes.
        let text = text.replace("[[", "[").replace("]]", "]");
        let text = if self.english_espeak { name_of_a(&text) } else { text };
        Box::pin(self.run(text))
    }
}

/// A program that speaks.
struct Running {
    engine: &'static str,
    program: String,
    child: Child,
    stdout: ChildStdout,
    stderr: Stderr,
    decode: Decode,
    any: bool,
}

impl Pieces for Running {
    fn engine(&self) -> &'static str {
        self.engine
    }

    fn rate(&self) -> u32 {
        self.decode.rate()
    }

    fn piece(&mut self) -> BoxFuture<'_, Option<Result<Vec<f32>, SpeechError>>> {
        Box::pin(self.next())
    }
}

impl Running {
    async fn next(&mut self) -> Option<Result<Vec<f32>, SpeechError>> {
        let mut buffer = [0; READ];
        loop {
            let bytes = match self.stdout.read(&mut buffer).await {
                Ok(0) => return self.end().await.err().map(Err),
                Ok(n) => Bytes::copy_from_slice(&buffer[..n]),
                Err(e) => return Some(Err(self.failed(&format!("its output could not be read ({e})")))),
            };
            match self.decode.take(&bytes) {
                Ok(samples) if samples.is_empty() => {}
                Ok(samples) => {
                    self.any = true;
                    return Some(Ok(samples));
                }
                Err(what) => {
                    // What it wrote instead of sound is often explained on stderr.
                    let said = self.complaint().await;
                    return Some(Err(self.failed(&format!("{what}{said}"))));
                }
            }
        }
    }

    /// The program has closed its output: did it end well?
    async fn end(&mut self) -> Result<(), SpeechError> {
        let said = self.complaint().await;
        match self.child.wait().await {
            Ok(status) if status.success() && self.any => Ok(()),
            Ok(status) if status.success() => Err(self.failed(&format!("it made no sound{said}"))),
            Ok(status) => Err(self.failed(&format!("it failed ({status}){said}"))),
            Err(e) => Err(self.failed(&format!("it was lost ({e}){said}"))),
        }
    }

    async fn complaint(&mut self) -> String {
        let line = self.stderr.end().await;
        if line.is_empty() { line } else { format!(": {line}") }
    }

    fn failed(&self, what: &str) -> SpeechError {
        SpeechError::Failed { engine: self.engine, message: format!("{}: {what}", self.program) }
    }
}

/// What a program writes beside its sound. It is read all along: a talkative program would otherwise fill the pipe and
/// wait for ever.
struct Stderr {
    /// The last of it, at most [`MAX_STDERR`] bytes.
    last: Arc<Mutex<Vec<u8>>>,
    /// Ends with the pipe, or with this set: what the program has started may hold the pipe open for longer.
    reader: JoinSet<()>,
}

impl Stderr {
    fn read(mut pipe: ChildStderr) -> Self {
        let last = Arc::new(Mutex::new(Vec::new()));
        let mut reader = JoinSet::new();
        let kept = last.clone();
        reader.spawn(async move {
            let mut buffer = [0; READ];
            // It is only an explanation: what cannot be read is left out.
            while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..n]);
                let old = kept.len().saturating_sub(MAX_STDERR);
                kept.drain(..old);
            }
        });
        Self { last, reader }
    }

    /// The program is at its end: its last words, on one line.
    async fn end(&mut self) -> String {
        // However this ends, what was read by then is told.
        let _ = timeout(LAST_WORDS, self.reader.join_next()).await;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&last);
        // The cut may have gone through a character.
        let text = text.trim_start_matches(char::REPLACEMENT_CHARACTER);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

struct Decode {
    coding: Coding,
    wav: Wav,
    raw: Samples,
    trim: Trim,
}

impl Decode {
    fn new(coding: Coding) -> Self {
        Self { coding, wav: Wav::default(), raw: Samples::default(), trim: Trim::new() }
    }

    fn rate(&self) -> u32 {
        match self.coding {
            Coding::Raw(rate) => rate,
            Coding::Wav => self.wav.rate.unwrap_or(22_050),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Vec<f32>, String> {
        let samples = match self.coding {
            Coding::Raw(_) => self.raw.take(bytes),
            Coding::Wav => self.wav.take(bytes)?,
        };
        Ok(self.trim.take(samples, self.rate()))
    }
}

fn file_name(path: &str) -> String {
    PathBuf::from(path).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// True when a program of this name can be started: a path to a file, or a name found in `PATH`.
pub(super) fn installed(program: &str) -> bool {
    let path = std::path::Path::new(program);
    if path.components().count() > 1 {
        return path.is_file();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

/// Espeak's English voices read a lone capital A as the article. Where it is a note, it is written as phonemes.
fn name_of_a(text: &str) -> String {
    const BEFORE: [&str; 14] = [
        "the", "your", "on", "to", "from", "of", "and", "or", "is", "note", "each", "every", "for", "between",
    ];
    const AFTER: [&str; 16] = [
        "minor",
        "major",
        "sharp",
        "flat",
        "blues",
        "dorian",
        "phrygian",
        "lydian",
        "mixolydian",
        "aeolian",
        "locrian",
        "natural",
        "harmonic",
        "melodic",
        "string",
        "note",
    ];
    let words: Vec<&str> = text.split(' ').collect();
    let lower = |w: &str| w.trim_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
    let mut out = Vec::with_capacity(words.len());
    for (i, word) in words.iter().enumerate() {
        let core = word.trim_matches(|c: char| !c.is_alphanumeric());
        let note = core == "A" && {
            let ends = word.ends_with([',', '.', '!', '?', ';', ':']);
            let after = words.get(i + 1).is_some_and(|w| AFTER.contains(&lower(w).as_str()));
            let before = i > 0 && BEFORE.contains(&lower(words[i - 1]).as_str());
            ends || after || before || i + 1 == words.len()
        };
        out.push(if note { word.replacen('A', "[[eI]]", 1) } else { (*word).to_owned() });
    }
    out.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(voice: &dyn Voice, text: &str) -> Result<(u32, Vec<f32>), SpeechError> {
        let mut pcm = voice.speak(text).await?;
        let mut out = Vec::new();
        while let Some(piece) = pcm.chunks.next().await {
            out.extend(piece?);
        }
        Ok((pcm.sample_rate, out))
    }

    fn sh(script: &str, patience: Duration) -> Program {
        Program::command(&["sh".into(), "-c".into(), script.into()], 16_000, patience)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_command_gets_the_text_and_its_sound_is_heard() {
        // The text's own bytes come back as sound: "AB" is one sample.
        let (rate, samples) = all(&sh("cat", LONG), "ABAB").await.unwrap();
        let b = f32::from(i16::from_le_bytes([b'A', b'B'])) / 32768.0;
        assert_eq!((rate, &samples[..2]), (16_000, [b, b].as_slice()));
    }

    #[tokio::test]
    async fn failures_say_what_the_program_said() {
        let error = all(&sh("echo no such voice >&2; exit 3", LONG), "x").await.unwrap_err();
        assert!(error.to_string().contains("no such voice"), "{error}");
        assert_eq!(error.kind(), "engine_failed");

        let late = all(&sh("echo AAAA; exit 4", LONG), "x").await.unwrap_err();
        assert!(late.to_string().contains('4'), "sound, then a failure: {late}");

        let error = all(&sh("true", LONG), "x").await.unwrap_err();
        assert!(error.to_string().contains("no sound"), "{error}");

        let error = all(&sh("sleep 5", Duration::from_millis(30)), "x").await.unwrap_err();
        assert_eq!(error.kind(), "timeout");

        let missing = Program::command(&["/nonexistent/voice".into()], 16_000, LONG);
        assert_eq!(all(&missing, "x").await.unwrap_err().kind(), "engine_missing");
    }

    #[tokio::test]
    async fn a_talkative_program_is_heard_and_its_last_words_are_told() {
        // Far more than a pipe holds, before the first sound.
        let chatter = "yes warning | head -c 300000 >&2";
        let (_, samples) = all(&sh(&format!("{chatter}; echo AAAA"), LONG), "x").await.unwrap();
        assert!(!samples.is_empty());
        let error =
            all(&sh(&format!("{chatter}; echo no such voice >&2; exit 3"), LONG), "x").await.unwrap_err();
        let error = error.to_string();
        assert!(error.ends_with("no such voice") && error.len() < 2 * MAX_STDERR, "{error}");
    }

    #[tokio::test]
    async fn a_program_that_never_stops_is_stopped() {
        let error = all(&sh("exec yes", LONG), "x").await.unwrap_err();
        assert_eq!(error.kind(), "engine_failed");
        assert!(error.to_string().contains("30 s"), "{error}");
    }

    #[tokio::test]
    async fn espeak_speaks_without_leading_silence() {
        let voice = Program::espeak("en-us", 165, LONG);
        let (rate, samples) =
            all(&voice, "Let each note ring for two beats.").await.expect("it is installed");
        let seconds = samples.len() as f64 / f64::from(rate);
        assert!((0.8..6.0).contains(&seconds), "{seconds} s");
        let peak = samples.iter().fold(0.0_f32, |m, s| m.max(s.abs()));
        assert!(peak > 0.1, "audible: {peak}");
        let lead = samples.iter().position(|s| s.abs() > 0.01).unwrap();
        assert!(lead < rate as usize / 20, "{lead} samples of silence");
    }

    #[test]
    fn the_note_a_is_told_from_the_article() {
        assert_eq!(name_of_a("A minor pentatonic"), "[[eI]] minor pentatonic");
        assert_eq!(name_of_a("Hold the A, then slide."), "Hold the [[eI]], then slide.");
        assert_eq!(name_of_a("Aim for G or A."), "Aim for G or [[eI]].");
        assert_eq!(name_of_a("A lighter grip helps."), "A lighter grip helps.");
        assert_eq!(name_of_a("Try a slower tempo."), "Try a slower tempo.");
    }

    #[test]
    fn installed_programs_are_found() {
        assert!(installed("sh") && installed("/bin/sh"));
        assert!(!installed("no-such-speech-engine") && !installed("/nonexistent/espeak"));
    }
}
