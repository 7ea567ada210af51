//! The harness itself: a test that rests on it can only be trusted when the rig carries sound exactly, faults really
//! are faults, and the questions asked of a recording can be answered with no.

mod common;

use std::time::Duration;

use common::process::{Program, Tmux, Usage};
use common::rig::Rig;
use common::wav::{Wav, align, mix_at_level, one_voice_at_a_time, plucked, resample, rms, speech_bursts};

const RATE: u32 = 48_000;
/// Longest wait for a thing that takes milliseconds.
const SOON: Duration = Duration::from_secs(20);
/// The open strings.
const STRINGS: [u8; 6] = [40, 45, 50, 55, 59, 64];

fn silence(seconds: f64) -> Vec<f32> {
    vec![0.0; (seconds * f64::from(RATE)) as usize]
}

/// Noise in syllables, different for each `seed`: like speech in what matters here.
fn voice(seed: u32, seconds: f64) -> Vec<f32> {
    let mut noise = 0x9e37_79b9_u32.wrapping_mul(seed + 1) | 1;
    let mut low = 0.0_f32;
    (0..(seconds * f64::from(RATE)) as usize)
        .map(|i| {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            // Low-passed below 2 kHz or so, in syllables of a fifth of a second.
            low += 0.2 * ((f64::from(noise) / f64::from(u32::MAX) - 0.5) as f32 - low);
            let syllable = (std::f64::consts::PI * 5.0 * i as f64 / f64::from(RATE)).sin().abs();
            low * (0.15 + syllable as f32)
        })
        .collect()
}

#[test]
fn what_is_played_into_the_guitar_is_captured_exactly() {
    let rig = Rig::start();
    let phrase = plucked(&STRINGS, 0.2, RATE);
    let take = rig.dir().join("take.wav");
    Wav::mono(RATE, [silence(0.3), phrase.clone(), silence(0.3)].concat()).write(&take);

    let recording = rig.record("guitar.monitor", &rig.dir().join("heard.wav"));
    assert!(rig.play_guitar(&take).wait().expect("paplay ends").success());
    let heard = recording.stop();

    assert_eq!((heard.rate, heard.channels), (RATE, 1));
    let place = align(&phrase, &heard.to_mono()).expect("the recording is longer than the phrase");
    let there = &heard.samples[place.offset..place.offset + phrase.len()];
    assert!(there == phrase, "samples changed on the way: correlation {}", place.correlation);
}

#[test]
fn the_guitar_hears_the_speakers_through_the_loopback_only() {
    let rig = Rig::start();
    let sound = voice(1, 1.0);
    let file = rig.dir().join("voice.wav");
    Wav::mono(RATE, [silence(0.3), sound.clone(), silence(0.5)].concat()).write(&file);
    let speak = || {
        let recording = rig.record("guitar.monitor", &rig.dir().join("heard.wav"));
        let played = Program::new("paplay").on(&rig).run(&["--device=speakers", &file.display().to_string()]);
        assert!(played.status.success(), "{}", played.stderr);
        recording.stop().to_mono()
    };

    let apart = speak();
    assert_eq!(rms(&apart), 0.0, "without a loopback nothing is heard");

    let loopback = rig.loopback(Duration::from_millis(60), -6.0);
    let together = speak();
    let place = align(&sound, &together).expect("the recording is longer than the voice");
    assert!(place.correlation > 0.99, "{place:?}");
    assert!((20.0 * place.gain.log10() + 6.0).abs() < 0.5, "6 dB softer: {place:?}");

    drop(loopback);
    let apart = speak();
    assert_eq!(rms(&apart), 0.0, "the loopback ended");
}

#[test]
fn two_rigs_do_not_hear_each_other() {
    let (one, two) = (Rig::start(), Rig::start());
    let take = one.dir().join("take.wav");
    Wav::mono(RATE, [silence(0.3), plucked(&[45], 0.3, RATE)].concat()).write(&take);
    let recordings = [&one, &two].map(|rig| rig.record("guitar.monitor", &rig.dir().join("heard.wav")));
    assert!(one.play_guitar(&take).wait().expect("paplay ends").success());
    let [heard, nothing] = recordings.map(|recording| rms(&recording.stop().samples));
    assert!(heard > 0.0);
    assert_eq!(nothing, 0.0);
}

#[test]
fn the_server_can_be_killed_stalled_and_brought_back() {
    let rig = Rig::start();
    let client = || Program::new("pactl").on(&rig).run(&["info"]).status.success();
    assert!(client());
    rig.kill_server();
    assert!(!client());
    rig.restart();
    assert!(client());
    assert_eq!(rig.sinks(), ["guitar", "speakers"]);

    // A stalled server answers late, but answers the same clients.
    let before = rig.server_pid();
    rig.stall(Duration::from_millis(100));
    assert!(client());
    assert_eq!(rig.server_pid(), before);
}

#[test]
fn devices_can_be_taken_away_and_come_back_at_another_rate() {
    let rig = Rig::start();
    rig.unload_sink("guitar");
    assert_eq!(rig.sinks(), ["speakers"]);
    rig.load_sink_at("guitar", 44_100);
    assert_eq!(rig.sinks(), ["speakers", "guitar"]);
    assert_eq!(rig.pactl(&["get-default-source"]), "guitar.monitor");
    let heard = rig.record("guitar.monitor", &rig.dir().join("heard.wav")).stop();
    assert_eq!((heard.rate, heard.channels), (44_100, 1));
    rig.unload_sink("speakers");
    rig.load_sink("speakers");
    assert_eq!(rig.pactl(&["get-default-sink"]), "speakers");
}

#[test]
fn a_rig_leaves_nothing_behind() {
    let rig = Rig::start();
    let (pid, dir) = (rig.server_pid(), rig.dir().to_owned());
    drop(rig);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!dir.exists());
}

#[test]
fn bursts_are_split_by_long_silence_alone() {
    let sound = voice(2, 0.5);
    let recording = [
        silence(0.25),
        sound.clone(),
        silence(0.3),
        sound.clone(),
        silence(0.5),
        sound.clone(),
        silence(1.0),
    ]
    .concat();
    let bursts = speech_bursts(&recording, RATE);
    let expected = [(0.25, 1.55), (2.05, 2.55)];
    assert_eq!(bursts.len(), expected.len(), "{bursts:?}");
    for (burst, expected) in bursts.iter().zip(expected) {
        assert!((burst.0 - expected.0).abs() < 0.03 && (burst.1 - expected.1).abs() < 0.03, "{bursts:?}");
    }
    assert!(speech_bursts(&silence(1.0), RATE).is_empty());
    assert!(speech_bursts(&[], RATE).is_empty());
}

#[test]
fn a_sound_is_found_where_it_stands_and_at_its_level() {
    let sound = voice(3, 0.4);
    let mut room = voice(4, 3.0);
    mix_at_level(&mut room, &sound, 70_000, 20.0);
    let place = align(&sound, &room).expect("it fits");
    assert_eq!(place.offset, 70_000);
    assert!(place.correlation > 0.95 && place.gain > 1.0, "{place:?}");

    let elsewhere = align(&voice(5, 0.4), &room).expect("it fits");
    assert!(elsewhere.correlation < 0.5, "{elsewhere:?}");
    assert_eq!(align(&room, &sound), None, "too long");
    assert_eq!(align(&silence(0.1), &room), None, "silent");
}

#[test]
fn one_voice_at_a_time_is_told_from_two() {
    let (a, b) = (voice(6, 2.0), voice(7, 2.0));
    let check = |recording: &[f32]| one_voice_at_a_time(recording, RATE, &[&a, &b], 0.1);

    // One after the other, softer, and resampled there and back as a player does.
    let apart: Vec<f32> = [silence(0.5), a.clone(), silence(0.2), b.clone(), silence(0.5)]
        .concat()
        .iter()
        .map(|s| 0.3 * s)
        .collect();
    let apart = resample(&resample(&apart, RATE, 44_100), 44_100, RATE);
    let heard = check(&apart).expect("nobody interrupts");
    assert!((heard[0].0 - 0.5).abs() < 0.05 && (heard[0].1 - 2.5).abs() < 0.05, "{heard:?}");
    assert!((heard[1].0 - 2.7).abs() < 0.05 && (heard[1].1 - 4.7).abs() < 0.05, "{heard:?}");

    // The second cuts the first off.
    let cut = [silence(0.5), a[..RATE as usize].to_vec(), b.clone()].concat();
    let heard = check(&cut).expect("a cut is no overlap");
    assert!((heard[0].1 - 1.5).abs() < 0.05, "{heard:?}");

    // The second starts while the first still speaks.
    let mut both = [silence(0.5), a.clone(), silence(2.0)].concat();
    for (to, from) in both[RATE as usize * 2..].iter_mut().zip(&b) {
        *to += from;
    }
    check(&both).expect_err("both speak for half a second");

    // A third, unknown voice beside the first.
    let mut unknown = [silence(0.5), a.clone(), b.clone()].concat();
    mix_at_level(&mut unknown, &voice(8, 0.8), RATE as usize, 0.0);
    check(&unknown).expect_err("somebody else speaks too");

    check(&[silence(0.5), a.clone(), silence(1.0)].concat()).expect_err("the second is missing");
}

#[test]
fn mixing_keeps_to_the_level_asked_for() {
    let base = voice(9, 1.0);
    let mut mixed = base.clone();
    let other = voice(10, 1.0);
    mix_at_level(&mut mixed, &other, 0, -6.0);
    let added: Vec<f32> = mixed.iter().zip(&base).map(|(m, b)| m - b).collect();
    let level = 20.0 * (rms(&added) / rms(&base)).log10();
    assert!((level + 6.0).abs() < 0.01, "{level} dB");
}

#[test]
fn files_are_read_as_they_were_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("stereo.wav");
    let wav = Wav { rate: 44_100, channels: 2, samples: vec![0.5, -0.5, 0.25, 0.75] };
    wav.write(&path);
    assert_eq!(Wav::read(&path), wav);
    assert_eq!(wav.to_mono(), [0.0, 0.5]);
}

#[test]
fn a_program_runs_apart_from_the_environment_of_the_test() {
    let script = r#"echo "out: $GIVEN"; echo err >&2; env | cut -d= -f1 | sort | tr '\n' ' '; pwd; exit 3"#;
    let program = Program::new("sh").env("GIVEN", "given");
    let ended = program.run(&["-c", script]);
    assert_eq!(ended.code(), Some(3));
    assert!(ended.stdout.starts_with("out: given\n"), "{ended:?}");
    assert_eq!(ended.stderr, "err\n");
    assert!(ended.stdout.contains("GIVEN HOME LC_ALL PATH PWD RUST_BACKTRACE"), "{}", ended.stdout);
    assert!(ended.stdout.trim_end().ends_with(&program.home().display().to_string()), "{}", ended.stdout);
}

#[test]
fn a_program_can_be_awaited_and_interrupted() {
    let script = "trap 'echo interrupted; exit 130' INT; echo ready; while :; do sleep 0.01; done";
    let mut running = Program::new("sh").spawn(&["-c", script]);
    running.wait_for("ready", SOON);
    assert!(running.is_running());
    running.interrupt();
    let ended = running.wait();
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(130), "ready\ninterrupted\n"));
}

#[test]
#[should_panic(expected = "did not end in 0 s and was killed\nstdout:\nhello")]
fn a_program_that_hangs_is_killed_and_its_output_shown() {
    let program = Program::new("sh").limit(Duration::from_millis(500));
    let mut running = program.spawn(&["-c", "echo hello; exec sleep 1000"]);
    running.wait_for("hello", SOON);
    running.wait();
}

#[test]
#[should_panic(expected = "it ended without printing `never`")]
fn waiting_for_words_ends_with_the_program() {
    Program::new("sh").spawn(&["-c", "echo hello"]).wait_for("never", SOON);
}

#[test]
fn memory_and_processor_time_are_those_of_the_process() {
    // 32 MiB held in a variable, and then work until the kernel has counted a fifth of a second.
    let script = "x=$(head -c 33554432 /dev/zero | tr '\\0' x); echo ready; while :; do :; done";
    let mut running = Program::new("bash").spawn(&["-c", script]);
    running.wait_for("ready", SOON);
    let usage = common::wait_until("processor time", SOON, || {
        let usage = running.usage();
        (usage.cpu > 0.2).then_some(usage)
    });
    assert!(usage.rss > 32 << 20 && usage.peak_rss >= usage.rss && usage.rss < 1 << 30, "{usage:?}");
}

#[test]
fn a_terminal_shows_takes_keys_and_keeps_the_exit_code() {
    let script = "stty size; printf 'key? '; read -r key; printf 'got \\033[1m%s\\033[0m' \"$key\"; exit 7";
    let terminal = Tmux::sized(Program::new("bash"), &["-c", script], 90, 20);
    terminal.wait_for("key?", SOON);
    assert!(terminal.capture().starts_with("20 90\n"), "{}", terminal.capture());
    assert_eq!(terminal.exit_code(), None);
    terminal.send_keys(&["x", "Enter"]);
    let screen = terminal.wait_for("got x", SOON);
    assert!(screen.contains("key? x"), "{screen}");
    assert_eq!(terminal.wait(SOON), 7);
    assert!(terminal.capture_coloured().contains("\u{1b}[1mx"));
}

#[test]
fn a_program_in_a_terminal_can_be_interrupted_and_measured() {
    let script = "trap 'echo bye; exit 4' INT; echo ready; while :; do sleep 0.01; done";
    let terminal = Tmux::new(Program::new("bash"), &["-c", script]);
    terminal.wait_for("ready", SOON);
    assert!(Usage::of(terminal.pid()).rss > 0);
    terminal.send_keys(&["C-c"]);
    assert_eq!(terminal.wait(SOON), 4);
    assert!(terminal.capture().contains("bye"));

    let terminal = Tmux::new(Program::new("sleep"), &["1000"]);
    common::signal(terminal.pid(), libc::SIGKILL);
    assert_eq!(terminal.wait(SOON), 128 + libc::SIGKILL);
}
