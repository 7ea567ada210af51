//! Bad input: each mistake and each lack gives one clear line and a named exit code, or a mode that does without.
//! Nothing that was recorded is lost. Through the real program, without a sound card.

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::process::{Finished, Program};
use common::wait_until;
use fretcoach::cli::exit::Exit;
use serde_json::Value;

/// Only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// A session of the virtual guitarist that takes two seconds.
const SHORT: [&str; 6] = ["practice", "--input", "demo", "--no-speech", "--minutes", "0.03"];

fn run(args: &[&str]) -> Finished {
    Program::fretcoach().run(args)
}

/// What must be true of everything said to a player, whatever went wrong.
#[track_caller]
fn assert_plain(stderr: &str) {
    for noise in ["panicked", "backtrace", ".rs:", "Error {", "Err(", "Some(", "None)", "source:"] {
        assert!(!stderr.contains(noise), "{noise:?} is not for a player:\n{stderr}");
    }
}

/// One line on standard error that holds each of `says`, and the exit code.
#[track_caller]
fn assert_stopped(out: &Finished, exit: Exit, says: &[&str]) {
    assert_eq!(out.code(), Some(exit as i32), "stdout:\n{}\nstderr:\n{}", out.stdout, out.stderr);
    assert_plain(&out.stderr);
    assert_eq!(out.stderr.trim_end().lines().count(), 1, "more than one line:\n{}", out.stderr);
    assert!(out.stderr.starts_with("fretcoach: "), "{}", out.stderr);
    for part in says {
        assert!(out.stderr.contains(part), "{part:?} missing in: {}", out.stderr);
    }
}

/// The session went on to its end without what is missing.
#[track_caller]
fn assert_degraded(out: Finished, says: &[&str]) {
    let out = out.ok();
    assert_plain(&out.stderr);
    for part in says {
        assert!(out.stdout.contains(part), "{part:?} missing in:\n{}", out.stdout);
    }
}

/// How a sound file is written.
#[derive(Clone, Copy)]
struct Layout {
    rate: u32,
    channels: u16,
    bits: u16,
    float: bool,
}

const PLAIN: Layout = Layout { rate: 48_000, channels: 1, bits: 16, float: false };

/// Four plucked A3, half a second each.
fn plucks(rate: u32) -> Vec<f32> {
    common::wav::plucked(&[57; 4], 0.5, rate)
}

/// A WAV file that claims `claimed` bytes of sound (all by default).
fn wav(layout: Layout, samples: &[f32], claimed: Option<u32>) -> Vec<u8> {
    let Layout { rate, channels, bits, float } = layout;
    let mut data = Vec::new();
    for sample in samples {
        for _ in 0..channels {
            match (float, bits) {
                (true, _) => data.extend(sample.to_le_bytes()),
                (_, 8) => data.push((sample * 127.0 + 128.0) as u8),
                (_, 24) => data.extend(&((sample * 8_388_607.0) as i32).to_le_bytes()[..3]),
                _ => data.extend(((sample * 32_767.0) as i16).to_le_bytes()),
            }
        }
    }
    let frame = channels * bits / 8;
    let length = claimed.unwrap_or(data.len() as u32);
    let mut file = b"RIFF".to_vec();
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0");
    file.extend((if float { 3u16 } else { 1 }).to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(frame)).to_le_bytes());
    file.extend(frame.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend(length.to_le_bytes());
    file.extend(data);
    file
}

/// A program with a file of this name and content in its folder.
fn with_file(name: &str, content: &[u8]) -> Program {
    let program = Program::fretcoach();
    fs::write(program.home().join(name), content).unwrap();
    program
}

fn analysed(program: &Program, file: &str) -> Value {
    let out = program.run(&["analyze", file, "--format", "json"]).ok();
    serde_json::from_str(&out.stdout).unwrap()
}

fn sessions(program: &Program) -> Vec<Value> {
    let out = program.run(&["history", "--format", "json"]).ok();
    let list: Value = serde_json::from_str(&out.stdout).unwrap();
    list["sessions"].as_array().unwrap().clone()
}

// Devices

/// Where nothing may be mounted a test of full disks has nothing to say; in CI that is a failure, not a pass.
fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("skipped: {why}");
}

#[test]
fn a_missing_device_by_name_or_number() {
    for device in ["no such card", "7"] {
        let out = run(&["practice", "--input", device, "--minutes", "0.03"]);
        assert_stopped(&out, Exit::Input, &["input device"]);
        assert_eq!(out.stdout, "");
    }
}

#[test]
fn without_any_device_the_virtual_guitarist_plays_and_the_advice_is_text() {
    let out = run(&["practice", "--minutes", "0.03", "--output", "no such card"]);
    assert_degraded(out, &["the virtual guitarist plays", "coach (offline)", "Session: ", "not spoken"]);
}

// Files

#[test]
fn files_that_hold_no_sound_that_can_be_read() {
    let ok = wav(PLAIN, &plucks(48_000), None);
    let no_channels = wav(Layout { channels: 0, ..PLAIN }, &[], None);
    let no_rate = wav(Layout { rate: 0, ..PLAIN }, &[0.1; 100], None);
    let mut garbled_flac = b"fLaC".to_vec();
    garbled_flac.extend([0x5a; 400]);
    let cases: [(&str, &[u8], &str); 10] = [
        ("notes.wav", b"Buy strings on Monday.\n", "not a WAV or FLAC file"),
        ("song.mp3", b"ID3\x04\0\0\0\0\0\x21and what follows", "MP3"),
        ("renamed.wav", b"ID3\x04\0\0\0\0\0\x21and what follows", "MP3"),
        ("empty.wav", b"", "is empty"),
        (
            "no-samples.wav",
            &ok[..44],
            "damaged or of an unsupported kind: it is cut short (the file ends early): 0.0 s",
        ),
        ("head.wav", &ok[..20], "head.wav"),
        ("four.wav", b"RIFF", "four.wav"),
        ("channels.wav", &no_channels, "0 channels"),
        ("rate.wav", &no_rate, "0 Hz"),
        ("garbled.flac", &garbled_flac, "damaged"),
    ];
    for (name, content, says) in cases {
        let program = with_file(name, content);
        assert_stopped(&program.run(&["analyze", name]), Exit::Input, &[name, says]);
        assert_stopped(&program.run(&["practice", "--input", name]), Exit::Input, &[name, says]);
    }
}

#[test]
fn a_file_that_is_not_there_and_a_folder() {
    let program = Program::fretcoach();
    fs::create_dir(program.home().join("takes.wav")).unwrap();
    for command in [&["analyze"][..], &["practice", "--input"]] {
        for (name, says) in [("none.wav", "No such file"), ("takes.wav", "it is a folder")] {
            let args = [command, &[name]].concat();
            assert_stopped(&program.run(&args), Exit::Input, &[name, says]);
        }
    }
}

#[test]
fn a_file_that_may_not_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let program = with_file("secret.wav", &wav(PLAIN, &plucks(48_000), None));
    let file = program.home().join("secret.wav");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o0)).unwrap();
    // The superuser may read everything: then there is nothing to refuse.
    if fs::File::open(&file).is_err() {
        assert_stopped(&program.run(&["analyze", "secret.wav"]), Exit::Input, &["secret.wav", "denied"]);
    }
}

#[test]
fn a_recording_cut_short_is_analysed_as_far_as_it_goes() {
    let samples = plucks(48_000);
    let program = with_file("cut.wav", &wav(PLAIN, &samples, Some(4_000_000)));
    let out = program.run(&["analyze", "cut.wav", "--format", "json"]).ok();
    assert_plain(&out.stderr);
    assert!(out.stderr.contains("cut.wav: it is cut short"), "{}", out.stderr);
    let found: Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!(found["notes"].as_array().unwrap().len(), 4);
}

#[test]
fn silence_and_a_single_sample_have_no_score() {
    for (name, samples) in [("silent.wav", vec![0.0; 48_000]), ("one.wav", vec![0.5])] {
        let program = with_file(name, &wav(PLAIN, &samples, None));
        assert_degraded(program.run(&["analyze", name]), &["No notes were heard", "fretcoach doctor"]);
        let found = analysed(&program, name);
        assert_eq!(found["summary"]["note_count"], 0);
        assert!(found["summary"]["overall"].is_null(), "no notes have no score: {found}");
        assert_degraded(
            program.run(&["practice", "--input", name, "--fast", "--no-speech"]),
            &["No notes were heard"],
        );
        assert_eq!(sessions(&program)[0]["note_count"], 0);
    }
}

#[test]
fn every_rate_width_and_channel_count_is_heard_alike() {
    let layouts = [
        Layout { rate: 44_100, ..PLAIN },
        Layout { rate: 96_000, bits: 24, channels: 2, ..PLAIN },
        Layout { rate: 192_000, bits: 32, float: true, ..PLAIN },
        Layout { bits: 8, ..PLAIN },
        Layout { channels: 8, ..PLAIN },
    ];
    for layout in layouts {
        let program = with_file("take.wav", &wav(layout, &plucks(layout.rate), None));
        let found = analysed(&program, "take.wav");
        let midi: Vec<_> = found["notes"].as_array().unwrap().iter().map(|n| n["midi"].clone()).collect();
        assert_eq!(midi, [57, 57, 57, 57], "{} Hz, {} bits", layout.rate, layout.bits);
    }
}

#[test]
fn a_channel_that_the_file_does_not_have() {
    let program = with_file("take.wav", &wav(PLAIN, &plucks(48_000), None));
    let out = program.run(&["analyze", "take.wav", "--channel", "3"]);
    assert_stopped(&out, Exit::Input, &["take.wav", "not 3"]);
}

// Settings

#[test]
fn impossible_settings() {
    for (flag, value, says) in [
        ("--scale", "H wibble", "nearest"),
        ("--bpm", "1000", "20 to 400"),
        ("--bpm", "-5", "20 to 400"),
        ("--bpm", "fast", "not a number"),
        ("--a4", "9", "380 to 500"),
        ("--tuning", "wibble", "no tuning known here"),
        ("--tuning", "E2 A2 D3 G3 B3 X4", "`X4`"),
        ("--capo", "13", "0 to 12"),
        ("--capo", "300", "out of range"),
        ("--capo", "-1", "out of range"),
        ("--strictness", "2", "0 to 1"),
        ("--metrics", "pitch,swing", "swing"),
        ("--metrics", ",", "nothing is left to score"),
        ("--detector", "ear", "fretcoach, mcleod"),
        ("--whole-scale=maybe", "", "neither true nor false"),
        ("--user", " ", "player"),
        ("--data-dir", "", "--data-dir is empty"),
    ] {
        let value = (!value.is_empty() || flag == "--data-dir").then_some(value);
        let args: Vec<&str> = ["analyze", "take.wav", flag].into_iter().chain(value).collect();
        assert_stopped(&with_file("take.wav", b"never read").run(&args), Exit::Config, &[says]);
    }
    for (flag, value, says) in [
        ("--minutes", "-1", "0 to 1440"),
        ("--coach-every", "soon", "not a duration"),
        ("--host", "jack", "auto, pulseaudio, alsa"),
        ("--mode", "robot", "manual, ai"),
        ("--speech", "parrot", "espeak-ng"),
        ("--base-url", "localhost:1", "http://"),
        ("--demo-mistakes", "spread=3", "did you mean"),
        ("--demo-mistakes", "timing=9999", "0 to 200"),
    ] {
        let program = Program::fretcoach();
        assert_stopped(&program.run(&["practice", "--input", "demo", flag, value]), Exit::Config, &[says]);
        assert_eq!(sessions(&program), Vec::<Value>::new(), "nothing has begun");
    }
}

#[test]
fn an_unknown_setting_names_the_nearest_one_wherever_it_stands() {
    let program = with_file("c.toml", b"[practice]\nbmp = 90\n");
    let out = program.run(&["--config", "c.toml", "history"]);
    assert_stopped(&out, Exit::Config, &["c.toml", "`practice.bmp`", "did you mean `practice.bpm`?"]);

    let program = Program::fretcoach();
    fs::create_dir(program.data_dir()).unwrap();
    fs::write(program.data_dir().join("config.toml"), "[audoi]\ninput = \"demo\"\n").unwrap();
    assert_stopped(&program.run(&["history"]), Exit::Config, &["config.toml", "`audoi`"]);

    let out = with_file(".env", b"FRETCOACH_SCAEL=Am\n").run(&["history"]);
    assert_stopped(&out, Exit::Config, &[".env", "did you mean `FRETCOACH_SCALE`?"]);

    let out = Program::fretcoach().env("FRETCOACH_BMP", "90").run(&["history"]);
    assert_stopped(&out, Exit::Config, &["environment", "did you mean `FRETCOACH_BPM`?"]);

    // The command line is told by clap, in its usual form.
    let out = run(&["practice", "--scael", "Am"]);
    assert_eq!(out.code(), Some(Exit::Usage as i32));
    assert!(out.stderr.contains("--scale"), "{}", out.stderr);
    assert_plain(&out.stderr);
}

#[test]
fn files_of_settings_that_cannot_be_read() {
    for (content, says) in [
        ("[practice\nbpm = 3\n", "(line 1)"),
        ("[practice]\nbpm = \"fast\"\n", "practice.bpm: it must be a number"),
        ("[practice]\ncapo = -1\n", "practice.capo: -1 is out of range"),
        ("practice = 3\n", "[practice]"),
        ("[llm]\napi_key = 4242\n", "llm.api_key: it must be a text"),
    ] {
        let out = with_file("c.toml", content.as_bytes()).run(&["--config", "c.toml", "history"]);
        assert_stopped(&out, Exit::Config, &["c.toml", says]);
        assert!(!out.stderr.contains("4242"), "a key is never shown: {}", out.stderr);
    }
    assert_stopped(&run(&["--config", "none.toml", "history"]), Exit::Config, &["none.toml", "No such file"]);
    let out = with_file(".env", b"OPENAI_API_KEY sk-secret\n").run(&["history"]);
    assert_stopped(&out, Exit::Config, &[".env"]);
    assert!(!out.stderr.contains("sk-secret"), "a key is never shown: {}", out.stderr);
}

// Servers

/// A server that takes connections and never answers.
fn silent_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn a_server_that_hangs_leaves_the_offline_coach() {
    let (_server, url) = silent_server();
    let program = Program::fretcoach()
        .env("OPENAI_BASE_URL", url)
        .env("FRETCOACH_FIRST_TOKEN_TIMEOUT", "200ms")
        .env("FRETCOACH_LLM_TIMEOUT", "1s");
    assert_degraded(program.run(&SHORT), &["coach (offline)", "no first token within 200ms", "Session: "]);
    assert_eq!(sessions(&program)[0]["end"], "finished");
    let out = program.run(&["doctor", "--quiet", "--input", "demo"]);
    assert_eq!(out.code(), Some(Exit::Unhealthy as i32), "{}", out.stdout);
    assert!(out.stdout.contains("FAIL model"), "{}", out.stdout);
}

#[test]
fn a_server_that_refuses_leaves_the_offline_coach() {
    // The port was free a moment ago, and nobody is told of it.
    let (server, url) = silent_server();
    drop(server);
    let program = Program::fretcoach().env("OPENAI_BASE_URL", &url);
    assert_degraded(program.run(&SHORT), &["coach (offline)", "no connection to", &url, "Session: "]);
}

/// Answers each request with 401, as a server does that does not know the key.
fn refusing_server() -> String {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut request = [0; 65_536];
                let _ = stream.read(&mut request);
                let body = r#"{"error":{"message":"Incorrect API key provided.","code":"invalid_api_key"}}"#;
                let _ = write!(
                    stream,
                    "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
            });
        }
    });
    url
}

#[test]
fn a_wrong_key_leaves_the_offline_coach_and_is_never_shown() {
    let program = Program::fretcoach()
        .env("OPENAI_BASE_URL", refusing_server())
        .env("OPENAI_API_KEY", "sk-wrong-and-secret");
    let out = program.run(&SHORT);
    for text in [&out.stdout, &out.stderr] {
        assert!(!text.contains("sk-wrong-and-secret"), "{text}");
    }
    assert_degraded(out, &["coach (offline)", "key", "Session: "]);
    let log = fs::read_to_string(program.data_dir().join("fretcoach.log")).unwrap();
    assert!(!log.contains("sk-wrong-and-secret"), "{log}");
}

#[test]
fn a_collector_that_is_not_there_changes_nothing() {
    let (server, url) = silent_server();
    drop(server);
    let program =
        Program::fretcoach().env("OTEL_EXPORTER_OTLP_ENDPOINT", &url).env("FRETCOACH_FLUSH_TIMEOUT", "200ms");
    let out = program.run(&SHORT).ok();
    assert_eq!(out.stderr, "");
    let traces = program.run(&["traces"]).ok();
    assert!(traces.stdout.contains("practice session"), "{}", traces.stdout);
}

// The data folder

#[test]
fn a_data_folder_that_cannot_be() {
    for dir in ["file", "file/below"] {
        for command in [&["history"][..], &SHORT] {
            let args = [&["--data-dir", dir], command].concat();
            let out = Program::new(env!("CARGO_BIN_EXE_fretcoach"));
            fs::write(out.home().join("file"), b"not a folder").unwrap();
            assert_stopped(&out.run(&args), Exit::Data, &[dir, "--data-dir"]);
        }
    }
    // A folder of the kernel's, in which nobody can make another.
    let out =
        Program::new(env!("CARGO_BIN_EXE_fretcoach")).run(&["--data-dir", "/proc/fretcoach", "history"]);
    assert_stopped(&out, Exit::Data, &["/proc/fretcoach", "--data-dir"]);
}

/// Runs a script with this program as `$1` and a data folder as `$2`, on a file system of its own of `size` that is
/// mounted at `$2/..`. `None` where the system lets nobody mount one.
fn on_a_small_disk(size: &str, script: &str) -> Option<Finished> {
    let dir = tempfile::tempdir().unwrap();
    let mount = |flags: &[&str], then: &str| {
        let mut command = Command::new("unshare");
        command
            .args(flags)
            .args(["sh", "-c"])
            .arg(format!("mount -t tmpfs -o size={size} none \"$3\" || exit 99\n{then}"))
            .arg("sh")
            .arg(env!("CARGO_BIN_EXE_fretcoach"))
            .arg(dir.path().join("data"))
            .arg(dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", dir.path())
            .stdin(Stdio::null());
        command.output()
    };
    let ways: [&[&str]; 2] = [&["-m"], &["-r", "-m"]];
    let flags = ways.into_iter().find(|flags| mount(flags, "true").is_ok_and(|o| o.status.success()))?;
    let out = mount(flags, script).unwrap();
    Some(Finished {
        status: out.status,
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    })
}

#[test]
fn a_disk_that_is_full_from_the_start() {
    let script = "\"$1\" --data-dir \"$2\" practice --input demo --no-speech --minutes 0.03";
    let Some(out) = on_a_small_disk("16k", script) else {
        skipped("no file system can be mounted here; the store's own tests fill a database");
        return;
    };
    assert_stopped(&out, Exit::Data, &["no room left on the disk"]);
}

#[test]
fn a_disk_that_fills_up_is_told_at_once_and_keeps_what_was_recorded() {
    // Ballast takes the room between begin and end, so that a start succeeds and the session does not.
    let script = "\
        \"$1\" --data-dir \"$2\" history >/dev/null || exit 98\n\
        \"$1\" --data-dir \"$2\" practice --input demo --no-speech --minutes 0.1 & pid=$!\n\
        until \"$1\" --data-dir \"$2\" history latest --format json 2>/dev/null | grep -q '\"note_count\": [1-9]'; do sleep 0.05; done\n\
        dd if=/dev/zero of=\"$2/ballast\" bs=4k 2>/dev/null\n\
        wait $pid; code=$?\n\
        rm \"$2/ballast\"\n\
        echo ---; \"$1\" --data-dir \"$2\" history latest --format json || exit 97\n\
        exit $code";
    let Some(out) = on_a_small_disk("1m", script) else {
        skipped("no file system can be mounted here; the store's own tests fill a database");
        return;
    };
    assert_stopped(&out, Exit::Data, &["could not be stored", "no room left on the disk"]);
    let (during, kept) = out.stdout.split_once("---").unwrap();
    assert!(during.contains("no room left on the disk"), "told while it happens:\n{during}");
    assert!(during.contains("Session: "), "the summary is shown all the same:\n{during}");
    let kept: Value = serde_json::from_str(kept).unwrap();
    assert!(!kept["notes"].as_array().unwrap().is_empty());
}

#[test]
fn room_that_comes_back_lets_the_whole_session_be_kept() {
    let script = "\
        \"$1\" --data-dir \"$2\" history >/dev/null || exit 98\n\
        \"$1\" --data-dir \"$2\" practice --input demo --no-speech --minutes 0.1 >\"$3/said\" & pid=$!\n\
        until \"$1\" --data-dir \"$2\" history latest --format json 2>/dev/null | grep -q '\"note_count\": [1-9]'; do sleep 0.05; done\n\
        dd if=/dev/zero of=\"$2/ballast\" bs=4k 2>/dev/null\n\
        sleep 1.5; rm \"$2/ballast\"\n\
        wait $pid || exit 96\n\
        \"$1\" --data-dir \"$2\" history latest --format json";
    let Some(out) = on_a_small_disk("2m", script) else {
        skipped("no file system can be mounted here; the store's own tests fill a database");
        return;
    };
    let kept: Value = serde_json::from_str(&out.ok().stdout).unwrap();
    assert_eq!(kept["session"]["end"], "finished");
    assert_eq!(
        kept["notes"].as_array().unwrap().len() as u64,
        kept["summary"]["facts"]["note_count"].as_u64().unwrap()
    );
}

#[test]
fn a_read_only_disk() {
    let script = "mount -o remount,ro none \"$3\" && \"$1\" --data-dir \"$3\" practice --input demo";
    let Some(out) = on_a_small_disk("1m", script) else {
        skipped("no file system can be mounted here");
        return;
    };
    assert_stopped(&out, Exit::Data, &["Read-only", "--data-dir"]);
}

fn database(program: &Program) -> PathBuf {
    program.data_dir().join("fretcoach.db")
}

/// A program with a database in which one session stands.
fn practised() -> Program {
    let program = Program::fretcoach();
    program.run(&SHORT).ok();
    program
}

#[test]
fn a_damaged_a_foreign_and_a_newer_database_are_left_as_they_are() {
    let refused = |program: &Program, says: &[&str]| {
        let before = fs::read(database(program)).unwrap();
        for command in [&["history"][..], &["traces"], &SHORT] {
            assert_stopped(&program.run(command), Exit::Data, says);
        }
        assert!(fs::read(database(program)).unwrap() == before, "the file was changed");
        let out = program.run(&["doctor", "--quiet", "--input", "demo"]);
        assert_eq!(out.code(), Some(Exit::Unhealthy as i32), "{}", out.stdout);
    };
    let with_database = |content: &[u8]| {
        let program = Program::fretcoach();
        fs::create_dir(program.data_dir()).unwrap();
        fs::write(database(&program), content).unwrap();
        program
    };
    refused(&with_database(b"a shopping list, not a database"), &["not a FretCoach database", "untouched"]);

    let program = practised();
    let whole = fs::read(database(&program)).unwrap();
    let mut damaged = whole.clone();
    damaged[4096..].fill(0x5a);
    refused(&with_database(&damaged), &["damaged", "move it away"]);

    sqlite(
        &program,
        "INSERT INTO _sqlx_migrations SELECT 9999, description, installed_on, success, checksum, execution_time FROM _sqlx_migrations LIMIT 1",
    );
    refused(&program, &["newer FretCoach", "9999"]);
}

/// Changes a database behind the program's back.
fn sqlite(program: &Program, sql: &'static str) {
    use sqlx::{Connection, Executor};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database(program));
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        connection.execute(sql).await.unwrap();
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
        connection.close().await.unwrap();
    });
}

#[test]
fn a_second_capture_on_the_same_data_is_refused_and_reading_is_not() {
    let program = Program::fretcoach();
    let mut first = program.spawn(&["practice", "--input", "demo", "--no-speech"]);
    first.wait_for("listening", PATIENCE);
    let second = program.run(&["practice", "--input", "demo"]);
    assert_stopped(&second, Exit::Busy, &[&first.pid().to_string(), "already practises", "--data-dir"]);
    wait_until("a note to be kept", PATIENCE, || {
        (sessions(&program).first()?["note_count"].as_u64()? > 0).then_some(())
    });
    assert_eq!(sessions(&program)[0]["running"], true);
    first.interrupt();
    let first = first.wait().ok();
    assert!(first.stdout.contains("Session: "), "{}", first.stdout);
    assert_eq!(sessions(&program)[0]["end"], "finished");
}

#[test]
fn a_killed_session_keeps_its_notes_and_is_closed_by_the_next_start() {
    let program = Program::fretcoach();
    let mut first = program.spawn(&["practice", "--input", "demo", "--no-speech"]);
    first.wait_for("listening", PATIENCE);
    let kept = wait_until("two notes to be kept", PATIENCE, || {
        sessions(&program).first()?["note_count"].as_u64().filter(|n| *n >= 2)
    });
    first.signal(libc::SIGKILL);
    first.wait();
    assert_eq!(
        (&sessions(&program)[0]["end"], &sessions(&program)[0]["running"]),
        (&Value::Null, &Value::Bool(false))
    );
    let out = program.run(&SHORT).ok();
    assert!(out.stdout.contains("cut off"), "{}", out.stdout);
    let all = sessions(&program);
    assert_eq!((&all[1]["end"], &all[0]["end"]), (&Value::from("interrupted"), &Value::from("finished")));
    assert!(all[1]["note_count"].as_u64().unwrap() >= kept);
    let list = program.run(&["history"]).ok();
    assert!(list.stdout.contains('~'), "{}", list.stdout);
}

#[test]
fn a_session_or_trace_that_does_not_exist() {
    let program = Program::fretcoach();
    for command in ["history", "traces"] {
        assert_stopped(&program.run(&[command, "nope"]), Exit::NotFound, &["`nope`", command]);
        for format in ["text", "json"] {
            let out = program.run(&[command, "latest", "--format", format]);
            assert_stopped(&out, Exit::NotFound, &["yet", "fretcoach practice"]);
            assert_eq!(out.stdout, "");
        }
        program.run(&[command]).ok();
    }
    let out = program.run(&["traces", "--session", "nope"]);
    assert_stopped(&out, Exit::NotFound, &["`nope`"]);
}

// Surroundings

/// Runs a shell line with the program as `$F`.
fn shell(program: &Program, line: &str) -> Finished {
    let out = Command::new("sh")
        .args(["-c", line])
        .current_dir(program.home())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", program.home())
        .env("F", env!("CARGO_BIN_EXE_fretcoach"))
        .env("FRETCOACH_DATA_DIR", program.data_dir())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Finished {
        status: out.status,
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let program = with_file("take.wav", &wav(PLAIN, &plucks(48_000), None));
    for command in [
        "--help",
        "devices",
        "devices --format json",
        "history",
        "traces --format json",
        "analyze take.wav --format jsonl",
        "doctor --quiet --input demo",
    ] {
        // The reader is gone before the first line is written.
        let line = format!("{{ sleep 0.3; \"$F\" {command}; echo $? >code; }} | true");
        let out = shell(&program, &line);
        assert_eq!(out.stderr, "", "{command}");
        assert_eq!(fs::read_to_string(program.home().join("code")).unwrap().trim(), "0", "{command}");
    }
    let out = shell(&program, "\"$F\" analyze take.wav --format jsonl | head -1");
    assert!(out.stdout.starts_with('{') && out.stdout.ends_with("}\n"), "{}", out.stdout);
    assert_eq!(out.stderr, "");
}

#[test]
fn a_session_whose_reader_leaves_is_kept_to_its_end() {
    let program = Program::fretcoach();
    let line = format!("\"$F\" {} | head -1", SHORT.join(" "));
    let out = shell(&program, &line);
    assert_eq!(out.stderr, "");
    assert_eq!(sessions(&program)[0]["end"], "finished");
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let program = with_file("take.wav", &wav(PLAIN, &plucks(48_000), None));
    for command in ["devices", "history", "traces", "analyze take.wav"] {
        let out = shell(&program, &format!("\"$F\" {command} >/dev/full"));
        assert_stopped(&out, Exit::Failed, &["could not be printed", "No space left"]);
    }
}

#[test]
fn no_home_is_needed_with_a_data_folder_and_said_without() {
    let program = Program::fretcoach();
    let data = program.data_dir();
    let out = shell(&program, "unset HOME; \"$F\" history");
    assert_degraded(out, &["No sessions yet"]);
    assert!(Path::new(&data).is_dir());
    // A home in which nothing can be made, as for a service user.
    let out = shell(&program, "unset FRETCOACH_DATA_DIR; HOME=/proc/none \"$F\" history");
    assert_stopped(&out, Exit::Data, &["/proc/none", "--data-dir"]);
}
