//! What does the worst hop of an hour take, of the 5.33 ms of sound that it holds? Sixty minutes of playing with mistakes in
//! all patterns, scales and tempos, loud and soft, in noise and hum, with silence, clipping, speech-like gates and lost input,
//! each hop timed by itself in processor time of its thread (and by the wall, in which others' work counts as well).
//!
//! Interrupts, and whatever a virtual machine lends to its neighbours, are counted as the thread's own time. So three analysers
//! hear every hop one after the other: what a hop needs, all three need; what disturbed one of them, the others tell. Both
//! figures are shown, the time of the first as it was measured and the least of the three.
//!
//! `cargo bench --bench worst_hop`; `-- --minutes 5` for less.
mod sound;

use fretcoach::audio::clock::now_ns;
use fretcoach::audio::guitarist::{Guitarist, Mistakes, Pattern, Performance};
use fretcoach::dsp::event::DspEvent;
use fretcoach::dsp::{ANALYSIS_RATE, Analyzer, AnalyzerConfig, HOP};
use fretcoach::music::scale::Scale;
use sound::{Noise, cpu_ns};

/// The sound that a hop holds, ns.
const DEADLINE: f64 = 1e9 * HOP as f64 / ANALYSIS_RATE as f64;
/// What the worst hop may take of it: asked, and hoped for.
const MUST: f64 = 0.10;
const GOAL: f64 = 0.03;
/// Analysers that hear the same.
const TWINS: usize = 3;
/// Seconds played in one manner.
const MANNER: usize = 20;
const HOPS_A_MANNER: usize = MANNER * ANALYSIS_RATE as usize / HOP;

/// What is done to the guitar's sound.
#[derive(Clone, Copy, Debug)]
enum Room {
    Clean,
    Hiss,
    LoudHiss,
    Hum,
    Soft,
    Clipping,
    OnlyNoise,
    Silence,
    Square,
    Gates,
    Lost,
    HardlyAnything,
}

const ROOMS: [Room; 12] = [
    Room::Clean,
    Room::Hiss,
    Room::LoudHiss,
    Room::Hum,
    Room::Soft,
    Room::Clipping,
    Room::OnlyNoise,
    Room::Silence,
    Room::Square,
    Room::Gates,
    Room::Lost,
    Room::HardlyAnything,
];
const SCALES: [&str; 4] = ["A minor pentatonic", "E blues", "C major", "D minor"];
const PATTERNS: [Pattern; 5] =
    [Pattern::Scale, Pattern::Thirds, Pattern::Fours, Pattern::Riff, Pattern::Mixed];
const MISTAKES: [&str; 4] =
    ["none", "timing=30,drift=8", "wrong=0.25,detune=20", "noise=0.6,timing=15,wrong=0.1"];

fn guitarist(k: usize) -> Guitarist {
    Guitarist::new(&Performance {
        scale: Scale::parse(SCALES[k % SCALES.len()]).expect("a scale"),
        bpm: 60.0 + 17.0 * (k % 9) as f64,
        pattern: PATTERNS[k % PATTERNS.len()],
        mistakes: MISTAKES[k / 3 % MISTAKES.len()].parse::<Mistakes>().expect("mistakes"),
        seed: k as u64,
        ..Performance::default()
    })
}

/// The room's part of a hop.
fn colour(room: Room, hop: &mut [f32; HOP], from: usize, noise: &mut Noise) {
    let hum = |i: usize| {
        let t = (from + i) as f32 / ANALYSIS_RATE as f32;
        (1..6u8).map(f32::from).map(|k| (std::f32::consts::TAU * 50.0 * k * t).sin() / k).sum::<f32>()
    };
    for (i, x) in hop.iter_mut().enumerate() {
        *x = match room {
            Room::Clean | Room::Gates | Room::Lost => *x + 3e-4 * noise.next(),
            Room::Hiss => *x + 0.01 * noise.next(),
            Room::LoudHiss => *x + 0.06 * noise.next(),
            Room::Hum => *x + 0.02 * hum(i) + 1e-3 * noise.next(),
            Room::Soft => 0.02 * *x + 1e-5 * noise.next(),
            Room::Clipping => (20.0 * *x).clamp(-1.0, 1.0),
            Room::OnlyNoise => 0.1 * noise.next(),
            Room::Silence => 0.0,
            Room::Square => {
                if ((from + i) / 109).is_multiple_of(2) {
                    1.0
                } else {
                    -1.0
                }
            }
            Room::HardlyAnything => 1e-38 * *x,
        };
    }
}

fn main() {
    fretcoach::audio::clock::start();
    let arguments: Vec<String> = std::env::args().collect();
    let minutes =
        arguments.iter().position(|a| a == "--minutes").and_then(|at| arguments.get(at + 1)?.parse().ok());
    let manners = minutes.unwrap_or(60usize) * 60 / MANNER;
    let mut twins: [Analyzer; TWINS] = std::array::from_fn(|_| Analyzer::new(AnalyzerConfig::default()));
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    let (mut least, mut first, mut wall) = (Vec::new(), Vec::new(), Vec::new());
    let (mut notes, mut hops) = (0u64, 0usize);
    for manner in 0..manners {
        let mut guitar = guitarist(manner);
        let room = ROOMS[manner % ROOMS.len()];
        for k in 0..HOPS_A_MANNER {
            let mut hop = [0.0; HOP];
            guitar.render(&mut hop);
            colour(room, &mut hop, k * HOP, &mut noise);
            let mut spent = [0u64; TWINS];
            for (twin, (analyzer, spent)) in twins.iter_mut().zip(&mut spent).enumerate() {
                let mut sink =
                    |event: DspEvent| notes += u64::from(twin == 0 && matches!(event, DspEvent::Note(_)));
                match (room, k % 500) {
                    (Room::Gates, 0) => analyzer.set_gated(true),
                    (Room::Gates, 190) => analyzer.set_gated(false),
                    (Room::Lost, 0) => analyzer.skip(1000, &mut sink),
                    _ => {}
                }
                let (began, seen) = (cpu_ns(), now_ns());
                analyzer.process(&hop, &mut sink);
                let lasted = now_ns() - seen;
                *spent = cpu_ns() - began;
                if twin == 0 {
                    wall.push((lasted, hops));
                }
            }
            first.push((spent[0], hops));
            least.push((spent.into_iter().min().unwrap_or(0), hops));
            hops += 1;
        }
        twins.iter_mut().for_each(|a| a.set_gated(false));
    }
    println!("{hops} hops, {:.0} min of sound, {notes} notes heard", hops as f64 * DEADLINE / 6e10);
    for (name, mut times) in
        [("least thread CPU time", least), ("thread CPU time", first), ("by the wall", wall)]
    {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].0 as f64;
        let percent = |ns: f64| 100.0 * ns / DEADLINE;
        println!(
            "{name:<22} p50 {:.1}  p95 {:.1}  p99.9 {:.1}  p99.99 {:.1}  worst {:.1} µs = {:.2} % of {:.2} ms",
            at(0.5) / 1e3,
            at(0.95) / 1e3,
            at(0.999) / 1e3,
            at(0.9999) / 1e3,
            at(1.0) / 1e3,
            percent(at(1.0)),
            DEADLINE / 1e6
        );
        let verdict = |limit: f64| if at(1.0) < limit * DEADLINE { "met" } else { "MISSED" };
        if name.contains("CPU") {
            println!(
                "asked: below {:.0} % {}; below {:.0} % {}",
                100.0 * MUST,
                verdict(MUST),
                100.0 * GOAL,
                verdict(GOAL)
            );
            for &(ns, hop) in times.iter().rev().take(5) {
                let room = ROOMS[hop / HOPS_A_MANNER % ROOMS.len()];
                let seconds = hop as f64 * DEADLINE / 1e9;
                println!("  {:.1} µs at {seconds:.2} s ({room:?})", ns as f64 / 1e3);
            }
        }
    }
}
