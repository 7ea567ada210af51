//! Years of plausible practice, the same every time: scales, mistakes with their reasons, windows, advice, gaps, and scores
//! that rise over the years.

use fretcoach::config::Config;
use fretcoach::dsp::event::{NoteEvent, Technique};
use fretcoach::music::scale::Scale;
use fretcoach::practice::types::{Facts, JudgedNote, Metric, Reason, Scores, Summary, Tendency, Window};
use fretcoach::store::{
    AdviceId, AdviceKind, AdviceRow, Batch, GapRow, LoopCost, NewSession, SessionId, Store, StoreError,
    WindowRecord,
};
use jiff::{Timestamp, ToSpan};

const SCALES: [&str; 6] =
    ["A minor pentatonic", "E blues", "G major", "D dorian", "C major", "E harmonic minor"];
/// Seconds from note to note.
const STEP: f64 = 0.6;
const WINDOW: f64 = 30.0;
/// Hours from session to session: three a day.
const APART: i64 = 8;

/// A stream of numbers, 0..1 (Knuth's LCG).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About the bell curve: mean 0, deviation 1.
    fn bell(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

/// Plays `sessions` of `notes` notes each, the last one just before `now`.
pub async fn play(
    store: &Store,
    user: &str,
    sessions: usize,
    notes: usize,
    now: Timestamp,
) -> Result<(), StoreError> {
    let config_json = serde_json::to_string(&Config::default()).unwrap_or_default();
    for n in 0..sessions {
        let mut chance = Chance(n as u64 * 7919 + 13);
        let back = (sessions - n) as i64 * APART;
        let started_at = now - back.hours();
        one(store, user, n, notes, started_at, &config_json, &mut chance).await?;
    }
    Ok(())
}

async fn one(
    store: &Store,
    user: &str,
    n: usize,
    count: usize,
    started_at: Timestamp,
    config_json: &str,
    chance: &mut Chance,
) -> Result<(), StoreError> {
    let name = SCALES[n / 5 % SCALES.len()];
    let scale = Scale::parse(name).expect("a scale of the list");
    let session = NewSession {
        id: SessionId::new(),
        user: user.into(),
        deployment: if n.is_multiple_of(9) { "fretcoach-portable" } else { "fretcoach-studio" }.into(),
        mode: if n.is_multiple_of(3) { "ai" } else { "manual" }.into(),
        scale: (!n.is_multiple_of(11)).then(|| name.into()),
        bpm: (n.is_multiple_of(2)).then_some(80.0 + (n % 40) as f64),
        started_at,
        input: "Focusrite Scarlett Solo".into(),
        config_json: config_json.into(),
        trace_id: Some(format!("{:032x}", n as u128 + 1)),
    };
    store.start_session(&session).await?;
    let skill = (n as f64 / 2000.0).min(1.0);
    let notes: Vec<JudgedNote> = (0..count).map(|i| note(i, &scale, skill, chance)).collect();
    let seconds = count as f64 * STEP;
    let windows: Vec<WindowRecord> =
        (0..(seconds / WINDOW).ceil() as u32).map(|index| window(index, skill, started_at, chance)).collect();
    let advice: Vec<AdviceRow> = windows.iter().map(|w| advice(w, chance)).collect();
    let gaps = if n.is_multiple_of(20) {
        vec![GapRow { from: 12.0, to: 13.5, cause: "stalled".into() }]
    } else {
        Vec::new()
    };
    let batch = Batch { notes: &notes, chords: &[], windows: &windows, advice: &advice, gaps: &gaps };
    store.append(&session.id, &batch).await?;
    let scores = scores(skill, chance);
    let (weakest, strongest) = scores.extremes();
    let summary = Summary {
        duration: seconds,
        scores,
        facts: facts(count, skill, chance),
        weakest,
        strongest,
        overall_by_window: windows.iter().map(|w| w.window.scores.overall).collect(),
    };
    let end = started_at + jiff::SignedDuration::from_secs_f64(seconds);
    store.finish_session(&session.id, &summary, end).await
}

fn note(i: usize, scale: &Scale, skill: f64, chance: &mut Chance) -> JudgedNote {
    let mut midi = 45 + (chance.next() * 28.0) as u8;
    // Mostly the scale, and the less skilled the more often not.
    while !scale.contains(midi) && chance.next() < 0.9 + 0.08 * skill {
        midi += 1;
    }
    let in_scale = scale.contains(midi);
    let cents = chance.bell() * (14.0 - 8.0 * skill);
    let deviation = chance.bell() * (32.0 - 20.0 * skill);
    let gated = chance.next() < 0.03;
    let reason = match () {
        () if !in_scale => Some(Reason::NotInScale(midi + 1)),
        () if cents > 21.0 => Some(Reason::Sharp(cents)),
        () if cents < -21.0 => Some(Reason::Flat(-cents)),
        () if deviation > 47.5 => Some(Reason::Late(deviation)),
        () if deviation < -47.5 => Some(Reason::Early(-deviation)),
        () => None,
    }
    .filter(|_| !gated);
    let onset = i as f64 * STEP + deviation / 1e3 + 1.0;
    let note = NoteEvent {
        onset,
        offset: onset + 0.45,
        t: onset + 0.05,
        midi,
        f0: 440.0 * 2f32.powf((f32::from(midi) - 69.0) / 12.0),
        cents: cents as f32,
        level_db: -18.0,
        confidence: 0.93,
        settled: onset + 0.07,
        inharmonicity: Some(0.000_06),
        technique: Technique::default(),
        gated,
    };
    JudgedNote {
        note,
        in_scale: Some(in_scale),
        deviation_ms: Some(deviation),
        place: Some(if i.is_multiple_of(2) { 0.0 } else { 0.5 }),
        right: reason.is_none() && !gated,
        reason,
    }
}

fn scores(skill: f64, chance: &mut Chance) -> Scores {
    let mut score = |base: f64| Some((base + 20.0 * skill + 6.0 * chance.bell()).clamp(5.0, 100.0));
    let mut scores = Scores {
        pitch_accuracy: score(66.0),
        scale_conformity: score(74.0),
        timing_stability: score(55.0),
        noise_control: score(70.0),
        overall: None,
    };
    scores.overall = fretcoach::practice::score::overall(&scores, 0.5);
    scores
}

fn facts(notes: usize, skill: f64, chance: &mut Chance) -> Facts {
    Facts {
        note_count: notes,
        in_scale_ratio: Some(0.93),
        coverage: Some(0.9),
        wrong_notes: vec![("C#".into(), 3), ("F".into(), 1)],
        worst_note: Some(("G".into(), -12.0)),
        mean_abs_cents: Some(11.0 - 6.0 * skill + chance.next()),
        mean_signed_cents: Some(-2.0),
        tuning_offset_cents: Some(-4.0),
        timing_sd_ms: Some(32.0 - 20.0 * skill + chance.next()),
        timing_sd_interval_ms: Some((18.0, 24.0)),
        timing_notes: notes,
        subdivision: Some("eighths".into()),
        tendency: Some(Tendency::Rushing),
        bpm: Some(90.0 + 30.0 * skill),
        noise_db: Some(-27.0),
        ..Facts::default()
    }
}

fn window(index: u32, skill: f64, started_at: Timestamp, chance: &mut Chance) -> WindowRecord {
    let scores = scores(skill, chance);
    let (weakest, strongest) = scores.extremes();
    let start = f64::from(index) * WINDOW;
    let window = Window {
        index,
        start,
        end: start + WINDOW,
        scores,
        facts: facts(50, skill, chance),
        weakest,
        strongest,
    };
    let cost = LoopCost {
        hops: 5625,
        hop_p50_ns: 41_000,
        hop_p95_ns: 63_000,
        hop_max_ns: 210_000,
        ..LoopCost::default()
    };
    let closed_at = started_at + jiff::SignedDuration::from_secs_f64(start + WINDOW);
    WindowRecord { window, closed_at, cost: Some(cost) }
}

fn advice(window: &WindowRecord, chance: &mut Chance) -> AdviceRow {
    let window = (window.closed_at, &window.window);
    let words = match window.1.weakest {
        Some(Metric::TimingStability) => "You rush into the off-beats. Tap your foot and let the click lead.",
        Some(Metric::PitchAccuracy) => "The G on the third string is flat; press closer to the fret.",
        Some(Metric::ScaleConformity) => "C sharp is not in this scale; the C below it is.",
        _ => "The low strings ring on. Rest the palm on them while you play above.",
    };
    AdviceRow {
        id: AdviceId::new(),
        kind: AdviceKind::Live,
        at: window.0,
        at_s: window.1.end,
        window_index: Some(window.1.index),
        text: words.into(),
        source: "offline coach".into(),
        prompt_version: Some("1".into()),
        spoken: Some(chance.next() < 0.9),
        trace_id: None,
        span_id: None,
    }
}
