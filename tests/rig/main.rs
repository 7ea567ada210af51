//! The sound rig as a tool, for scripts and for people; not part of `cargo test`.
//!
//! `cargo test --release --test rig -- practice ARGS…` practises in this terminal on a sound card in memory, into which
//! a phrase is played over and over. `… -- measure …` does so unseen and measures memory and processor time.

#[path = "../common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use common::process::{Program, Running, Usage};
use common::rig::Rig;
use common::wav::{Wav, plucked};
use common::{die_with_parent, wait_until};

const RATE: u32 = 48_000;
const BPM: f64 = 90.0;
/// What is practised when the caller does not say otherwise; it fits [`PHRASE`].
const ARGS: [&str; 6] = ["--input", "guitar.monitor", "--scale", "A minor pentatonic", "--bpm", "90"];
/// A minor pentatonic up and down, in eighths.
const PHRASE: [u8; 10] = [57, 60, 62, 64, 67, 69, 67, 64, 62, 60];
/// Start-up is not practising: measured from then on.
const SETTLE: Duration = Duration::from_secs(3);
/// Longest wait for the program to open the device.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

const USAGE: &str = "usage: rig practice [arguments for `fretcoach practice`]
       rig measure [--seconds 60] [--rss-mb 60] [--cpu-percent 5] [-- arguments for `fretcoach practice`]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((command, rest)) if command == "practice" => practise(rest),
        Some((command, rest)) if command == "measure" => match Limits::read(rest) {
            Ok((limits, extra)) => measure(&limits, &extra),
            Err(wrong) => {
                eprintln!("{wrong}\n{USAGE}");
                ExitCode::from(2)
            }
        },
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Writes the phrase, repeated for at least `seconds`.
fn write_take(dir: &Path, seconds: f64) -> PathBuf {
    let note = 60.0 / BPM / 2.0;
    let rounds = (seconds / (note * PHRASE.len() as f64)).ceil() as usize;
    let take = dir.join("take.wav");
    Wav::mono(RATE, plucked(&PHRASE.repeat(rounds), note, RATE)).write(&take);
    take
}

/// The program with this terminal, the user's own environment and settings, and the rig's sound.
fn practise(args: &[String]) -> ExitCode {
    /// Longest practice before the guitar falls silent, seconds.
    const TAKE: f64 = 1800.0;
    let rig = Rig::start();
    let mut guitar = rig.play_guitar(&write_take(rig.dir(), TAKE));
    let mut command = Command::new(env!("CARGO_BIN_EXE_fretcoach"));
    command.arg("practice").args(ARGS).args(args).envs(rig.env());
    die_with_parent(&mut command);
    let status = command.status().expect("cargo built the program");
    // It may have come to its end already.
    let _ = guitar.kill();
    let _ = guitar.wait();
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// How long to measure, and what is too much.
#[derive(Debug)]
struct Limits {
    seconds: f64,
    rss_mb: f64,
    cpu_percent: f64,
}

impl Limits {
    /// Reads `--name value` pairs; what stands behind `--` is for the program.
    fn read(args: &[String]) -> Result<(Self, Vec<String>), String> {
        let mut limits = Self { seconds: 60.0, rss_mb: 60.0, cpu_percent: 5.0 };
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let field = match name.as_str() {
                "--" => break,
                "--seconds" => &mut limits.seconds,
                "--rss-mb" => &mut limits.rss_mb,
                "--cpu-percent" => &mut limits.cpu_percent,
                _ => return Err(format!("unknown argument `{name}`")),
            };
            let value = args.next().and_then(|v| v.parse::<f64>().ok()).filter(|v| v.is_finite() && *v > 0.0);
            *field = value.ok_or(format!("`{name}` takes a number above 0"))?;
        }
        Ok((limits, args.cloned().collect()))
    }
}

fn measure(limits: &Limits, extra: &[String]) -> ExitCode {
    let rig = Rig::start();
    let take = write_take(rig.dir(), limits.seconds + 30.0);
    let program = Program::fretcoach().on(&rig);
    let mut args = vec!["practice".to_owned()];
    args.extend(ARGS.map(String::from));
    args.extend_from_slice(extra);
    eprintln!("fretcoach {} for {} s, playing into the rig", args.join(" "), limits.seconds);

    let mut running = program.spawn(&args);
    wait_until("the program to open the guitar", OPEN_LIMIT, || {
        assert_runs(&mut running);
        let outputs = rig.pactl(&["list", "short", "source-outputs"]);
        (!outputs.is_empty()).then_some(())
    });
    let mut guitar = rig.play_guitar(&take);
    std::thread::sleep(SETTLE);

    assert_runs(&mut running);
    let (before, start) = (running.usage(), Instant::now());
    std::thread::sleep(Duration::from_secs_f64(limits.seconds));
    assert_runs(&mut running);
    let (after, wall) = (running.usage(), start.elapsed().as_secs_f64());

    running.interrupt();
    let ended = running.wait();
    let _ = guitar.kill();
    let _ = guitar.wait();
    report(limits, before, after, wall);
    println!("{}", ended.stdout.trim_end());
    if !ended.status.success() {
        println!("the program ended with {}: {}", ended.status, ended.stderr);
        return ExitCode::FAILURE;
    }
    let (rss, cpu) = (megabytes(after.peak_rss), percent(after.cpu - before.cpu, wall));
    if rss > limits.rss_mb || cpu > limits.cpu_percent {
        println!("over the limit");
        return ExitCode::FAILURE;
    }
    println!("within the limits");
    ExitCode::SUCCESS
}

fn assert_runs(running: &mut Running) {
    let runs = running.is_running();
    assert!(
        runs,
        "the program ended before it was measured\nstdout:\n{}\nstderr:\n{}",
        running.stdout(),
        running.stderr()
    );
}

/// Millions of bytes.
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn percent(cpu: f64, wall: f64) -> f64 {
    100.0 * cpu / wall
}

fn report(limits: &Limits, before: Usage, after: Usage, wall: f64) {
    println!("measured over {wall:.1} s of practice at {RATE} Hz");
    println!("resident memory, most   {:7.1} MB   limit {:.1} MB", megabytes(after.peak_rss), limits.rss_mb);
    println!(
        "resident memory, at end {:7.1} MB   at start {:.1} MB",
        megabytes(after.rss),
        megabytes(before.rss)
    );
    let own = after.cpu - before.cpu;
    println!(
        "processor, of one core  {:7.2} %    limit {:.1} %   ({own:.2} s)",
        percent(own, wall),
        limits.cpu_percent
    );
    let children = after.children_cpu - before.children_cpu;
    println!("its speech engines      {:7.2} %    ({children:.2} s, beside it)", percent(children, wall));
}
