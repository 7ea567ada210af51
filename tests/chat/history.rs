//! A hand-made history with known answers: eight sessions of `ann`, and others' rows that nobody else may ever see.

use jiff::{ToSpan, Zoned};

/// In every text that belongs to somebody else than `ann`, and in none of hers.
#[allow(dead_code, reason = "each test binary uses its own part")]
pub const OTHERS: &str = "ZZ";

/// Days ago, scale, bpm, minutes, pitch, scale, timing, clean, overall.
pub const ANN: [(i64, &str, i64, i64, [i64; 5]); 8] = [
    (20, "A minor pentatonic", 80, 10, [70, 90, 60, 80, 74]),
    (15, "A minor pentatonic", 80, 15, [72, 92, 62, 82, 76]),
    (9, "E blues", 90, 20, [75, 85, 64, 84, 76]),
    (6, "E blues", 90, 12, [78, 86, 66, 80, 77]),
    (4, "A minor pentatonic", 90, 10, [80, 94, 68, 86, 81]),
    (2, "C major", 100, 18, [82, 88, 58, 88, 78]),
    (1, "A minor pentatonic", 95, 15, [84, 96, 70, 85, 83]),
    (0, "A minor pentatonic", 100, 20, [86, 95, 72, 90, 85]),
];

/// MIDI number, cents, ms off the beat, right, and why not: of every session of hers.
const NOTES: [(i64, i64, i64, i64, &str); 6] = [
    (57, 4, 5, 1, ""),
    (60, -6, -12, 1, ""),
    (62, 22, 8, 0, "pitch"),
    (64, 3, 60, 0, "timing"),
    (67, -2, -4, 1, ""),
    (66, 5, 10, 0, "scale"),
];

/// Statements that both engines take.
pub fn inserts(with_others: bool) -> Vec<String> {
    let mut all = Vec::new();
    player(
        &mut all,
        "ann",
        1,
        &ANN.map(|(ago, scale, bpm, minutes, s)| (ago, scale.to_owned(), bpm, minutes, s)),
        "",
    );
    if with_others {
        let bob: Vec<_> = (0..5)
            .map(|n| (n * 3, format!("{OTHERS} phrygian {n}"), 140, 90, [1 + n, 2, 3, 4, 5 + n]))
            .collect();
        player(&mut all, &format!("{OTHERS}bob"), 2, &bob, OTHERS);
        player(&mut all, &format!("{OTHERS}eve' OR '1'='1"), 3, &bob[..1], OTHERS);
    }
    all
}

/// Local noon some days ago, microseconds.
fn noon(days_ago: i64) -> i64 {
    let day = Zoned::now().date().checked_sub(days_ago.days()).expect("within the calendar");
    let noon = day.at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::system()).expect("noon exists everywhere");
    noon.timestamp().as_microsecond()
}

fn player(
    all: &mut Vec<String>,
    name: &str,
    n: u32,
    sessions: &[(i64, String, i64, i64, [i64; 5])],
    mark: &str,
) {
    let user = format!("018f0000-0000-7000-8000-00000000000{n}");
    let quoted = name.replace('\'', "''");
    all.push(format!("INSERT INTO users (id, name, created_at) VALUES ('{user}', '{quoted}', 0)"));
    for (i, (ago, scale, bpm, minutes, [pitch, fit, timing, clean, overall])) in sessions.iter().enumerate() {
        let id = format!("018f0000-0000-7000-8{n:03}-0000000000{i:02}");
        let (begin, seconds) = (noon(*ago), minutes * 60);
        let end = begin + seconds * 1_000_000;
        let scores = format!("{pitch}, {fit}, {timing}, {clean}, {overall}");
        let summary = format!(
            r#"{{"duration": {seconds}.0, "facts": {{"note_count": 6, "mean_abs_cents": {}.5, "timing_sd_ms": {}.0, "tendency": "{mark}rushing"}}}}"#,
            100 - pitch,
            100 - timing
        );
        all.push(format!(
            "INSERT INTO sessions (id, user_id, deployment, mode, scale, bpm, input, config_json, started_at, ended_at, \
             end_reason, summary_json, pitch_accuracy, scale_conformity, timing_stability, noise_control, overall, owner) \
             VALUES ('{id}', '{user}', '{mark}studio', 'manual-mode', '{scale}', {bpm}, '{mark}guitar', '{{}}', {begin}, \
             {end}, 'quit', '{summary}', {scores}, 'x')"
        ));
        for w in 0..3 {
            all.push(format!(
                "INSERT INTO windows (session_id, idx, start_s, end_s, closed_at, pitch_accuracy, scale_conformity, \
                 timing_stability, noise_control, overall, weakest, facts_json) VALUES ('{id}', {w}, {}, {}, {begin}, \
                 {scores}, '{mark}timing_stability', '{{}}')",
                w * 30,
                w * 30 + 30
            ));
        }
        for (k, (midi, cents, ms, right, reason)) in NOTES.iter().enumerate() {
            let reason = if reason.is_empty() { "NULL".to_owned() } else { format!("'{mark}{reason}'") };
            all.push(format!(
                "INSERT INTO notes (session_id, onset_s, offset_s, decided_s, midi, f0_hz, cents, level_db, confidence, \
                 gated, in_scale, deviation_ms, is_right, reason, attack, motion) VALUES ('{id}', {k}.5, {k}.9, {k}.7, \
                 {midi}, 440, {cents}, -20, 0.9, 0, {}, {ms}, {right}, {reason}, '{mark}picked', 'steady')",
                i64::from(*midi != 66)
            ));
        }
        all.push(format!(
            "INSERT INTO advice (id, session_id, kind, given_at, at_s, body, source) VALUES ('{id}', '{id}', 'summary', \
             {end}, {seconds}, '{mark}Relax the picking hand.', 'offline')"
        ));
    }
    let plan = format!(
        r#"{{"scale": "A minor pentatonic", "type": "mend", "focus": "timing_stability", "tempo": 80.0, "strictness": 0.5, "sensitivity": 0.5, "minutes": 10, "exercises": [{{"title": "Eighths", "how": "On the click.", "minutes": 10, "tempo": 80.0, "speed_trainer": null}}], "reasoning": "{mark}Timing is weakest."}}"#
    );
    all.push(format!(
        "INSERT INTO plans (id, user_id, created_at, source, status, decided_at, scale, focus, plan_json) VALUES \
         ('018f0000-0000-7000-9000-00000000000{n}', '{user}', {}, 'offline', 'done', 0, '{mark}A minor pentatonic', \
         '{mark}timing', '{plan}')",
        noon(3)
    ));
}
