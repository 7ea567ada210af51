//! What a model is told: versioned templates, and the facts that go into them.
//!
//! The shipped templates are embedded from `assets/prompts/`; a file of the player's own in
//! `<data_dir>/prompts/` replaces the shipped one of the same `name`. A template can only name what [`facts`]
//! offers, and that holds nothing of a metric that is disabled or was not measured.

pub mod facts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minijinja::{Environment, UndefinedBehavior};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::practice::types::{Summary, Window};
pub use facts::Context;

/// Advice while playing.
pub const LIVE_FEEDBACK: &str = "live-feedback";
/// The summary at the end.
pub const SESSION_SUMMARY: &str = "session-summary";
/// A practice plan.
pub const PRACTICE_PLAN: &str = "practice-plan";
/// An answer of the chat coach.
pub const CHAT: &str = "chat";
/// Whether a question is about practice.
pub const CHAT_INTENT: &str = "chat-intent";
/// The shipped templates.
const SHIPPED: [(&str, &str); 5] = [
    (CHAT, include_str!("../../assets/prompts/chat.toml")),
    (CHAT_INTENT, include_str!("../../assets/prompts/chat-intent.toml")),
    (LIVE_FEEDBACK, include_str!("../../assets/prompts/live-feedback.toml")),
    (SESSION_SUMMARY, include_str!("../../assets/prompts/session-summary.toml")),
    (PRACTICE_PLAN, include_str!("../../assets/prompts/practice-plan.toml")),
];
/// Fewest and most words that a template may ask for: below, no advice fits; above, no one listens.
const WORDS: std::ops::RangeInclusive<usize> = 8..=200;

/// Which prompt was used.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Prompt {
    /// Name of the template.
    pub name: String,
    /// Its author's version.
    pub version: String,
    /// Hash of its text, in hexadecimal: tells two texts of the same version apart.
    pub sha256: String,
}

/// A prompt with the facts filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Which prompt it is.
    pub prompt: Prompt,
    /// Standing instructions.
    pub system: String,
    /// What is asked.
    pub user: String,
    /// The template before filling in, system and user.
    pub template: String,
    /// What was filled in.
    pub variables: serde_json::Value,
    /// Most words of an answer; more are cut off.
    pub max_words: usize,
}

/// Why a prompt file or template is not used.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The folder or file could not be read.
    #[error("prompt file {path} could not be read ({source}); the shipped prompt is used")]
    Read {
        /// File or folder.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// It is no prompt file.
    #[error("prompt file {path} is not used: {message}; the shipped prompt is used")]
    Format {
        /// File.
        path: PathBuf,
        /// What is wrong and how to write it.
        message: String,
    },
    /// The template cannot be filled in.
    #[error("prompt `{name}` cannot be filled in: {message}")]
    Template {
        /// Prompt.
        name: String,
        /// What is wrong, and where.
        message: String,
    },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    name: String,
    version: String,
    max_words: usize,
    system: String,
    user: String,
}

impl Template {
    fn prompt(&self) -> Prompt {
        let mut hash = Sha256::new();
        hash.update(&self.system);
        hash.update([0]);
        hash.update(&self.user);
        let sha256 = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Prompt { name: self.name.clone(), version: self.version.clone(), sha256 }
    }

    fn render(&self, mut variables: serde_json::Value) -> Result<Rendered, PromptError> {
        variables["max_words"] = self.max_words.into();
        let mut env = Environment::new();
        // A misspelt name must be an error, not a hole in the prompt.
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        let fill = |part: &str, source: &str| {
            env.render_named_str(part, source, minijinja::value::Serde(&variables))
                .map(|t| t.trim().to_owned())
                .map_err(|e| PromptError::Template {
                    name: self.name.clone(),
                    message: crate::span::chain(&e),
                })
        };
        Ok(Rendered {
            prompt: self.prompt(),
            system: fill("system", &self.system)?,
            user: fill("user", &self.user)?,
            template: format!("{}\n{}", self.system.trim(), self.user.trim()),
            variables,
            max_words: self.max_words,
        })
    }
}

/// The templates in use.
#[derive(Clone, Debug)]
pub struct Prompts {
    templates: BTreeMap<String, Template>,
}

impl Default for Prompts {
    fn default() -> Self {
        let templates = SHIPPED
            .iter()
            .map(|(name, text)| {
                let template: Template = toml::from_str(text).expect("shipped prompts are parsed by a test");
                ((*name).to_owned(), template)
            })
            .collect();
        Self { templates }
    }
}

impl Prompts {
    /// The shipped templates, replaced by those in `<data_dir>/prompts/*.toml`. A file that cannot be used is
    /// reported, and the shipped one of its name stays.
    #[must_use]
    pub fn load(data_dir: &Path) -> (Self, Vec<PromptError>) {
        let mut prompts = Self::default();
        let mut errors = Vec::new();
        let dir = data_dir.join("prompts");
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return (prompts, errors),
            Err(source) => return (prompts, vec![PromptError::Read { path: dir, source }]),
        };
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|e| e.ok().map(|e| e.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "toml"))
            .collect();
        paths.sort();
        for path in paths {
            match own(&path) {
                Ok(template) => {
                    prompts.templates.insert(template.name.clone(), template);
                }
                Err(error) => errors.push(error),
            }
        }
        (prompts, errors)
    }

    /// The prompt for a piece of advice.
    ///
    /// # Errors
    /// When the template cannot be filled in; a template that was loaded has been tried out before.
    pub fn live_feedback(&self, window: &Window, context: &Context) -> Result<Rendered, PromptError> {
        self.render(LIVE_FEEDBACK, facts::of_window(window, context))
    }

    /// The prompt for the summary.
    ///
    /// # Errors
    /// As [`Prompts::live_feedback`].
    pub fn session_summary(&self, summary: &Summary, context: &Context) -> Result<Rendered, PromptError> {
        self.render(SESSION_SUMMARY, facts::of_summary(summary, context))
    }

    /// The prompt for a practice plan, from the planner's variables ([`facts::plan_samples`] shows them).
    ///
    /// # Errors
    /// As [`Prompts::live_feedback`].
    pub fn practice_plan(&self, variables: serde_json::Value) -> Result<Rendered, PromptError> {
        self.render(PRACTICE_PLAN, variables)
    }

    /// The prompt for a turn of a chat.
    ///
    /// # Errors
    /// As [`Prompts::live_feedback`].
    pub fn chat(&self, turn: &facts::ChatTurn<'_>) -> Result<Rendered, PromptError> {
        self.render(CHAT, turn.variables())
    }

    /// The prompt that tells a question about practice from others.
    ///
    /// # Errors
    /// As [`Prompts::live_feedback`].
    pub fn chat_intent(&self, question: &str) -> Result<Rendered, PromptError> {
        self.render(CHAT_INTENT, serde_json::json!({ "question": question }))
    }

    fn render(&self, name: &str, variables: serde_json::Value) -> Result<Rendered, PromptError> {
        let template = self.templates.get(name).ok_or_else(|| PromptError::Template {
            name: name.to_owned(),
            message: "there is no such prompt".into(),
        })?;
        template.render(variables)
    }
}

/// Reads a file of the player's own and tries it out, so that a mistake shows at the start of the session.
fn own(path: &Path) -> Result<Template, PromptError> {
    let wrong = |message: String| PromptError::Format { path: path.to_owned(), message };
    let text = std::fs::read_to_string(path)
        .map_err(|source| PromptError::Read { path: path.to_owned(), source })?;
    let template: Template = toml::from_str(&text).map_err(|e| {
        let line = e.span().map_or(1, |s| 1 + text[..s.start.min(text.len())].matches('\n').count());
        wrong(format!("line {line}: {} (it needs name, version, max_words, system and user)", e.message()))
    })?;
    if !SHIPPED.iter().any(|(name, _)| *name == template.name) {
        let names = SHIPPED.map(|(name, _)| name).join("` and `");
        return Err(wrong(format!("there is no prompt `{}`; there are `{names}`", template.name)));
    }
    if !WORDS.contains(&template.max_words) {
        let (low, high) = WORDS.into_inner();
        return Err(wrong(format!("max_words is {}, it must be {low} to {high}", template.max_words)));
    }
    for variables in facts::samples(&template.name) {
        template.render(variables).map_err(|e| wrong(e.to_string()))?;
    }
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::facts::tests::{context, summary, window};
    use super::*;
    use crate::practice::types::{Metric, Scores};

    #[test]
    fn the_shipped_prompts_are_filled_in() {
        let prompts = Prompts::default();
        let live = prompts.live_feedback(&window(), &context()).unwrap();
        assert_eq!(live.max_words, 30);
        assert!(live.system.contains("Answer in this language: en") && live.system.contains("30 words"));
        insta::assert_snapshot!(live.user, @r"
        The last 30 seconds, A minor pentatonic (notes A C D E G), 90 bpm: 58 notes.
        - pitch accuracy: 61 of 100 (average, down 6 since the window before); notes 14 cents off on average; 9 cents sharp on average; worst note G, 22 cents sharp; whole guitar 18 cents flat (already taken out)
        - scale conformity: 88 of 100 (good, up 4 since the window before); 12 % of the notes outside the scale; F# 5 times; B once
        - timing stability: 94 of 100 (excellent, unchanged); spread 12 ms; steady
        - noise control: 83 of 100 (good); noise 24 dB below the notes; mainly string noise between notes
        Strongest: timing stability. Weakest: pitch accuracy.
        You have already said, so say something new:
        - Ease your grip.
        ");
        let end = prompts.session_summary(&summary(), &context()).unwrap();
        assert_eq!(end.max_words, 60);
        insta::assert_snapshot!(end.user, @r"
        12 minutes of A minor pentatonic (notes A C D E G) at 90 bpm: 58 notes, overall 78 of 100 (good).
        - pitch accuracy: 61 of 100 (average); notes 14 cents off on average; 9 cents sharp on average; worst note G, 22 cents sharp; whole guitar 18 cents flat (already taken out)
        - scale conformity: 88 of 100 (good); 12 % of the notes outside the scale; F# 5 times; B once; 100 % of the scale played
        - timing stability: 94 of 100 (excellent); spread 12 ms; steady
        - noise control: 83 of 100 (good); noise 24 dB below the notes; mainly string noise between notes
        Strongest: timing stability. Weakest: pitch accuracy.
        Overall score from window to window: 70, 78, 82.
        Advice given on the way:
        - Ease your grip.
        ");
        assert_eq!(live.prompt.sha256.len(), 64);
        assert_ne!(live.prompt.sha256, end.prompt.sha256);
    }

    #[test]
    fn metrics_that_were_not_measured_do_not_appear() {
        let mut w = window();
        w.scores = Scores { pitch_accuracy: Some(61.0), overall: Some(61.0), ..Scores::default() };
        w.weakest = Some(Metric::PitchAccuracy);
        w.strongest = None;
        let r = Prompts::default().live_feedback(&w, &context()).unwrap();
        let all = format!("{}{}", r.user, r.variables);
        for word in ["timing", "F#", "noise", "spread", "A C D E G", "90 bpm"] {
            assert!(!all.contains(word), "{word} in {all}");
        }
        assert_eq!(r.variables["bpm"], serde_json::Value::Null);
    }

    fn load(file: &str, text: &str) -> (Prompts, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("prompts")).unwrap();
        std::fs::write(dir.path().join("prompts").join(file), text).unwrap();
        let (prompts, errors) = Prompts::load(dir.path());
        (prompts, errors.iter().map(ToString::to_string).collect())
    }

    const OWN: &str = "name = 'live-feedback'\nversion = 'mine'\nmax_words = 20\nsystem = 'Be brief.'\n";

    #[test]
    fn an_own_file_replaces_the_shipped_prompt_of_its_name() {
        let (prompts, errors) =
            load("mine.toml", &format!("{OWN}user = '{{{{ weakest }}}} in {{{{ language }}}}'"));
        assert_eq!(errors, [""; 0]);
        let r = prompts.live_feedback(&window(), &context()).unwrap();
        assert_eq!((r.prompt.version.as_str(), r.user.as_str()), ("mine", "pitch accuracy in en"));
        assert_eq!(r.max_words, 20);
    }

    #[test]
    fn a_bad_file_is_explained_and_the_shipped_prompt_used() {
        let cases = [
            (format!("{OWN}user = '{{{{ wekest }}}}'"), "wekest"),
            (format!("{OWN}user = '{{% if weakest %}}'"), "live-feedback"),
            (format!("{OWN}user = '{{{{ metrics[1].score }}}}'"), "user"),
            (OWN.to_owned(), "user"),
            (format!("{OWN}user = ''\ntemperature = 1"), "temperature"),
            (OWN.replace("live-feedback", "live-feedbak") + "user = ''", "live-feedback"),
            (OWN.replace("20", "2000") + "user = ''", "2000"),
            ("= nonsense".to_owned(), "line 1"),
        ];
        for (text, expect) in cases {
            let (prompts, errors) = load("live.toml", &text);
            assert_eq!(errors.len(), 1, "{text}");
            assert!(errors[0].contains("live.toml") && errors[0].contains(expect), "{}", errors[0]);
            let r = prompts.live_feedback(&window(), &context()).unwrap();
            assert_eq!(r.prompt, Prompts::default().live_feedback(&window(), &context()).unwrap().prompt);
        }
    }

    #[test]
    fn no_folder_is_no_error() {
        let (_, errors) = Prompts::load(Path::new("/nonexistent"));
        assert!(errors.is_empty());
    }
}
