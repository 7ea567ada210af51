//! The command line. Flags that set a setting are made from the table of settings, so that name, meaning and
//! rank are the same in the file, the environment and here.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};

use super::chat::ChatArgs;
use super::db;
use super::exit::CODES;
use super::history::HistoryArgs;
use super::plan::PlanArgs;
use super::traces::TracesArgs;
use super::user;
use crate::config::settings::{self, Kind, SETTINGS, Setting};

/// Settings outside `practice.*` and `audio.*` that have a flag too.
const FURTHER_FLAGS: [&str; 7] = [
    "hub.bind",
    "hub.port",
    "llm.model",
    "llm.base_url",
    "llm.offline",
    "speech.engine",
    "telemetry.trace_layout",
];
/// Settings that every command takes.
const GLOBAL: [&str; 3] = ["data_dir", "user", "deployment"];
/// Settings that change what `analyze` finds.
const ANALYSIS: [&str; 13] = [
    "practice.scale",
    "practice.bpm",
    "practice.coach_every",
    "practice.metrics",
    "practice.sensitivity",
    "practice.strictness",
    "practice.a4",
    "practice.tuning",
    "practice.capo",
    "practice.whole_scale",
    "audio.detector",
    "audio.channel",
    "practice.language",
];

/// Settings that the tuner takes.
const TUNER: [&str; 14] = [
    "practice.tuning",
    "practice.capo",
    "practice.a4",
    "practice.sensitivity",
    "audio.input",
    "audio.channel",
    "audio.host",
    "audio.sample_rate",
    "audio.period",
    "audio.detector",
    "audio.fast",
    "audio.output",
    "audio.monitor",
    "audio.demo_seed",
];

/// Settings on which the round trip depends.
const CALIBRATION: [&str; 8] = [
    "audio.host",
    "audio.input",
    "audio.output",
    "audio.channel",
    "audio.sample_rate",
    "audio.period",
    "audio.output_period",
    "audio.click_volume",
];

/// Headings of the help, in the order in which they stand there.
mod heading {
    pub const PRACTICE: &str = "Practice";
    pub const SOUND: &str = "Sound";
    pub const COACH: &str = "Coach";
    pub const DEMO: &str = "Virtual guitarist";
    pub const PROGRAM: &str = "Program";
}

/// Under which heading a setting's flag stands.
fn heading(key: &str) -> &'static str {
    match key {
        "practice.coach_every" | "practice.mode" | "practice.language" | "audio.volume" => heading::COACH,
        "audio.demo_seed" | "audio.demo_mistakes" | "audio.monitor" => heading::DEMO,
        "hub.bind" | "hub.port" | "hub.hosts" | "hub.proxy" | "telemetry.trace_layout" => heading::PROGRAM,
        _ if GLOBAL.contains(&key) => heading::PROGRAM,
        _ => match key.split_once('.') {
            Some(("practice", _)) => heading::PRACTICE,
            Some(("audio", _)) => heading::SOUND,
            _ => heading::COACH,
        },
    }
}

/// What stands for the value in the help.
fn value_name(setting: &Setting) -> &'static str {
    match (setting.key, setting.kind) {
        ("data_dir", _) => "DIR",
        ("user", _) => "NAME",
        ("hub.bind", _) => "ADDRESS",
        ("hub.hosts", _) => "NAMES",
        ("practice.scale", _) => "SCALE",
        ("practice.tuning", _) => "TUNING",
        ("audio.input", _) => "INPUT",
        ("audio.output", _) => "DEVICE",
        ("llm.base_url", _) => "URL",
        ("llm.model", _) => "MODEL",
        ("practice.a4" | "audio.sample_rate", _) => "HZ",
        (_, Kind::Flag) => "BOOL",
        (_, Kind::Integer | Kind::Number) => "N",
        (_, Kind::Duration) => "TIME",
        (_, Kind::List) => "LIST",
        _ => "TEXT",
    }
}

fn flag(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.key)
        .long(setting.flag())
        .help(setting.doc)
        .value_name(value_name(setting))
        .help_heading(heading(setting.key));
    match setting.kind {
        Kind::Flag => arg.num_args(0..=1).default_missing_value("true").require_equals(true),
        Kind::Integer | Kind::Number => arg.allow_hyphen_values(true),
        _ => arg,
    }
}

/// Global flags come last in every help: clap would mix them in between the command's own.
const LAST: usize = 1000;

fn flags(keys: impl Iterator<Item = &'static str>) -> Vec<Arg> {
    keys.map(|k| flag(settings::by_key(k).expect("flags name settings of the table"))).collect()
}

fn plain() -> Arg {
    Arg::new("plain")
        .long("plain")
        .action(ArgAction::SetTrue)
        .help_heading(heading::PROGRAM)
        .help("plain lines instead of the live display")
}

fn format(values: &'static [&'static str]) -> Arg {
    Arg::new("format")
        .long("format")
        .value_parser(PossibleValuesParser::new(values))
        .default_value("text")
        .value_name("FORMAT")
        .help("how to print")
}

/// The whole command line.
#[must_use]
pub fn command() -> Command {
    let codes = CODES.iter().map(|(c, name, does)| format!("  {:>3} {name}: {does}", *c as u8));
    let after = format!(
        "Exit codes:\n{}\n\nEvery setting can also stand in config.toml or the environment: see .env.example.",
        codes.collect::<Vec<_>>().join("\n")
    );
    let (program, live): (Vec<_>, Vec<_>) = SETTINGS
        .iter()
        .map(|s| s.key)
        .filter(|k| k.starts_with("practice.") || k.starts_with("audio.") || FURTHER_FLAGS.contains(k))
        .partition(|k| heading(k) == heading::PROGRAM);
    Command::new("fretcoach")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Listens to your guitar, scores the playing, and coaches you aloud.")
        .after_help(after)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(flags(GLOBAL.into_iter()).into_iter().map(|a| a.global(true).display_order(LAST)))
        .arg(
            Arg::new("config")
                .long("config")
                .env("FRETCOACH_CONFIG")
                .hide_env(true)
                .value_name("FILE")
                .global(true)
                .display_order(LAST)
                .help_heading(heading::PROGRAM)
                .help("config file instead of config.toml in the data folder"),
        )
        .subcommand(
            Command::new("practice")
                .about("Practise: live scores, spoken advice, a summary that is kept")
                .args(flags(live.into_iter().chain(program)))
                .arg(
                    Arg::new("no-speech")
                        .long("no-speech")
                        .action(ArgAction::SetTrue)
                        .help_heading(heading::COACH)
                        .help("advice as text only"),
                )
                .arg(
                    Arg::new("plan")
                        .long("plan")
                        .value_name("ID")
                        .help_heading(heading::PRACTICE)
                        .help("carry out a practice plan: its id, or latest (see `fretcoach plan`)"),
                )
                .arg(
                    Arg::new("no-hub")
                        .long("no-hub")
                        .action(ArgAction::SetTrue)
                        .help_heading(heading::PROGRAM)
                        .help("no web pages"),
                )
                .arg(plain()),
        )
        .subcommand(
            Command::new("analyze")
                .about("Score a recording (WAV or FLAC) as if it were played now")
                .arg(Arg::new("file").value_name("FILE").required(true).help("the recording"))
                .args(flags(ANALYSIS.into_iter()))
                .arg(Arg::new("report").long("report").value_name("FILE.html").help(
                    "write a page with plots there: one file that opens in any browser, without a network",
                ))
                .arg(format(&["text", "json", "jsonl"])),
        )
        .subcommand(
            Command::new("tune")
                .about("Tune the guitar: needle and strobe, any tuning")
                .args(flags(TUNER.into_iter()))
                .arg(
                    Arg::new("string")
                        .long("string")
                        .value_name("N")
                        .value_parser(clap::value_parser!(u8).range(1..=10))
                        .help_heading(heading::PRACTICE)
                        .help("tune this string alone, 1 being the thinnest; else the nearest is found"),
                )
                .arg(
                    Arg::new("chromatic")
                        .long("chromatic")
                        .action(ArgAction::SetTrue)
                        .conflicts_with("string")
                        .help_heading(heading::PRACTICE)
                        .help("any note, not the strings of a tuning"),
                )
                .arg(
                    Arg::new("list")
                        .long("list")
                        .action(ArgAction::SetTrue)
                        .help("list the tunings that are known by name"),
                )
                .arg(plain()),
        )
        .subcommand(
            Command::new("calibrate")
                .about("Measure the latency between your loudspeakers and the guitar's input, and keep it")
                .args(flags(CALIBRATION.into_iter()))
                .arg(
                    Arg::new("tap")
                        .long("tap")
                        .action(ArgAction::SetTrue)
                        .help("strike muted strings along with the clicks (headphones, a guitar by cable)"),
                )
                .arg(format(&["text", "json"])),
        )
        .subcommand(
            Command::new("devices")
                .about("List the sound devices")
                .args(flags(["audio.host"].into_iter()))
                .arg(format(&["text", "json"])),
        )
        .subcommand(
            PlanArgs::augment_args(
                Command::new("plan").args(flags(
                    ["llm.model", "llm.base_url", "llm.offline", "practice.language"].into_iter(),
                )),
            )
            .about("What to practise today, planned from your last sessions"),
        )
        // The words of `about` come after the arguments, whose own documentation would replace them.
        .subcommand(
            HistoryArgs::augment_args(Command::new("history"))
                .about("List past sessions, show one, or delete one")
                .args_conflicts_with_subcommands(true)
                .subcommand(
                    Command::new("delete")
                        .about("Delete a session for good, with its notes, advice, recording and traces")
                        .arg(
                            Arg::new("session")
                                .value_name("SESSION")
                                .required(true)
                                .help("its id, the start of the id, or latest"),
                        )
                        .arg(db::yes()),
                ),
        )
        .subcommand(
            ChatArgs::augment_args(Command::new("chat"))
                .about("Ask about your practice: what improves, what is weak, what to practise next")
                .args(flags(["llm.model", "llm.base_url", "llm.offline"].into_iter())),
        )
        .subcommand(
            TracesArgs::augment_args(Command::new("traces"))
                .about("List the traces in the store, or show one as a tree"),
        )
        .subcommand(
            Command::new("hub")
                .about("Serve the Hub by itself: history, plans and chat, without a guitar")
                .args(flags(["hub.bind", "hub.port", "hub.hosts", "hub.proxy"].into_iter())),
        )
        .subcommand(
            Command::new("export")
                .about("Write your history to a file: JSON Lines that `import` reads, or CSV tables")
                .arg(
                    Arg::new("to")
                        .value_name("FILE")
                        .default_value("-")
                        .help("the file (the folder, for csv); - for standard output"),
                )
                .arg(
                    Arg::new("format")
                        .long("format")
                        .value_parser(PossibleValuesParser::new(["jsonl", "csv"]))
                        .default_value("jsonl")
                        .value_name("FORMAT")
                        .help("how to write"),
                )
                .arg(
                    Arg::new("all-users")
                        .long("all-users")
                        .action(ArgAction::SetTrue)
                        .help("of all players, not of --user alone"),
                ),
        )
        .subcommand(
            Command::new("import")
                .about("Take in a file that `export` has written; what is there already stays as it is")
                .arg(Arg::new("file").value_name("FILE").required(true).help("the file")),
        )
        .subcommand(db::command(format(&["text", "json"])))
        .subcommand(user::command())
        .subcommand(
            Command::new("doctor")
                .about("Test each part and say what to do about what fails")
                .args(flags(["audio.host", "audio.input", "audio.output", "audio.channel"].into_iter()))
                .arg(Arg::new("quiet").long("quiet").action(ArgAction::SetTrue).help("play nothing aloud"))
                .arg(format(&["text", "json"])),
        )
        .subcommand(
            Command::new("completions").about("Print the completions for a shell").arg(
                Arg::new("shell")
                    .value_name("SHELL")
                    .required(true)
                    .value_parser(clap::value_parser!(clap_complete::Shell))
                    .help("bash, zsh, fish, elvish or powershell"),
            ),
        )
        .subcommand(Command::new("man").about("Print the manual page"))
}

/// The settings given as flags of the chosen command (and the global ones), as (key, text).
#[must_use]
pub fn given(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for s in SETTINGS {
        if let Ok(Some(text)) = matches.try_get_one::<String>(s.key) {
            found.push((s.key, text.clone()));
        }
    }
    if matches.try_get_one::<bool>("no-speech").ok().flatten() == Some(&true) {
        found.push(("speech.engine", "none".into()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn flags_become_settings() {
        let m = command()
            .try_get_matches_from(
                "fretcoach --data-dir /d practice --scale Am --bpm 100 --direct --coach-every 10s --no-speech --user u"
                    .split(' '),
            )
            .unwrap();
        let sub = m.subcommand_matches("practice").unwrap();
        let given = given(sub);
        for pair in [
            ("data_dir", "/d"),
            ("practice.scale", "Am"),
            ("practice.bpm", "100"),
            ("audio.direct", "true"),
            ("practice.coach_every", "10s"),
            ("speech.engine", "none"),
            ("user", "u"),
        ] {
            assert!(given.contains(&(pair.0, pair.1.to_owned())), "{pair:?} missing in {given:?}");
        }
    }
}
