//! The whole program at work: the real binary practises on a sound card in memory (`tests/common/rig.rs`), is played
//! to, loses its devices, is interrupted and killed; what it said, showed and kept is compared with the truth.
//!
//! Every session has a rig and a data folder of its own. Sessions last as long as what is played to them, so those of a
//! test run side by side.

mod common;

use std::time::{Duration, Instant};

use common::process::{Program, Running, Tmux};
use common::rig::Rig;
use common::session::{
    BPM, Fit, Kept, Note, RATE, SCALE, SOON, Take, Trace, assert_scores_agree, json, practise, scores,
};
use common::wav::{Wav, align, one_voice_at_a_time, resample, rms, speech_bursts};
use fretcoach::config::{Llm, Speech};
use fretcoach::names::{attr, op, span};
use fretcoach::speech;
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::Value;

/// Timing, intonation, wrong notes and string noise, each by a little.
const MISTAKES: &str = "timing=14,wrong=0.08,detune=9,offset=-7,noise=0.15";
/// Words per minute: fast, so that advice is over before the next comes and the tests do not last.
const SPEED: u32 = 320;
/// Fade from one voice to the next, and silence between words at whose edges nothing is compared, seconds.
const FADE: f64 = 0.1;
/// Recording and program tell the time by different ways, seconds apart by less than this.
const CLOCKS: f64 = 0.5;
/// Points by which a score may differ from that of the same take analysed from its file.
const POINTS: f64 = 2.0;

/// The program, its sound on the rig.
fn program(rig: &Rig) -> Program {
    Program::fretcoach().on(rig).env("FRETCOACH_ESPEAK_SPEED", SPEED.to_string())
}

/// The summary that `fretcoach analyze` makes of the same sound.
#[track_caller]
fn analyse(program: &Program, take: &Take) -> Value {
    let (bpm, file) = (BPM.to_string(), program.home().join("analysed.wav"));
    take.write(&file);
    let file = file.to_str().expect("a path in plain letters");
    json(program, &["analyze", file, "--scale", SCALE, "--bpm", &bpm, "--format", "json"])["summary"].clone()
}

/// Another start on the same data folder, as short as can be.
#[track_caller]
fn start_again(program: &Program) -> String {
    let args = ["practice", "--plain", "--input", "demo", "--fast", "--minutes", "0.05", "--no-speech"];
    program.run(&args).ok().stdout
}

/// Runs every closure on a thread of its own.
fn side_by_side(sessions: &[&(dyn Fn() + Sync)]) {
    std::thread::scope(|scope| {
        for session in sessions {
            scope.spawn(session);
        }
    });
}

/// Root mean square of the frames in which something sounds.
fn loudness(samples: &[f32]) -> f64 {
    let bursts = speech_bursts(samples, RATE);
    assert!(!bursts.is_empty(), "nothing sounds");
    let at = |seconds: f64| (seconds * f64::from(RATE)) as usize;
    let sounding: Vec<f32> = bursts
        .iter()
        .flat_map(|(from, to)| &samples[at(*from)..at(*to).min(samples.len())])
        .copied()
        .collect();
    rms(&sounding)
}

fn decibels(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

/// What the coach's engine makes of these sentences, at the rig's rate.
fn voice(sentences: &[&str]) -> Vec<f32> {
    let speech = Speech { engine: vec!["espeak-ng".into()], espeak_speed: SPEED, ..Speech::default() };
    let engine = speech::engines(&speech, &Llm::default(), "en").pop().expect("espeak-ng is installed");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (mut samples, mut rate) = (Vec::new(), RATE);
        for sentence in sentences {
            let mut sound = engine.speak(sentence).await.expect("espeak-ng speaks");
            rate = sound.sample_rate;
            while let Some(piece) = sound.chunks.next().await {
                samples.extend(piece.expect("espeak-ng speaks to the end"));
            }
        }
        resample(&samples, rate, RATE)
    })
}

/// A recording of the speakers, begun at a known time.
struct Heard {
    wav: Wav,
    from: Timestamp,
}

impl Heard {
    /// Position of a moment in the recording, seconds.
    fn at(&self, moment: Timestamp) -> f64 {
        moment.duration_since(self.from).as_secs_f64()
    }

    /// Checks that each utterance of the traces sounds, alone, after it was asked for and before the next one was, and
    /// that nothing else does. Returns from when to when each was heard, in seconds of the recording.
    #[track_caller]
    fn assert_only(&self, traces: &[Trace]) -> Vec<(f64, f64)> {
        let sound = self.wav.to_mono();
        let mut utterances: Vec<&Trace> = traces.iter().filter(|t| t.name == op::LIVE_COACH_TTS).collect();
        utterances.sort_by_key(|t| t.begun());
        let asked: Vec<f64> = utterances.iter().map(|t| self.at(t.begun())).collect();
        let mut heard = Vec::new();
        for (i, utterance) in utterances.iter().enumerate() {
            let sentences = utterance.named(span::TTS_REQUEST);
            let sentences: Vec<&str> =
                sentences.iter().filter_map(|s| s["attributes"][attr::INPUT].as_str()).collect();
            let end =
                asked.get(i + 1).map_or(self.wav.seconds(), |next| next + CLOCKS).min(self.wav.seconds());
            let start = (asked[i] - CLOCKS).max(0.0);
            let at = |seconds: f64| (seconds * f64::from(RATE)) as usize;
            let places = one_voice_at_a_time(&sound[at(start)..at(end)], RATE, &[&voice(&sentences)], FADE)
                .unwrap_or_else(|e| panic!("{sentences:?}, asked for at {:.2} s: {e}", asked[i]));
            heard.push((start + places[0].0, start + places[0].1));
        }
        for (from, to) in speech_bursts(&sound, RATE) {
            let mut at = from;
            while at < to {
                let known = heard.iter().any(|(a, b)| (a - FADE..=b + 2.0 * FADE).contains(&at));
                assert!(known, "something sounds at {at:.2} s that is no advice: {heard:?}");
                at += FADE;
            }
        }
        heard
    }
}

/// How often a trace of this name is among them.
fn count(traces: &[Trace], name: &str) -> usize {
    traces.iter().filter(|t| t.name == name).count()
}

/// The longest of the tests has the name that begins it first.
#[test]
fn a_take_is_heard_scored_and_coached_without_and_with_an_echo() {
    side_by_side(&[&a_take_is_heard_scored_and_coached, &the_coachs_own_voice_is_no_playing]);
}

fn a_take_is_heard_scored_and_coached() {
    let rig = Rig::start();
    let program = program(&rig);
    let take = Take::new(12, MISTAKES, 11);
    let recording = rig.record_speakers(&rig.dir().join("said.wav"));
    let from = Timestamp::now();
    let running = practise(&program, BPM, &["--direct", "--coach-every", "10s", "--minutes", "0.6"]);
    take.play(&rig);
    let ended = running.wait().ok();
    let heard = Heard { wav: recording.stop(), from };
    assert_eq!(ended.stderr, "", "complaints of a session without fault");

    let kept = Kept::read(&program, "latest");
    let notes = kept.notes();
    let fit = Fit::of(&notes, &take.truth);
    println!("{} notes of {}; {} samples or events dropped", notes.len(), take.truth.len(), kept.dropped());
    assert!(notes.len().abs_diff(take.truth.len()) <= 1, "{} notes of {}", notes.len(), take.truth.len());
    assert!(fit.extra.len() <= 1 && fit.missed.len() <= 1, "{fit:?}");
    assert!(notes.iter().all(|n| !n.gated), "{notes:?}");
    assert_eq!(kept.dropped(), 0);
    assert_eq!(kept.list("gaps"), Vec::<Value>::new());
    assert_eq!(kept.end(), Some("finished"));
    let analysed = analyse(&program, &take);
    println!("live {}\nfile {analysed}", kept.scores());
    assert_scores_agree(kept.scores(), &analysed, POINTS);

    let (live, summary) = (kept.advice("live"), kept.advice("summary"));
    assert_eq!((live.len(), summary.len()), (3, 1), "{live:?} {summary:?}");
    // The third comes so late that the summary takes its place.
    let spoken: Vec<bool> = live.iter().chain(&summary).map(|a| a["spoken"] == true).collect();
    assert_eq!(spoken, [true, true, false, true], "{live:?} {summary:?}");
    for advice in live.iter().chain(&summary) {
        let text = advice["text"].as_str().expect("a text");
        assert!(ended.stdout.contains(text), "`{text}` was not printed\n{}", ended.stdout);
    }

    let traces = Trace::all(&program, &kept.id());
    traces.iter().for_each(Trace::assert_whole);
    let names = [op::SESSION, op::LIVE_FEEDBACK, op::LIVE_COACH_TTS, op::SESSION_SUMMARY];
    assert_eq!(names.map(|name| count(&traces, name)), [1, live.len(), live.len() + 1, 1]);
    assert_eq!(traces.len(), names.iter().map(|name| count(&traces, name)).sum::<usize>());
    // After each tick, once the coach has waited three seconds for a pause in the playing, and after the end.
    let closed: Vec<f64> = kept
        .list("windows")
        .iter()
        .map(|w| heard.at(w["closed_at"].as_str().and_then(|t| t.parse().ok()).expect("a time")))
        .collect();
    let said = heard.assert_only(&traces);
    println!("windows closed at {closed:.2?}, voice at {said:.2?}");
    assert_eq!((closed.len(), said.len()), (4, 4));
    for (closed, (from, to)) in closed.iter().zip(said) {
        assert!((closed - CLOCKS..closed + 3.0 + 3.0).contains(&from), "{closed:.2} s: heard at {from:.2} s");
        assert!(to - from > 1.0, "only {:.2} s were heard", to - from);
    }
}

fn the_coachs_own_voice_is_no_playing() {
    /// From the speakers into the guitar; the program is told nothing of it.
    const DELAY: Duration = Duration::from_millis(180);
    /// Voice against guitar, dB.
    const LEVEL: f64 = -6.0;
    /// Around the voice as it is heard by the guitar, notes may be gated: the gate shuts when the voice is handed to
    /// the output, and opens a tail after its end. Seconds.
    const BEFORE: f64 = 0.6;
    const AFTER: f64 = 1.0;
    let rig = Rig::start();
    let (guarded, deceived) = (program(&rig), program(&rig));
    // So even a take that without the notes behind the voice its scores are the same to half a point.
    let take = Take::new(12, MISTAKES, 5);
    let gain =
        decibels(loudness(&take.wav.samples) / loudness(&voice(&["Your timing is even at 94."]))) + LEVEL;
    let _loopback = rig.loopback(DELAY, gain);
    let recording = rig.record("guitar.monitor", &rig.dir().join("heard.wav"));
    let practice = ["--coach-every", "12s", "--minutes", "0.58"];
    let running = practise(&guarded, BPM, &practice);
    // The same without the guard, to see that there is something to guard against.
    let fooled = practise(&deceived, BPM, &["--direct", "--no-speech", "--minutes", "0.56"]);
    take.play(&rig);
    running.wait().ok();
    fooled.wait().ok();
    let recorded = recording.stop();

    // What the guitar heard beside the take: the voice.
    let mut echo = recorded.to_mono();
    let head = &take.wav.samples[..RATE as usize * 8];
    let place = align(head, &echo).expect("the take is on the recording");
    assert!(place.correlation > 0.9, "{place:?}");
    for (there, own) in echo[place.offset..].iter_mut().zip(&take.wav.samples) {
        *there -= own;
    }
    let end = place.offset + take.wav.samples.len();
    let level = decibels(loudness(&echo[..end]) / loudness(&take.wav.samples));
    let begin = place.offset as f64 / f64::from(RATE);
    let bursts: Vec<(f64, f64)> =
        speech_bursts(&echo[..end], RATE).iter().map(|(from, to)| (from - begin, to - begin)).collect();
    println!("the voice is heard at {level:.1} dB, at {bursts:.2?} of the take");
    assert!((level - LEVEL).abs() < 1.5, "the voice is at {level:.1} dB");
    assert!(bursts.len() >= 2, "the voice was heard only at {bursts:?}");

    let kept = Kept::read(&guarded, "latest");
    let judged: Vec<Note> = kept.notes().into_iter().filter(|n| !n.gated).collect();
    let fit = Fit::of(&judged, &take.truth);
    println!("{} notes judged, {} hidden by the voice", judged.len(), fit.missed.len());
    let near_voice = |n: &Note| {
        let at = n.onset - fit.start;
        bursts.iter().any(|(from, to)| (from - BEFORE..to + AFTER).contains(&at))
    };
    let (of_the_voice, elsewhere): (Vec<&Note>, Vec<&Note>) = fit.extra.iter().partition(|n| near_voice(n));
    assert!(of_the_voice.is_empty(), "heard in the voice and not played: {of_the_voice:?}");
    // As in every session on the rig, a sound device that stutters under load may split a note.
    assert!(elsewhere.len() <= 1, "heard and not played: {elsewhere:?}");
    for missed in &fit.missed {
        let hidden = bursts.iter().any(|(from, to)| (from - BEFORE..to + AFTER).contains(&missed.onset));
        assert!(hidden, "{missed:?} was not heard, though the voice was at {bursts:?}");
    }
    assert!(fit.missed.len() >= 5, "the voice hid no notes: {:?}", fit.missed);
    assert_eq!((kept.dropped(), kept.list("gaps").len()), (0, 0));
    let clean = analyse(&guarded, &take);
    println!("echo  {}\nclean {clean}", kept.scores());

    let fooled = Kept::read(&deceived, "latest");
    let extra = Fit::of(&fooled.notes(), &take.truth).extra;
    println!("without the guard {} notes come from the voice; scores {}", extra.len(), fooled.scores());
    assert!(extra.len() >= 5, "the voice makes no notes even without the guard: {extra:?}");
    // What a device that stutters adds stands in the noise score and, through it, in the overall one: it is asked only that
    // the guard takes most of the voice out of each.
    for ((name, guarded), ((_, clean), (_, fooled))) in
        scores(kept.scores()).into_iter().zip(scores(&clean).into_iter().zip(scores(fooled.scores())))
    {
        let all = guarded.zip(clean).zip(fooled);
        let ((guarded, clean), fooled) = all.unwrap_or_else(|| panic!("{name} was not measured"));
        let off = (guarded - clean).abs();
        let most =
            if matches!(name, "noise_control" | "overall") { 0.4 * (fooled - clean).abs() } else { POINTS };
        assert!(off <= most, "{name} is {guarded:.2} instead of {clean:.2} ({fooled:.2} without the guard)");
    }
}

#[test]
fn practice_survives_the_loss_of_its_devices() {
    type Fault = fn(&Rig, &mut Running);
    let faults: [(&str, Fault); 3] = [
        ("server killed", |rig, running| {
            rig.kill_server();
            running.wait_for("was lost", SOON);
            rig.restart();
        }),
        ("sink unloaded", |rig, running| {
            rig.unload_sink("guitar");
            running.wait_for("was lost", SOON);
            rig.load_sink("guitar");
        }),
        ("server stalled", |rig, _| rig.stall(Duration::from_secs(2))),
    ];
    let sessions = faults.map(|(what, fault)| move || a_device_is_lost(what, fault));
    side_by_side(&[&sessions[0], &sessions[1], &sessions[2]]);
}

fn a_device_is_lost(what: &str, fault: fn(&Rig, &mut Running)) {
    let rig = Rig::start();
    let program = program(&rig);
    let (before, after) = (Take::new(2, MISTAKES, 21), Take::new(2, MISTAKES, 22));
    let mut running = practise(&program, BPM, &["--direct", "--coach-every", "60s"]);
    let begun = Instant::now();
    before.play(&rig);
    fault(&rig, &mut running);
    running.wait_for("is back after", SOON);
    let between = begun.elapsed().as_secs_f64();
    after.play(&rig);
    running.interrupt();
    let ended = running.wait().ok();

    let lines: Vec<&str> = ended.stdout.lines().collect();
    let line = |text: &str| lines.iter().position(|l| l.contains(text));
    assert!(
        line("was lost").expect("it says lost") < line("is back after").expect("it says back"),
        "{lines:?}"
    );

    let kept = Kept::read(&program, "latest");
    let gaps = kept.list("gaps");
    println!("{what}: {gaps:?}");
    assert_eq!(gaps.len(), 1, "{what}: {gaps:?}");
    let (from, to) = (gaps[0]["from_s"].as_f64().expect("a time"), gaps[0]["to_s"].as_f64().expect("a time"));
    let (first, second): (Vec<Note>, Vec<Note>) = kept.notes().iter().partition(|n| n.onset < from);
    let (first, second) = (Fit::of(&first, &before.truth), Fit::of(&second, &after.truth));
    for fit in [&first, &second] {
        assert!(fit.extra.len() <= 1 && fit.missed.len() <= 1, "{what}: {fit:?}");
    }
    assert!(second.start > to, "{what}: played after the gap, heard from {:.2} s on", second.start);
    // The clock of the session ran on while nothing came.
    let heard_between = second.start - first.start;
    println!("{what}: the takes are {between:.2} s apart, were heard {heard_between:.2} s apart");
    assert!((heard_between - between).abs() < 2.0 * CLOCKS, "{what}: {between:.2} {heard_between:.2}");
    assert_eq!((kept.end(), kept.dropped()), (Some("finished"), 0), "{what}");
    // The output was lost too, and is back.
    assert_eq!(kept.advice("summary")[0]["spoken"], true, "{what}: {:?}", kept.advice("summary"));

    let traces = Trace::all(&program, &kept.id());
    traces.iter().for_each(Trace::assert_whole);
    let session = traces.iter().find(|t| t.name == op::SESSION).expect("a trace of the session");
    let changes = session.named(span::DEVICE_CHANGE);
    assert_eq!(changes.len(), 1, "{what}: {changes:?}");
    let change = &changes[0]["attributes"];
    assert_eq!(change[attr::DEVICE_FAULT], gaps[0]["cause"], "{what}");
    let told = change[attr::GAP_SECONDS].as_f64().expect("a length");
    assert!((told - (to - from)).abs() < 0.1, "{what}: {told} {from} {to}");
}

#[test]
fn an_end_is_an_end_and_loses_nothing() {
    side_by_side(&[&interrupted_once, &interrupted_twice, &killed]);
}

fn interrupted_once() {
    let rig = Rig::start();
    let program = program(&rig);
    let take = Take::new(2, MISTAKES, 31);
    let recording = rig.record_speakers(&rig.dir().join("said.wav"));
    let from = Timestamp::now();
    let running = practise(&program, BPM, &["--direct"]);
    take.play(&rig);
    running.interrupt();
    let ended = running.wait().ok();
    let heard = Heard { wav: recording.stop(), from };
    assert!(ended.stdout.contains("\nSession: "), "{}", ended.stdout);

    let kept = Kept::read(&program, "latest");
    assert_eq!(kept.end(), Some("finished"));
    let fit = Fit::of(&kept.notes(), &take.truth);
    assert!(fit.extra.len() <= 1 && fit.missed.len() <= 1, "{fit:?}");
    assert_scores_agree(kept.scores(), &analyse(&program, &take), POINTS);
    assert_eq!(kept.list("advice").len(), 1);
    assert_eq!(kept.advice("summary")[0]["spoken"], true);
    let traces = Trace::all(&program, &kept.id());
    traces.iter().for_each(Trace::assert_whole);
    let names = [op::SESSION, op::LIVE_FEEDBACK, op::LIVE_COACH_TTS, op::SESSION_SUMMARY];
    assert_eq!(names.map(|name| count(&traces, name)), [1, 0, 1, 1]);
    assert_eq!(heard.assert_only(&traces).len(), 1);
}

fn interrupted_twice() {
    let rig = Rig::start();
    let program = program(&rig);
    let take = Take::new(2, MISTAKES, 32);
    let mut running = practise(&program, BPM, &["--direct"]);
    take.play(&rig);
    running.interrupt();
    // The summary is there, and takes seconds to be spoken.
    running.wait_for("coach (", SOON);
    running.interrupt();
    let ended = running.wait();
    assert_eq!(ended.code(), Some(130), "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(!ended.stdout.contains("\nSession: "), "it waited for the voice\n{}", ended.stdout);
    assert_closed_by_the_next_start(&program, &take, take.truth.len());
}

fn killed() {
    /// Of the take, seconds: in the midst of it.
    const KILLED_AT: Duration = Duration::from_millis(6500);
    /// What a killed program may lose, seconds.
    const LOST: f64 = 1.0;
    /// A note is told of when the next one begins or its sound has ended, and may have been told of late, seconds.
    const TOLD: f64 = 0.3;
    let rig = Rig::start();
    let program = program(&rig);
    let take = Take::new(4, MISTAKES, 33);
    let file = rig.dir().join("take.wav");
    take.write(&file);
    let running = practise(&program, BPM, &["--direct"]);
    let listened_from = Instant::now();
    let mut player = rig.play_guitar(&file);
    std::thread::sleep(KILLED_AT);
    let at = listened_from.elapsed().as_secs_f64();
    running.signal(libc::SIGKILL);
    let _ = running.wait();
    let _ = player.kill();
    let _ = player.wait();

    let start = Fit::of(&Kept::read(&program, "latest").notes(), &take.truth).start;
    let due = take.truth.iter().filter(|t| start + t.offset + TOLD < at - LOST).count();
    println!("killed after {at:.2} s, {due} notes are due");
    assert!(due >= 8, "the take was killed too early");
    assert_closed_by_the_next_start(&program, &take, due);
}

/// The session of a killed program: open until the next start, then closed with all that was stored, which is at least
/// the first `due` notes of the take.
#[track_caller]
fn assert_closed_by_the_next_start(program: &Program, take: &Take, due: usize) {
    let open = Kept::read(program, "latest");
    assert_eq!((open.end(), open.0["session"]["running"].as_bool()), (None, Some(false)));
    let fit = Fit::of(&open.notes(), &take.truth[..due]);
    assert!(fit.missed.len() <= 1, "{} notes kept, of {due} due: {fit:?}", open.notes().len());
    assert!(Fit::of(&open.notes(), &take.truth).extra.len() <= 1, "{:?}", open.notes());

    let said = start_again(program);
    assert!(said.contains("the last session was cut off"), "{said}");
    let closed = Kept::read(program, &open.id());
    assert_eq!(closed.end(), Some("interrupted"));
    assert_eq!(closed.notes(), open.notes());
    assert_eq!(closed.0["summary"]["facts"]["note_count"], open.notes().len());
    assert!(closed.scores()["overall"].is_f64(), "{}", closed.scores());
    assert!(!start_again(program).contains("cut off"), "it was closed twice");
}

#[test]
fn the_live_display_shows_and_obeys() {
    let rig = Rig::start();
    let program = Program::fretcoach().on(&rig);
    let args = ["practice", "--input", "demo", "--output", "speakers", "--coach-every", "60s"];
    let terminal = Tmux::new(program, &args);
    let see = |what: &str| {
        let screen = terminal.wait_for(what, SOON);
        assert_clean(&screen);
        screen
    };
    let see_no = |what: &str| {
        common::wait_until(&format!("`{what}` to leave the screen"), SOON, || {
            let screen = terminal.capture();
            (!screen.contains(what)).then_some(screen)
        })
    };
    see("listening");
    see(" FretCoach  A minor pentatonic · 90 bpm");
    see("cents, ");
    see("notes: 8 right");
    common::wait_until("a figure in each score", SOON, || {
        let screen = terminal.capture();
        let figure = |score: &str| {
            let row = screen.lines().find(|row| row.contains(&format!("│{score}")));
            row.is_some_and(|row| row.contains('━') && row.chars().any(|c| c.is_ascii_digit()))
        };
        ["pitch", "scale", "timing", "clean", "overall"].into_iter().all(figure).then_some(())
    });
    see(" dB");

    terminal.send_keys(&["Space"]);
    see("● paused");
    see("go on");
    terminal.send_keys(&["Space"]);
    see("● listening");

    see("Play; the first advice");
    terminal.send_keys(&["a"]);
    see("· offline");
    see("♪");
    terminal.send_keys(&["s"]);
    assert_clean(&see_no("♪"));
    terminal.send_keys(&["m"]);
    see("  muted");
    see("unmute");
    terminal.send_keys(&["m"]);
    see("the coach speaks again");
    see_no("unmute");

    for (columns, rows) in [(70, 24), (100, 32)] {
        terminal.resize(columns, rows);
        common::wait_until("the display to fill the new size", SOON, || {
            let screen = terminal.capture();
            let foot = screen.lines().nth(usize::from(rows) - 1);
            (foot.is_some_and(|row| row.starts_with(" space ")) && not_drawn(&screen).is_none()).then_some(())
        });
    }
    // Muted again, so that the end does not wait for the voice.
    terminal.send_keys(&["m"]);
    see("  muted");
    terminal.send_keys(&["q"]);
    assert_eq!(terminal.wait(SOON), 0);

    let left = terminal.capture_with_history();
    assert!(left.contains("Session: ") && left.contains("Kept as session"), "{left}");
    assert!(!left.contains(" FretCoach ") && !left.contains("ALSA"), "{left}");
    assert_eq!(terminal.ask("#{alternate_on} #{cursor_flag} #{mouse_any_flag}"), "0 1 0");
    let (before, after) = terminal.modes();
    assert_eq!(before, after, "the modes of the terminal were not restored");

    let kept = Kept::read(terminal.program(), "latest");
    assert_eq!(kept.end(), Some("finished"));
    assert_eq!(kept.advice("asked")[0]["spoken"], false, "{:?}", kept.list("advice"));
    assert_eq!(kept.list("gaps").iter().map(|g| g["cause"].clone()).collect::<Vec<_>>(), ["paused"]);
}

/// Panics when anything is on the screen that the display has not drawn.
#[track_caller]
fn assert_clean(screen: &str) {
    if let Some(row) = not_drawn(screen) {
        panic!("`{row}` was not drawn by the display:\n{screen}");
    }
}

/// A row that is not the display's own, or is broken.
fn not_drawn(screen: &str) -> Option<&str> {
    let rows: Vec<&str> = screen.lines().filter(|row| !row.is_empty()).collect();
    let last = rows.len().checked_sub(1)?;
    rows.iter().enumerate().find_map(|(i, row)| {
        let good = match i {
            0 => row.starts_with(" FretCoach "),
            _ if i == last => row.starts_with(" space "),
            _ if row.starts_with(['╭', '│', '╰']) => row.ends_with(['╮', '│', '╯']),
            _ => row.starts_with(" in:") || row.starts_with(" out:"),
        };
        (!good).then_some(*row)
    })
}

#[test]
fn one_program_at_a_time_captures_on_a_data_folder() {
    let rig = Rig::start();
    let program = program(&rig);
    let running = practise(&program, BPM, &["--no-speech"]);
    let second = program.run(&["practice", "--plain", "--input", "demo"]);
    assert_eq!(second.code(), Some(6), "{}\n{}", second.stdout, second.stderr);
    assert_eq!((second.stdout.as_str(), second.stderr.lines().count()), ("", 1), "{}", second.stderr);
    let pid = running.pid().to_string();
    assert!(second.stderr.contains(&pid), "it does not say who captures: {}", second.stderr);
    running.interrupt();
    running.wait().ok();
    assert_eq!(common::session::sessions(&program).len(), 1);
}

/// Closing the window of the terminal is a way to end a practice: it is summed up, stored and traced as any other.
#[test]
fn closing_the_terminal_ends_the_session_properly() {
    let data = tempfile::tempdir().expect("a data folder");
    let folder = data.path().to_str().expect("a plain path").to_owned();
    let on = |args: &[&str]| -> Vec<String> {
        ["--data-dir", &folder].iter().chain(args).map(|a| (*a).to_owned()).collect()
    };
    let program = || Program::new(env!("CARGO_BIN_EXE_fretcoach"));
    let terminal = Tmux::new(program(), &on(&["practice", "--input", "demo", "--no-speech"]));
    terminal.wait_for("notes: 3 right", SOON);
    let pid = terminal.pid();
    drop(terminal);
    common::wait_until("the program to end", SOON, || {
        (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
    let read = |args: &[&str]| -> serde_json::Value {
        let done = program().run(&on(args)).ok();
        serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", done.stdout))
    };
    let session = &read(&["history", "latest", "--format", "json"])["session"];
    assert_eq!(session["end"], "finished", "{session}");
    assert!(session["scores"]["overall"].is_number(), "{session}");
    let traces = read(&["traces", "--format", "json"]);
    let root = traces["traces"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|t| t["name"] == "practice session")
        .unwrap_or_else(|| panic!("no trace of the session: {traces}"));
    assert!(root["ended_at"].is_string() && root["errors"] == 0, "{root}");
}
