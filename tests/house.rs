//! The rules of the house that no compiler knows: imports point downwards, pure modules stay pure, real-time modules
//! carry their lints, code that ships is permissively licensed, and no file tells where it was written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Top-level modules by layer, lowest first. An import points to a lower layer, or is listed in [`BESIDE`]. `span` and
/// `http` are no ports but what ports stand on: the one way to make a span, the one HTTP client.
const LAYERS: [&[&str]; 5] = [
    &["names", "music", "dsp", "practice"],
    &["prompt", "judge", "config", "span", "http", "alloc_count"],
    &["audio", "llm", "speech", "store", "telemetry"],
    &["coach", "chat", "eval", "alert", "hub"],
    &["session", "app", "cli", "main"],
];
/// Imports within a layer, (who, whom). In the pure core, sound becomes events and events become scores; above it,
/// errors are told with their causes as `span` tells them, and HTTP keeps the keys that `config` wraps; of the ports,
/// only telemetry knows another: its spans are kept in the store before they are delivered.
const BESIDE: [(&str, &str); 8] = [
    ("dsp", "music"),
    ("practice", "music"),
    ("practice", "dsp"),
    ("prompt", "span"),
    ("http", "span"),
    ("http", "config"),
    ("config", "http"),
    ("telemetry", "store"),
];
/// From this layer on, neighbours may name each other: actors hold each other's stubs, the top wires everything.
const FREE_FROM: usize = 3;
/// Crates that the pure core may use; they only compute. The FFT, the reference detector, derives for values and
/// errors, JSON values, and the distance between two spellings.
const PURE_CRATES: [&str; 7] =
    ["realfft", "rustfft", "pitch_detection", "serde", "serde_json", "thiserror", "strsim"];
/// Parts of std that do I/O, read a clock or start threads: the pure core gets such things as arguments.
const IMPURE_STD: [&str; 6] = ["env", "fs", "io", "net", "process", "thread"];
/// The same, by name.
const IMPURE_NAMES: [&str; 7] = ["Instant", "SystemTime", "println", "eprintln", "print", "eprint", "dbg"];
/// Files that run in the sound card's callback or in the analysis loop. A module's lints hold for its children too.
const REAL_TIME: [&str; 10] = [
    "src/dsp/mod.rs",
    "src/dsp/click/mod.rs",
    "src/audio/capture.rs",
    "src/audio/listener.rs",
    "src/audio/live.rs",
    "src/audio/echo.rs",
    "src/audio/metronome/board.rs",
    "src/audio/metronome/ear.rs",
    "src/audio/stats.rs",
    "src/audio/player/source.rs",
];
/// Lists for these stand in clippy.toml.
const REAL_TIME_LINTS: [&str; 3] =
    ["clippy::disallowed_types", "clippy::disallowed_methods", "clippy::disallowed_macros"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder, sorted, as paths from the crate's root.
fn files(folder: &str, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("the folder can be read").path();
            let relative = path.strip_prefix(root()).expect("it is below the root").to_owned();
            if !wanted(&relative) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(relative);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn rust_files() -> Vec<PathBuf> {
    files("src", &|path| path.extension().is_none_or(|e| e == "rs"))
}

// ---------------------------------------------------------------------------------------------------------------
// Reading Rust: enough of it to find paths. Comments and literals are left out.

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `::`
    Path,
    Other(char),
}

impl Token {
    fn word(&self) -> Option<&str> {
        if let Token::Word(word) = self { Some(word) } else { None }
    }
}

/// Tokens with the line of each, counted from 1.
fn tokens(source: &str) -> Vec<(Token, usize)> {
    let chars: Vec<char> = source.chars().collect();
    let mut out: Vec<(Token, usize)> = Vec::new();
    let (mut i, mut line) = (0, 1);
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    while i < chars.len() {
        let start = i;
        match chars[i] {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && chars[i] != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= chars.len() {
                        break;
                    }
                }
            }
            '"' => i = end_of_string(&chars, i),
            // A character literal; else a lifetime.
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < chars.len() && chars[i] != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            ':' if at(i + 1) == ':' => {
                out.push((Token::Path, line));
                i += 2;
            }
            c if c.is_alphanumeric() || c == '_' => {
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
                let word: String = chars[start..i].iter().collect();
                let hashes = chars[i..].iter().take_while(|&&c| c == '#').count();
                if ["r", "br", "cr"].contains(&word.as_str()) && at(i + hashes) == '"' {
                    let end: Vec<char> =
                        std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                    i += hashes + 1;
                    while i < chars.len() && !chars[i..].starts_with(&end) {
                        i += 1;
                    }
                    i += end.len();
                } else {
                    out.push((Token::Word(word), line));
                }
            }
            c => {
                if !c.is_whitespace() {
                    out.push((Token::Other(c), line));
                }
                i += 1;
            }
        }
        line += chars[start..i.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    out
}

/// Index behind the closing quote of the string that opens at `i`.
fn end_of_string(chars: &[char], mut i: usize) -> usize {
    i += 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Modules between the crate's root and the code of a file: `src/audio/capture.rs` is 2 deep, `src/audio/mod.rs` 1.
fn depth(file: &Path) -> usize {
    let inside = file.strip_prefix("src").unwrap_or(file);
    let stem = inside.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let parents = inside.components().count() - 1;
    parents + usize::from(!["mod", "lib", "main"].contains(&stem))
}

/// The top-level module that a file belongs to; `None` for `src/lib.rs`, the map of them all.
fn owner(file: &Path) -> Option<String> {
    let inside = file.strip_prefix("src").unwrap_or(file);
    let first = Path::new(inside.components().next()?.as_os_str());
    let name = first.file_stem()?.to_str()?;
    (name != "lib").then(|| name.to_owned())
}

/// Top-level modules that the code of a file names (by `crate::`, by `fretcoach::` or by climbing with `super::`), with
/// the line of each. `*` stands for a glob of the whole crate.
fn imports(file: &Path, source: &str) -> Vec<(String, usize)> {
    let tokens = tokens(source);
    let word = |i: usize| tokens.get(i).and_then(|(t, _)| t.word());
    let is_path = |i: usize| tokens.get(i).is_some_and(|(t, _)| *t == Token::Path);
    let mut found = Vec::new();
    // For each open brace, whether it opened an inline module.
    let mut braces: Vec<bool> = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        match &tokens[i].0 {
            Token::Other('{') => braces.push(i >= 2 && word(i - 2) == Some("mod")),
            Token::Other('}') => drop(braces.pop()),
            Token::Word(first) if i == 0 || !is_path(i - 1) => {
                let here = depth(file) + braces.iter().filter(|&&module| module).count();
                let mut next = i;
                let mut up = 0;
                while word(next) == Some("super") && is_path(next + 1) {
                    (up, next) = (up + 1, next + 2);
                }
                if up == 0 && ["crate", "fretcoach"].contains(&first.as_str()) && is_path(i + 1) {
                    (up, next) = (here, i + 2);
                }
                if up > 0 && up >= here {
                    first_names(&tokens, next, &mut found);
                }
                i = next.max(i + 1);
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// The first name of a path, or of each branch of a group such as `{config::Config, names::{attr, op}}`.
fn first_names(tokens: &[(Token, usize)], at: usize, found: &mut Vec<(String, usize)>) {
    match tokens.get(at) {
        Some((Token::Word(name), line)) => found.push((name.clone(), *line)),
        Some((Token::Other('*'), line)) => found.push(("*".into(), *line)),
        Some((Token::Other('{'), _)) => {
            let mut deep = 0;
            for (i, (token, _)) in tokens.iter().enumerate().skip(at) {
                match token {
                    Token::Other('{') => deep += 1,
                    Token::Other('}') => deep -= 1,
                    Token::Word(_) | Token::Other('*')
                        if deep == 1
                            && matches!(tokens[i - 1].0, Token::Other('{' | ','))
                            && token.word() != Some("self") =>
                    {
                        first_names(tokens, i, found);
                    }
                    _ => {}
                }
                if deep == 0 {
                    break;
                }
            }
        }
        _ => {}
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Layers

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// What is wrong with the imports of one file, a line each.
fn misdirected(file: &Path, source: &str) -> Vec<String> {
    let Some(owner) = owner(file) else { return Vec::new() };
    let Some(own) = layer(&owner) else {
        return vec![format!(
            "{}: `{owner}` stands in no layer: add it to LAYERS in tests/house.rs",
            file.display()
        )];
    };
    let mut wrong = Vec::new();
    for (target, line) in imports(file, source) {
        let place = format!("{}:{line}", file.display());
        let Some(there) = layer(&target) else {
            // Items of the crate's root (a macro, say) are nobody's business; a glob hides what it imports.
            if target == "*" {
                wrong.push(format!("{place}: a glob of the whole crate hides what `{owner}` rests on"));
            }
            continue;
        };
        let beside =
            there == own && (own >= FREE_FROM || BESIDE.contains(&(owner.as_str(), target.as_str())));
        if target != owner && there >= own && !beside {
            let direction = if there > own { "upwards" } else { "sideways" };
            wrong.push(format!(
                "{place}: `{owner}` (layer {own}) imports `{target}` (layer {there}): {direction}. Move what both \
                 need down, or pass it in"
            ));
        }
    }
    wrong
}

#[test]
fn imports_point_downwards() {
    let wrong: Vec<String> = rust_files().iter().flat_map(|file| misdirected(file, &read(file))).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_layer() {
    let declared: BTreeSet<String> = tokens(&read(Path::new("src/lib.rs")))
        .windows(2)
        .filter(|pair| pair[0].0.word() == Some("mod"))
        .filter_map(|pair| pair[1].0.word().map(str::to_owned))
        .collect();
    assert!(declared.len() > 5, "modules were read from src/lib.rs: {declared:?}");
    let homeless: Vec<&String> = declared.iter().filter(|module| layer(module).is_none()).collect();
    assert!(homeless.is_empty(), "{homeless:?}: add them to LAYERS in tests/house.rs");
}

#[test]
fn a_wrong_import_is_seen_in_every_spelling() {
    let wrong = |file: &str, source: &str| misdirected(Path::new(file), source).len();
    assert_eq!(wrong("src/dsp/mod.rs", "use crate::audio::Device;"), 1);
    assert_eq!(wrong("src/dsp/pitch.rs", "use super::super::audio::Device;"), 1);
    assert_eq!(wrong("src/dsp/pitch.rs", "mod tests { use super::super::super::audio::Device; }"), 1);
    assert_eq!(wrong("src/dsp/mod.rs", "fn f() -> crate::coach::Advice { crate::llm::call() }"), 2);
    assert_eq!(wrong("src/config.rs", "use crate::{names::attr, store::{Store, Row}, span::Span};"), 2);
    assert_eq!(wrong("src/llm/mod.rs", "use crate::speech;"), 1, "ports never name each other");
    assert_eq!(wrong("src/store/mod.rs", "pub use crate::telemetry::Span;"), 1);
    assert_eq!(wrong("src/span.rs", "use super::llm::Model;"), 1);
    assert_eq!(wrong("src/coach/mod.rs", "use crate::app::App; use crate::*;"), 2);
    assert_eq!(wrong("src/nowhere.rs", ""), 1);
    let text = misdirected(Path::new("src/music/scale.rs"), "//! Scales\n\nuse crate::config::Config;\n");
    assert!(
        text[0].starts_with("src/music/scale.rs:3: `music` (layer 0) imports `config` (layer 1): upwards")
    );
}

#[test]
fn a_right_import_is_left_alone() {
    let wrong = |file: &str, source: &str| misdirected(Path::new(file), source);
    let none: Vec<String> = Vec::new();
    assert_eq!(
        wrong("src/practice/score.rs", "use crate::dsp::event::{NoteEvent, Tail}; use super::types;"),
        none
    );
    assert_eq!(wrong("src/telemetry/mod.rs", "use crate::{store::Store, names::{attr, op}};"), none);
    assert_eq!(wrong("src/coach/mod.rs", "use crate::{llm, speech::{self, Voice}, config::Config};"), none);
    assert_eq!(wrong("src/main.rs", "use fretcoach::cli; fn main() { fretcoach::app::run() }"), none);
    assert_eq!(wrong("src/audio/capture.rs", "use super::ring; mod tests { use super::super::ring; }"), none);
    let quoted = r##"// crate::coach
        /* crate::app /* nested */ crate::app */
        const A: (&str, &str, char, &'static str) = ("crate::cli", r#"say "crate::cli""#, '"', "\"crate::cli");"##;
    assert_eq!(wrong("src/dsp/mod.rs", quoted), none);
}

// ---------------------------------------------------------------------------------------------------------------
// Purity

/// What in the code of a pure file reaches outside, tests left out.
fn impure(file: &Path, source: &str, crates: &BTreeSet<String>) -> Vec<String> {
    let mut found: Vec<(String, usize)> = Vec::new();
    let tokens = without_tests(tokens(source));
    for (i, (token, line)) in tokens.iter().enumerate() {
        let Some(word) = token.word() else { continue };
        let heads_a_path = tokens.get(i + 1).is_some_and(|(t, _)| *t == Token::Path)
            && (i == 0 || tokens[i - 1].0 != Token::Path);
        if heads_a_path && word == "std" {
            let mut parts = Vec::new();
            first_names(&tokens, i + 2, &mut parts);
            found.extend(parts.into_iter().filter(|(part, _)| IMPURE_STD.contains(&part.as_str())));
        } else if heads_a_path && crates.contains(word) || IMPURE_NAMES.contains(&word) {
            found.push((word.to_owned(), *line));
        }
    }
    let told = |(word, line): (String, usize)| {
        format!(
            "{}:{line}: `{word}` does not belong in the pure core: no I/O, clock, log, thread, or crate but \
             {PURE_CRATES:?}",
            file.display()
        )
    };
    found.into_iter().map(told).collect()
}

/// Leaves out each `#[cfg(test)] mod … { … }`.
fn without_tests(tokens: Vec<(Token, usize)>) -> Vec<(Token, usize)> {
    let marks: Vec<String> = tokens
        .iter()
        .map(|(token, _)| match token {
            Token::Word(word) => word.clone(),
            Token::Path => "::".into(),
            Token::Other(c) => c.to_string(),
        })
        .collect();
    let mut kept = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if marks[i..].starts_with(&["#", "[", "cfg", "(", "test", ")", "]"].map(String::from)) {
            let mut deep = 0;
            while i < tokens.len() {
                match marks[i].as_str() {
                    "{" => deep += 1,
                    "}" => deep -= 1,
                    _ => {}
                }
                i += 1;
                if deep == 0 && ["}", ";"].contains(&marks[i - 1].as_str()) {
                    break;
                }
            }
        } else {
            kept.push(tokens[i].clone());
            i += 1;
        }
    }
    kept
}

/// Files that are modules for tests alone: `#[cfg(test)] mod NAME;`.
fn test_files() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for file in rust_files() {
        let folder = match file.file_stem().and_then(|stem| stem.to_str()) {
            Some("mod" | "lib" | "main") => file.parent().expect("it is below src").to_owned(),
            _ => file.with_extension(""),
        };
        for name in test_modules(&read(&file)) {
            found.insert(folder.join(format!("{name}.rs")));
            found.insert(folder.join(name).join("mod.rs"));
        }
    }
    found
}

/// Names of the `#[cfg(test)] mod NAME;` in a file.
fn test_modules(source: &str) -> Vec<String> {
    let tokens: Vec<Token> = tokens(source).into_iter().map(|(token, _)| token).collect();
    let mark = ["cfg", "test", "mod"];
    let of_words = |window: &[Token]| -> Option<String> {
        let words: Vec<&str> = window.iter().filter_map(Token::word).collect();
        let closed = window.last() == Some(&Token::Other(';'));
        (closed && words.len() == 4 && words[..3] == mark).then(|| words[3].to_owned())
    };
    // cfg ( test ) ] mod NAME ;
    tokens.windows(8).filter_map(of_words).collect()
}

fn foreign_crates() -> BTreeSet<String> {
    let manifest: toml::Table = read(Path::new("Cargo.toml")).parse().expect("Cargo.toml is TOML");
    let names = manifest["dependencies"].as_table().expect("a table of dependencies").keys();
    names.map(|name| name.replace('-', "_")).filter(|name| !PURE_CRATES.contains(&name.as_str())).collect()
}

#[test]
fn the_pure_core_is_pure() {
    let (crates, tests) = (foreign_crates(), test_files());
    let wrong: Vec<String> = rust_files()
        .iter()
        .filter(|file| owner(file).and_then(|module| layer(&module)) == Some(0))
        .filter(|file| !tests.contains(*file))
        .flat_map(|file| impure(file, &read(file), &crates))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_reaches_outside_is_seen() {
    let crates = foreign_crates();
    let wrong = |source: &str| impure(Path::new("src/dsp/mod.rs"), source, &crates).len();
    assert_eq!(wrong("use tokio::sync::mpsc; fn f() { tracing::info!(\"x\") }"), 2);
    assert_eq!(wrong("use std::time::Instant; fn f() { std::fs::read(\"x\"); println!(\"x\") }"), 3);
    assert_eq!(wrong("use std::sync::Arc; use realfft::RealFftPlanner; use serde::Serialize;"), 0);
    assert_eq!(wrong("fn f() {} #[cfg(test)] mod tests { use std::fs; fn g() { dbg!(1) } }"), 0);
    assert_eq!(wrong("#[cfg(test)] mod tests; use std::fs;"), 1);
    assert_eq!(test_modules("mod a; #[cfg(test)] mod b; #[cfg(test)]\nmod c { fn f() {} } mod d;"), ["b"]);
    assert_eq!(wrong("use std::{f32::consts::PI, fs, io::{self, Read}};"), 2);
}

#[test]
fn real_time_modules_ban_what_may_wait() {
    for file in REAL_TIME {
        let source = read(Path::new(file));
        let denied: String = source
            .lines()
            .filter(|line| line.starts_with("#![deny(") || line.starts_with("#![forbid("))
            .collect();
        for lint in REAL_TIME_LINTS {
            assert!(denied.contains(lint), "{file}: `#![deny({lint})]` is missing: see clippy.toml");
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Licences

/// True when an SPDX expression can be met from the `allowed` licences. `/` is the old spelling of `OR`.
fn met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let result = any_of(&words, &mut at, allowed);
    // An expression that can't be read is not met.
    result && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut result = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        result |= all_of(words, at, allowed);
    }
    result
}

fn all_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut result = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        result &= one(words, at, allowed);
    }
    result
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(&word) = words.get(*at) else { return false };
    *at += 1;
    if word == "(" {
        let result = any_of(words, at, allowed);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return result && closed;
    }
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1).copied().unwrap_or_default();
        *at += 2;
        return allowed.contains(&format!("{word} WITH {exception}"));
    }
    allowed.contains(word)
}

fn allowed_licences() -> BTreeSet<String> {
    let table: toml::Table = read(Path::new("deny.toml")).parse().expect("deny.toml is TOML");
    let list = table["licenses"]["allow"].as_array().expect("[licenses] allow is a list");
    list.iter().map(|licence| licence.as_str().expect("licences are names").to_owned()).collect()
}

/// The target that this machine builds for: its crates are there without a network.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc is on the search path");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

/// Licence of every crate that is built into the program or runs while it is built, by name and version.
fn licences() -> BTreeMap<String, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", &host()])
        .current_dir(root())
        .output()
        .expect("cargo runs this test");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let by_id = |list: &serde_json::Value| -> BTreeMap<String, serde_json::Value> {
        let list = list.as_array().expect("a list").iter();
        list.map(|item| (item["id"].as_str().expect("ids are text").to_owned(), item.clone())).collect()
    };
    let (packages, nodes) = (by_id(&metadata["packages"]), by_id(&metadata["resolve"]["nodes"]));
    let own = metadata["resolve"]["root"].as_str().expect("the crate is the root").to_owned();
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::from([own.clone()]);
    let mut todo = vec![own];
    while let Some(id) = todo.pop() {
        let package = &packages[&id];
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        found.insert(format!("{} {}", text("name"), text("version")), text("license").to_owned());
        for dependency in nodes[&id]["deps"].as_array().expect("a list") {
            let kinds = dependency["dep_kinds"].as_array().expect("a list");
            let next = dependency["pkg"].as_str().expect("ids are text").to_owned();
            if kinds.iter().any(|kind| kind["kind"] != "dev") && seen.insert(next.clone()) {
                todo.push(next);
            }
        }
    }
    found
}

#[test]
fn what_ships_is_permissively_licensed() {
    let (licences, allowed) = (licences(), allowed_licences());
    assert!(licences.len() > 50, "the whole tree was read: {}", licences.len());
    let wrong: Vec<String> = licences
        .iter()
        .filter(|(_, licence)| !met(licence, &allowed))
        .map(|(name, licence)| format!("{name}: `{licence}` can't be met from the list in deny.toml"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = allowed_licences();
    for fine in [
        "MIT",
        "MIT/Apache-2.0",
        "MPL-2.0 OR MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only",
        "GPL-3.0-only OR (MIT AND (ISC OR LGPL-2.1-only))",
    ] {
        assert!(met(fine, &allowed), "{fine}");
    }
    for wrong in [
        "",
        "MPL-2.0",
        "GPL-3.0-or-later",
        "MIT AND LGPL-2.1-only",
        "(MIT OR Apache-2.0) AND MPL-2.0",
        "GPL-2.0-only WITH Classpath-exception-2.0",
        "(MIT OR Apache-2.0",
        "MIT Apache-2.0",
    ] {
        assert!(!met(wrong, &allowed), "{wrong}");
    }
    for copyleft in ["MPL", "GPL", "EPL", "CDDL", "EUPL", "OSL"] {
        let named = allowed.iter().find(|licence| licence.contains(copyleft));
        assert_eq!(named, None, "deny.toml allows copyleft");
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Where it was written is nobody's business

/// Texts that no file may hold: folders of a machine, and hosts of package registries (a package is named, never the
/// server that it came from). Put together here, so that this file does not hold them either.
fn places() -> Vec<String> {
    let mut places: Vec<String> = [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["crates", ".io/"],
        ["index.crates", ".io"],
        ["static.crates", ".io"],
        ["py", "pi.org"],
        ["pythonhos", "ted.org"],
        ["deb.deb", "ian.org"],
        ["registry.npm", "js.org"],
        ["proxy.gol", "ang.org"],
    ]
    .map(|parts| parts.concat())
    .to_vec();
    places.push(root().display().to_string());
    // A home such as `/` says nothing.
    places.extend(std::env::var("HOME").ok().filter(|home| home.len() > 3).map(|home| format!("{home}/")));
    places
}

/// What people write, without what git, cargo and the user keep beside it.
fn written(path: &Path) -> bool {
    const NOT_OURS: [&str; 4] = [".git", "target", "Cargo.lock", ".env"];
    !NOT_OURS.iter().any(|name| path == Path::new(name))
}

/// Places that a text names, with the line of each. A path counts where it begins, not within a longer one.
fn named<'a>(text: &str, places: &'a [String]) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for place in places {
            let hit = line.match_indices(place.as_str()).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !place.starts_with('/') || !before.is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c))
            });
            if hit {
                found.push((number + 1, place.as_str()));
            }
        }
    }
    found
}

#[test]
fn no_file_tells_where_it_was_written() {
    let places = places();
    let mut wrong = Vec::new();
    for file in files("", &written) {
        let bytes = std::fs::read(root().join(&file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let Ok(text) = String::from_utf8(bytes) else { continue };
        wrong.extend(
            named(&text, &places).into_iter().map(|(n, place)| format!("{}:{n}: {place}", file.display())),
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_place_is_seen_where_it_stands() {
    let places = places();
    let folder = ["/wo", "rk/x"].concat();
    assert_eq!(named(&format!("one\ncd {folder}"), &places).len(), 1);
    assert_eq!(named(&format!("one\ncd {folder}"), &places)[0].0, 2);
    assert_eq!(named(&format!("src{folder} ./net{folder}"), &places).len(), 0);
    assert_eq!(named(&["https://py", "pi.org/simple"].concat(), &places).len(), 1);
}
