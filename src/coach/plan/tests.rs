use std::sync::Arc;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::brief::{suits, variables};
use super::history::Level;
use super::offline::plan as by_rules;
use super::*;
use crate::llm::{FakeModel, LlmError, Prices, Script};
use crate::practice::plan::tests::fits;
use crate::practice::plan::{Focus, PlanKind, schema};
use crate::practice::types::{Facts, Scores, Summary, Tendency};
use crate::store::{EndReason, NewSession, Practised, SessionId};

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + day * 86_400).unwrap()
}

/// Scores in the order of [`Metric::ALL`].
fn scores(s: [f64; 4]) -> Scores {
    Scores {
        pitch_accuracy: Some(s[0]),
        scale_conformity: Some(s[1]),
        timing_stability: Some(s[2]),
        noise_control: Some(s[3]),
        overall: Some(s.iter().sum::<f64>() / 4.0),
    }
}

fn summary(s: [f64; 4], spread: f64, minutes: f64) -> Summary {
    Summary {
        duration: minutes * 60.0,
        scores: scores(s),
        facts: Facts {
            note_count: 412,
            mean_abs_cents: Some(11.0),
            worst_note: Some(("G".into(), 21.0)),
            in_scale_ratio: Some(s[1] / 100.0),
            timing_sd_ms: Some(spread),
            tendency: Some(Tendency::Rushing),
            noise_db: Some(-22.0),
            ..Facts::default()
        },
        weakest: None,
        strongest: None,
        overall_by_window: vec![],
    }
}

fn played(s: [f64; 4], bpm: f64, spread: f64, day: i64) -> Played {
    Played {
        id: format!("s{day}"),
        at: at(day),
        scale: Some("A minor pentatonic".into()),
        bpm: Some(bpm),
        strictness: 0.5,
        sensitivity: 0.6,
        summary: summary(s, spread, 15.0),
    }
}

/// A player who rushes: timing is the weakest.
fn rushing() -> History {
    let sessions = vec![
        played([82.0, 93.0, 58.0, 78.0], 84.0, 26.0, 9),
        played([80.0, 91.0, 61.0, 80.0], 76.0, 19.0, 8),
        played([79.0, 95.0, 60.0, 75.0], 80.0, 24.0, 6),
    ];
    let practised = vec![Practised {
        scale: Some("A minor pentatonic".into()),
        sessions: 9,
        minutes: 131.0,
        overall: Some(76.0),
    }];
    History { sessions, practised, ..History::default() }
}

fn row(plan: Plan, day: i64) -> PlanRow {
    PlanRow {
        id: PlanId::new(),
        user: "ann".into(),
        created_at: at(day),
        source: OFFLINE.into(),
        prompt_version: None,
        status: PlanStatus::Pending,
        decided_at: at(day),
        plan,
        outcome: None,
        trace_id: None,
    }
}

fn set() -> Set {
    Set { sensitivity: 0.5, ..Set::default() }
}

// ------------------------------------------------------------------------------------------------------ offline

#[test]
fn a_plan_by_rules_reads_like_one() {
    let plan = by_rules(&rushing(), None, &set());
    insta::assert_json_snapshot!(plan);
}

#[test]
fn a_player_without_history_gets_a_first_plan() {
    let plan = by_rules(&History::default(), None, &set());
    assert_eq!((plan.kind, plan.minutes, plan.tempo), (PlanKind::First, 10, 60.0));
    assert_eq!(plan.scale, "A minor pentatonic");
    assert!(plan.exercises.iter().any(|e| e.speed_trainer.is_some()), "it looks for the tempo");
    assert!(plan.reasoning.contains("Nothing of your playing is known yet"));
    let own = Set { scale: Scale::parse("D dorian").ok(), minutes: 25.0, ..set() };
    let plan = by_rules(&History::default(), None, &own);
    assert_eq!((plan.scale.as_str(), plan.minutes), ("D dorian", 25));
}

#[test]
fn a_wish_goes_before_the_rules() {
    let wish = Wish::read("bends in E blues, 20 minutes at 66 bpm");
    let plan = by_rules(&rushing(), Some(&wish), &set());
    assert_eq!((plan.focus, plan.scale.as_str()), (Focus::Bends, "E blues"));
    assert_eq!((plan.minutes, plan.tempo), (20, 66.0));
    assert_eq!(by_rules(&rushing(), Some(&Wish::read("something bluesy")), &set()).scale, "A blues");
    let faster = by_rules(&rushing(), Some(&Wish::read("something harder")), &set());
    assert!(faster.tempo > by_rules(&rushing(), None, &set()).tempo);
    assert_eq!(faster.focus.metric(), Metric::TimingStability);
}

#[test]
fn the_tempo_starts_from_what_was_held() {
    // 76 bpm was held with 19 ms; 84 and 80 were not.
    assert_eq!(rushing().pace(Some(Metric::TimingStability)).tempo, 76.0);
    assert_eq!(rushing().pace(Some(Metric::PitchAccuracy)).tempo, 68.0);
    let mut none_held = rushing();
    none_held.sessions.iter_mut().for_each(|s| s.summary.facts.timing_sd_ms = Some(40.0));
    let pace = none_held.pace(Some(Metric::TimingStability));
    assert_eq!((pace.tempo, pace.held, pace.tried), (65.0, None, Some(76.0)));
    let excellent = History { sessions: vec![played([96.0; 4], 100.0, 8.0, 1)], ..History::default() };
    assert_eq!((excellent.kind(), excellent.pace(None).tempo), (PlanKind::Build, 105.0));
}

#[test]
fn little_playing_claims_no_level() {
    let one = |s| History { sessions: vec![played([s; 4], 80.0, 10.0, 1)], ..History::default() };
    assert_eq!((one(99.0).level(), one(30.0).level()), (Level::Developing, Level::Starting));
    let strict = |strictness| {
        let mut h = rushing();
        h.sessions.iter_mut().for_each(|s| s.strictness = strictness);
        h.level()
    };
    assert_eq!((strict(0.2), strict(0.5), strict(1.0)), (Level::Steady, Level::Steady, Level::Advanced));
    assert_eq!(History::default().level(), Level::Starting);
}

#[test]
fn metrics_that_are_off_are_not_worked_on() {
    let history = History { metrics: vec![Metric::PitchAccuracy, Metric::NoiseControl], ..rushing() };
    assert_eq!(by_rules(&history, None, &set()).focus.metric(), Metric::NoiseControl);
}

prop_compose! {
    fn any_played()(
        s in prop::array::uniform4(prop::option::of(0.0..=100.0f64)), bpm in prop::option::of(30.0..300.0f64),
        spread in prop::option::of(0.0..120.0f64), minutes in 0.2..120.0f64, strictness in 0.0..=1.0f64,
        scale in prop::option::of(prop::sample::select(vec!["A minor pentatonic", "C# dorian", "G major", "Bb blues"])),
        chords in 0usize..400, day in 0i64..50,
    ) -> Played {
        let mut p = played([50.0; 4], 80.0, 20.0, day);
        p.summary = summary([50.0; 4], 20.0, minutes);
        let mean = s.iter().flatten().sum::<f64>() / s.iter().flatten().count().max(1) as f64;
        p.summary.scores = Scores {
            pitch_accuracy: s[0], scale_conformity: s[1], timing_stability: s[2], noise_control: s[3],
            overall: s.iter().any(Option::is_some).then_some(mean),
        };
        p.summary.facts.timing_sd_ms = spread;
        p.summary.facts.chord_count = chords;
        (p.bpm, p.strictness, p.scale) = (bpm, strictness, scale.map(String::from));
        p
    }
}

prop_compose! {
    fn any_history()(
        sessions in prop::collection::vec(any_played(), 0..=SESSIONS), planned in 0u64..100,
    ) -> History {
        History { sessions, planned, ..History::default() }
    }
}

fn any_wish() -> impl Strategy<Value = Option<Wish>> {
    let words = prop_oneof![
        Just("more bends".to_owned()),
        Just("20 minutes".into()),
        Just("E dorian at 400 bpm".into()),
        Just("chords, slower, 1 minute".into()),
        Just("legato faster".into()),
        "[a-h0-9 #]{0,30}",
    ];
    prop::option::of(words.prop_map(|w| Wish::read(&w)))
}

proptest! {
    /// The offline planner, day after day: always a plan by its schema, on the weakest area, never one of the recent ones,
    /// and a speed trainer that gets to its end.
    #[test]
    fn plans_by_rules_keep_their_promises(
        mut history in any_history(), wish in any_wish(), minutes in prop_oneof![Just(0.0), 1.0..200.0f64],
    ) {
        let set = Set { minutes, ..set() };
        for day in 0..25 {
            let plan = by_rules(&history, wish.as_ref(), &set);
            prop_assert_eq!(plan.clone().check(), Ok(plan.clone()));
            prop_assert_eq!(fits(&serde_json::to_value(&plan).unwrap(), &schema()), Ok(()));
            for recent in &history.plans {
                prop_assert!(!recent.plan.repeats(&plan), "day {}: {:?}", day, plan);
            }
            if let Some(weakest) = history.weakest().filter(|_| wish.as_ref().is_none_or(|w| w.focus.is_none())) {
                prop_assert_eq!(plan.focus.metric(), weakest);
            }
            prop_assert_eq!(plan.kind == PlanKind::First, history.kind() == PlanKind::First
                && wish.as_ref().is_none_or(|w| w.focus.is_none()));
            for exercise in &plan.exercises {
                if let Some(t) = exercise.speed_trainer {
                    let end = t.begins(t.bars_to_end(), 4);
                    prop_assert!(end <= f64::from(exercise.minutes) * 60.0, "{} s: {:?}", end, exercise);
                }
            }
            if wish.is_none() {
                prop_assert_eq!(suits(&plan, &history, &Ask::Today), Ok(()));
            }
            history.plans.insert(0, row(plan, day));
            history.plans.truncate(RECENT);
            history.planned += 1;
        }
    }

    /// Playing better in everything never makes the plan easier.
    #[test]
    fn difficulty_follows_the_level(
        base in prop::array::uniform4(5.0..60.0f64), tempos in prop::collection::vec((40.0..200.0f64, 15.0..60.0f64), 3..=5),
        better in 0.0..40.0f64,
    ) {
        let history = |more: f64| {
            let sessions = tempos.iter().map(|(bpm, spread)| {
                played(base.map(|b| (b + more).min(100.0)), *bpm, spread * (1.0 - more / 100.0), 1)
            });
            History { sessions: sessions.collect(), ..History::default() }
        };
        let (before, after) = (history(0.0), history(better));
        prop_assert!(after.level() >= before.level());
        let (easy, hard) = (by_rules(&before, None, &set()), by_rules(&after, None, &set()));
        prop_assert!(hard.strictness >= easy.strictness);
        prop_assert!(hard.tempo >= easy.tempo, "{} {}", easy.tempo, hard.tempo);
    }
}

/// Each level is harder than the one before.
#[test]
fn levels_rise() {
    for pair in Level::ALL.windows(2) {
        assert!(pair[0].strictness() < pair[1].strictness() && pair[0].tempo() < pair[1].tempo());
    }
}

// ------------------------------------------------------------------------------------------------------- prompts

#[test]
fn the_prompt_tells_what_is_known() {
    let mut history = rushing();
    let mut done = row(by_rules(&history, None, &set()), 8);
    done.status = PlanStatus::Done;
    history.plans = vec![done];
    let prompts = Prompts::default();
    let ask = Ask::Wish("more bends, 20 minutes".into());
    let rendered = prompts.practice_plan(variables(&history, &ask, &set(), "en", at(10))).unwrap();
    insta::assert_snapshot!("prompt_with_history", rendered.user);
    let first = variables(&History::default(), &Ask::Today, &set(), "de", at(10));
    let rendered = prompts.practice_plan(first).unwrap();
    insta::assert_snapshot!("prompt_without_history", rendered.user);
    assert!(
        rendered.system.contains("Language of all texts in it: de") && rendered.system.contains("80 words")
    );
}

/// A template of the player's own is tried out on the samples: they must have what the planner gives.
#[test]
fn the_samples_have_the_names_that_the_planner_gives() {
    fn names(value: &serde_json::Value, at: &str, out: &mut Vec<String>) {
        if let Some(object) = value.as_object() {
            for (key, value) in object {
                out.push(format!("{at}.{key}"));
                names(value, &format!("{at}.{key}"), out);
            }
        }
        if let Some(first) = value.as_array().and_then(|a| a.first()) {
            names(first, &format!("{at}[]"), out);
        }
    }
    let mut history = rushing();
    history.plans = vec![row(by_rules(&history, None, &set()), 8)];
    let given = variables(&history, &Ask::Wish("w".into()), &set(), "en", at(10));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    names(&given, "", &mut a);
    names(&crate::prompt::facts::plan_samples()[0], "", &mut b);
    a.sort();
    b.sort();
    assert_eq!(a, b);
}

#[test]
fn plans_that_do_not_suit_are_refused_with_the_field() {
    let history = rushing();
    let good = by_rules(&history, None, &set());
    let refused = |change: &dyn Fn(&mut Plan), ask: &Ask| {
        let mut p = good.clone();
        change(&mut p);
        suits(&p, &history, ask).unwrap_err().said()
    };
    assert_eq!(suits(&good, &history, &Ask::Today), Ok(()));
    assert!(refused(&|p| p.focus = Focus::Bends, &Ask::Today).contains("`focus` is bends"));
    assert!(refused(&|p| p.tempo = 140.0, &Ask::Today).contains("`tempo` is 140"));
    assert!(refused(&|p| p.strictness = 1.0, &Ask::Today).contains("`strictness` is 1"));
    let wish = Ask::Wish("bends, 20 minutes, E blues".into());
    let said = refused(&|p| p.focus = Focus::Bends, &wish);
    assert!(said.contains("they want 20") && said.contains("they want E blues"), "{said}");
    let repeated = History { plans: vec![row(good.clone(), 1)], ..history.clone() };
    let said = suits(&good, &repeated, &Ask::Another).unwrap_err().said();
    assert!(said.contains("`exercises` are those of a recent plan"), "{said}");
}

// ------------------------------------------------------------------------------------------- planner and models

async fn store_session(store: &Store, user: &str, s: [f64; 4], spread: f64, day: i64) -> SessionId {
    let session = NewSession {
        id: SessionId::new(),
        user: user.into(),
        deployment: "fretcoach-studio".into(),
        mode: "manual".into(),
        scale: Some("A minor pentatonic".into()),
        bpm: Some(80.0),
        started_at: at(day),
        input: "demo".into(),
        config_json: r#"{"practice": {"strictness": 0.5, "sensitivity": 0.4}}"#.into(),
        trace_id: None,
    };
    let id = store.start_session(&session).await.unwrap();
    let ended = at(day) + SignedDuration::from_mins(15);
    store.finish_session(&id, &summary(s, spread, 15.0), ended).await.unwrap();
    let row = store.session(&id.to_string()).await.unwrap();
    assert_eq!(row.end, Some(EndReason::Finished));
    id
}

async fn rushing_player() -> Store {
    let store = Store::memory().await.unwrap();
    for (day, timing) in [58.0, 61.0, 60.0].into_iter().enumerate() {
        store_session(&store, "ann", [82.0, 93.0, timing, 78.0], 19.0, day as i64).await;
    }
    // Somebody else's sessions say something else.
    store_session(&store, "ben", [10.0, 93.0, 97.0, 78.0], 9.0, 5).await;
    store
}

fn planner(store: &Store, script: Vec<Script>) -> (Planner, Arc<FakeModel>) {
    let model = Arc::new(FakeModel::new("gpt-4o-mini", script));
    let planner = Planner::new(&Config::default(), store.clone());
    (planner.with_chain(Chain::new(vec![model.clone()], Prices::default())), model)
}

/// A plan as a model would write one for the player who rushes.
fn written() -> Plan {
    let mut plan = by_rules(&rushing(), None, &set());
    plan.exercises[1].title = "Clap it first".into();
    plan.tempo = 76.0;
    plan
}

fn says(plan: &Plan) -> Script {
    FakeModel::says(&serde_json::to_string(plan).unwrap())
}

#[tokio::test]
async fn a_right_answer_becomes_the_plan() {
    let store = rushing_player().await;
    let (planner, model) = planner(&store, vec![says(&written())]);
    let row = planner.propose("ann", Ask::Today, "studio").await.unwrap();
    assert_eq!((row.source.as_str(), row.prompt_version.as_deref()), ("gpt-4o-mini", Some("1")));
    assert_eq!(row.plan, written());
    let asked = model.asked();
    let format = asked[0].format.as_ref().unwrap();
    assert_eq!((format.name.as_str(), &format.schema), ("practice_plan", &schema()));
    let user = &asked[0].messages[1].content;
    assert!(user.contains("Weakest area: timing stability") && !user.contains("97"), "{user}");
    // It waits, is still right, and no model is asked again.
    assert_eq!(planner.propose("ann", Ask::Today, "hub").await.unwrap().id, row.id);
    assert_eq!(model.asked().len(), 1);
}

#[tokio::test]
async fn a_wrong_answer_is_put_right_once() {
    let store = rushing_player().await;
    let wrong = Plan { minutes: 99, ..written() };
    let (planner, model) = planner(&store, vec![says(&wrong), says(&written())]);
    let row = planner.propose("ann", Ask::Today, "studio").await.unwrap();
    assert_eq!((row.source.as_str(), row.plan.note), ("gpt-4o-mini", None));
    let asked = &model.asked()[1].messages;
    assert_eq!(asked.len(), 4);
    assert!(asked[3].content.contains("`minutes` is 99"), "{}", asked[3].content);
}

#[tokio::test]
async fn a_model_that_will_not_learn_is_replaced_by_rules() {
    let store = rushing_player().await;
    let off = Plan { focus: Focus::Bends, ..written() };
    for script in
        [vec![FakeModel::says("Practise your scales!"), FakeModel::says("{}")], vec![says(&off), says(&off)]]
    {
        let (planner, model) = planner(&store, script);
        let row = planner.propose("ann", Ask::Another, "studio").await.unwrap();
        assert_eq!((row.source.as_str(), model.asked().len()), (OFFLINE, 2));
        assert_eq!(row.plan.focus.metric(), Metric::TimingStability);
        let note = row.plan.note.unwrap();
        assert!(note.contains("gpt-4o-mini made no usable plan in two attempts"), "{note}");
    }
}

#[tokio::test]
async fn without_an_answer_the_rules_make_the_plan_and_say_why() {
    let store = rushing_player().await;
    let limited = || LlmError::RateLimited { model: "gpt-4o-mini".into(), message: "quota".into() };
    let (planner, _) = planner(&store, vec![Err(limited())]);
    let row = planner.propose("ann", Ask::Today, "studio").await.unwrap();
    assert_eq!(row.source, OFFLINE);
    assert!(row.plan.note.as_ref().unwrap().contains("rate-limited"), "{:?}", row.plan.note);
    assert_eq!(store.plans("ann", 9).await.unwrap(), [row]);
}

#[tokio::test]
async fn the_next_model_answers_when_the_first_does_not() {
    let store = rushing_player().await;
    let gone = Arc::new(FakeModel::new("gone", []));
    let second = Arc::new(FakeModel::new("second", [says(&written())]));
    let chain = Chain::new(vec![gone, second], Prices::default());
    let planner = Planner::new(&Config::default(), store).with_chain(chain);
    assert_eq!(planner.propose("ann", Ask::Today, "studio").await.unwrap().source, "second");
}

#[tokio::test]
async fn another_is_another_and_only_one_waits() {
    let store = rushing_player().await;
    let planner = Planner::new(&Config::default(), store.clone());
    let first = planner.propose("ann", Ask::Today, "studio").await.unwrap();
    assert_eq!(first.plan.note, None, "that no model is configured is no trouble");
    let second = planner.propose("ann", Ask::Another, "studio").await.unwrap();
    assert!(!first.plan.repeats(&second.plan));
    let wished = planner.propose("ann", Ask::Wish(" more\nbends ".into()), "studio").await.unwrap();
    assert_eq!((wished.plan.focus, wished.plan.wish.as_deref()), (Focus::Bends, Some("more bends")));
    // A wish stands, though bends are not the weakest area.
    assert_eq!(planner.propose("ann", Ask::Today, "studio").await.unwrap().id, wished.id);
    let open: Vec<_> =
        planner.plans("ann", 9).await.unwrap().into_iter().filter(|p| p.status.is_open()).collect();
    assert_eq!(open.len(), 1);
    let odd = planner.propose("ann", Ask::Wish("surprise me".into()), "studio").await.unwrap();
    assert!(odd.plan.note.unwrap().contains("names none of them"));
    for wish in [String::new(), "x".repeat(301)] {
        assert!(planner.propose("ann", Ask::Wish(wish), "studio").await.is_err());
    }
}

#[tokio::test]
async fn a_plan_is_kept_while_it_is_right() {
    let history = rushing();
    let now = at(10);
    let kept = row(by_rules(&history, None, &set()), 9);
    assert!(still_right(&kept, &history, now));
    assert!(!still_right(&row(kept.plan.clone(), 2), &history, now), "older than a week");
    let other = Plan { focus: Focus::NoiseControl, ..kept.plan.clone() };
    assert!(!still_right(&row(other.clone(), 9), &history, now), "no longer the weakest area");
    let wished = Plan { wish: Some("muting".into()), ..other };
    assert!(still_right(&row(wished, 9), &history, now));
    let first = row(by_rules(&History::default(), None, &set()), 9);
    assert!(still_right(&first, &History::default(), now));
    assert!(!still_right(&first, &history, now), "what it was to find out is known");
    assert!(!still_right(&PlanRow { status: PlanStatus::Done, ..kept }, &history, now));
}

#[tokio::test]
async fn deciding_works_once_and_only_for_ones_own() {
    let store = rushing_player().await;
    let planner = Planner::new(&Config::default(), store);
    let row = planner.propose("ann", Ask::Today, "studio").await.unwrap();
    assert!(planner.accept("ben", &row.id.to_string()).await.is_err());
    assert_eq!(planner.accept("ann", "latest").await.unwrap().status, PlanStatus::Accepted);
    planner.dismiss("ann", &row.id.short()).await.unwrap();
    let error = planner.accept("ann", &row.id.to_string()).await.unwrap_err();
    assert!(error.to_string().contains("is dismissed already"), "{error}");
    let error = planner.save("ann", Plan { tempo: 9.0, ..row.plan.clone() }, "chat").await.unwrap_err();
    assert!(error.to_string().contains("`tempo` is 9"), "{error}");
    assert_eq!(planner.save("ann", row.plan, "gpt-4o-mini").await.unwrap().status, PlanStatus::Pending);
}

#[tokio::test]
async fn a_plan_is_followed_up_when_its_session_has_ended() {
    let store = rushing_player().await;
    let planner = Planner::new(&Config::default(), store.clone());
    let row = planner.propose("ann", Ask::Today, "studio").await.unwrap();
    assert_eq!(
        follow_up(&store, &store_session(&store, "ann", [80.0; 4], 12.0, 20).await).await.unwrap(),
        None
    );
    let session = store_session(&store, "ann", [82.0, 93.0, 80.0, 78.0], 8.0, 21).await;
    store.link_plan(&session, &row.id, at(21)).await.unwrap();
    // Nobody called follow_up: the next look at the plans does.
    let done = &planner.plans("ann", 9).await.unwrap()[0];
    let outcome = done.outcome.as_ref().unwrap();
    assert_eq!((done.status, outcome.sessions, outcome.notes), (PlanStatus::Done, 4, 412));
    assert_eq!((outcome.now, outcome.before), (Some(8.0), Some((19.0 * 3.0 + 12.0) / 4.0)));
    assert!(outcome.said.contains("a spread of 8 ms in 412 notes, against 17 ms"), "{}", outcome.said);
    assert_eq!(follow_up(&store, &session).await.unwrap().as_ref(), Some(outcome));
    assert_ne!(planner.propose("ann", Ask::Today, "studio").await.unwrap().id, row.id, "done is done");
}

#[test]
fn a_plan_sets_a_session_up() {
    let plan = by_rules(&rushing(), None, &set());
    let mut practice = config::Practice {
        metrics: vec!["pitch".into()],
        tuning: "drop d".into(),
        ..config::Practice::default()
    };
    plan.apply(&mut practice);
    assert_eq!((practice.scale.as_str(), practice.mode.as_str()), ("A minor pentatonic", "ai"));
    assert_eq!((practice.bpm, practice.metronome), (plan.exercises[0].starts_at().unwrap(), true));
    assert_eq!(practice.minutes, f64::from(plan.minutes));
    assert_eq!(practice.metrics, ["pitch", "timing_stability"]);
    assert_eq!(practice.tuning, "drop d");
}
