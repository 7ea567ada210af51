use super::*;
use rtrb::RingBuffer;
use std::time::Duration;

const RATE: u32 = 48_000;
const MS: u64 = 1_000_000;

struct Device {
    speaker: Speaker,
    orders: Producer<Order>,
    done: Consumer<Done>,
    dials: Dials,
    gate: EchoGate,
    now: u64,
}

fn device() -> Device {
    let (orders, orders_out) = RingBuffer::new(16);
    let (done_in, done) = RingBuffer::new(16);
    let dials =
        Dials { levels: Arc::new(Levels::new(1.0, 0.5, 0.5)), pulse: Arc::default(), board: Arc::default() };
    let gate = EchoGate::new(Duration::from_millis(100));
    let speaker = Speaker::new(orders_out, done_in, dials.clone(), gate.clone(), RATE, 2, false);
    Device { speaker, orders, done, dials, gate, now: 1_000 * MS }
}

impl Device {
    /// The mono sound of the next blocks.
    fn play(&mut self, blocks: usize) -> Vec<f32> {
        let mut all = Vec::new();
        for _ in 0..blocks {
            all.extend_from_slice(self.speaker.render(self.now));
            self.now += frames_ns(BLOCK as u64, RATE);
        }
        all
    }

    fn say(&mut self, level: f32, frames: usize) -> (Producer<f32>, Arc<Heard>) {
        let (mut samples, ring) = RingBuffer::new(RATE as usize);
        samples.push_entire_slice(&vec![level; frames]).unwrap();
        let heard = Arc::new(Heard::default());
        assert!(self.orders.push(Order::Speak(Voice::new(ring, heard.clone()))).is_ok());
        (samples, heard)
    }
}

fn load(x: &AtomicU64) -> u64 {
    x.load(Ordering::Relaxed)
}

#[test]
fn an_utterance_is_played_whole_and_its_end_is_told() {
    let mut device = device();
    let (_samples, heard) = device.say(0.5, 100);
    assert_eq!(device.play(1), [0.5; BLOCK], "in the first block");
    assert_eq!(load(&heard.first_ns), 1_000 * MS);
    assert_eq!(load(&heard.audible_ns), 1_000 * MS);
    assert_eq!(load(&heard.end_ns), u64::MAX);
    heard.complete.store(true, Ordering::Relaxed);
    let rest = device.play(2);
    assert_eq!(rest[..36], [0.5; 36]);
    assert_eq!(rest[36..], [0.0; 92]);
    assert_eq!(load(&heard.frames), 100);
    assert_eq!(load(&heard.end_ns), 1_000 * MS + frames_ns(64, RATE) + frames_ns(36, RATE));
    assert!(matches!(device.done.pop(), Ok(Done::Voice(_))), "freed elsewhere");
    assert_eq!(heard.starved.load(Ordering::Relaxed), 0);
}

#[test]
fn a_new_utterance_silences_the_old_one_within_four_milliseconds() {
    let mut device = device();
    let (mut samples, first) = device.say(0.5, 4_800);
    device.play(10);
    let (_second_samples, second) = device.say(-0.25, 4_800);
    let sound = device.play(10);
    let fade = 192;
    for (i, x) in sound[..fade].iter().enumerate() {
        let want = 0.5 * (fade - i) as f32 / fade as f32 - 0.25;
        assert!((x - want).abs() < 1e-5, "{i}: {x} instead of {want}");
    }
    assert_eq!(sound[fade..], vec![-0.25; 640 - fade]);
    assert_eq!(load(&first.frames), 640 + fade as u64);
    assert_ne!(load(&first.end_ns), u64::MAX);
    assert_eq!(load(&second.end_ns), u64::MAX);
    assert!(matches!(device.done.pop(), Ok(Done::Voice(_))));
    assert!(samples.push(0.1).is_ok() && samples.is_abandoned(), "its queue is gone");
}

#[test]
fn hush_silences_and_a_voice_without_sound_ends_at_once() {
    let mut device = device();
    let (_samples, heard) = device.say(0.5, 4_800);
    device.play(1);
    assert!(device.orders.push(Order::Hush).is_ok());
    let sound = device.play(5);
    assert!(sound[192..].iter().all(|x| *x == 0.0) && sound[0] > 0.4);
    assert_ne!(load(&heard.end_ns), u64::MAX);
    let (_samples, empty) = device.say(0.0, 0);
    assert!(device.orders.push(Order::Hush).is_ok());
    device.play(1);
    assert_ne!(load(&empty.end_ns), u64::MAX);
    assert_eq!(load(&empty.first_ns), u64::MAX, "nothing was handed over");
}

#[test]
fn a_hungry_voice_is_silent_and_goes_on_later() {
    let mut device = device();
    let (mut samples, heard) = device.say(0.5, 0);
    assert_eq!(device.play(3), [0.0; 3 * BLOCK]);
    assert_eq!(heard.starved.load(Ordering::Relaxed), 0, "not yet begun");
    samples.push_entire_slice(&[0.5; 80]).unwrap();
    device.play(5);
    assert_eq!(heard.starved.load(Ordering::Relaxed), 1, "one hole");
    samples.push_entire_slice(&[0.5; 64]).unwrap();
    assert_eq!(device.play(1), [0.5; BLOCK]);
    assert_eq!(load(&heard.end_ns), u64::MAX);
}

#[test]
fn the_gate_follows_the_energy_of_the_voice_alone() {
    let mut device = device();
    let (mut monitor, ring) = RingBuffer::new(RATE as usize);
    assert!(device.orders.push(Order::Monitor(ring)).is_ok());
    monitor.push_entire_slice(&vec![0.5; 4_000]).unwrap();
    assert!(device.play(3).iter().all(|x| (x - 0.25).abs() < 1e-6), "at the monitor's level");
    let closed = |d: &Device, ns: u64| d.gate.covers(ns, ns);
    assert!(!closed(&device, device.now), "the virtual guitarist never counts as voice");
    let from = device.now;
    let (_samples, heard) = device.say(0.5, 640);
    device.play(10);
    let to = device.now;
    heard.complete.store(true, Ordering::Relaxed);
    device.play(100);
    assert!(!closed(&device, from - 1) && closed(&device, from) && closed(&device, to));
    assert!(closed(&device, to + 90 * MS) && !closed(&device, to + 110 * MS));
    // Silence that is spoken, and a muted voice, are no energy.
    let before = device.now;
    let (_samples, _heard) = device.say(0.0, 640);
    device.play(10);
    device.dials.levels.muted.store(true, Ordering::Relaxed);
    device.play(1);
    let (_samples, heard) = device.say(0.5, 640);
    device.play(5);
    assert!(!closed(&device, before + 10 * MS) && !closed(&device, device.now));
    assert_eq!(load(&heard.audible_ns), u64::MAX, "inaudible");
}

#[test]
fn volume_and_mute_change_without_a_click() {
    let mut device = device();
    let (_samples, _heard) = device.say(0.5, 4_800);
    device.play(1);
    device.dials.levels.volume.store(0.5_f32.to_bits(), Ordering::Relaxed);
    let sound = device.play(2);
    assert!(sound.windows(2).all(|w| (w[0] - w[1]).abs() < 0.01));
    assert_eq!(sound[BLOCK..], [0.25; BLOCK]);
    device.dials.levels.muted.store(true, Ordering::Relaxed);
    assert_eq!(device.play(2)[BLOCK..], [0.0; BLOCK]);
    device.dials.levels.muted.store(false, Ordering::Relaxed);
    device.dials.levels.volume.store(2.0_f32.to_bits(), Ordering::Relaxed);
    assert_eq!(device.play(2)[BLOCK..], [1.0; BLOCK], "never above full scale");
}

#[test]
fn the_monitor_waits_for_a_head_start_and_drops_what_is_late() {
    let mut device = device();
    let (mut monitor, ring) = RingBuffer::new(RATE as usize);
    assert!(device.orders.push(Order::Monitor(ring)).is_ok());
    monitor.push_entire_slice(&[0.5; 1_000]).unwrap();
    assert_eq!(device.play(2), [0.0; 2 * BLOCK]);
    monitor.push_entire_slice(&[0.5; 1_000]).unwrap();
    assert_eq!(device.play(1), [0.25; BLOCK]);
    let ramp: Vec<f32> = (0..20_000).map(|i| i as f32 / 20_000.0).collect();
    monitor.push_entire_slice(&ramp).unwrap();
    device.play(1);
    assert!(monitor.buffer().capacity() - monitor.slots() <= 1_440, "30 ms are left");
    // The device goes: the ring comes back.
    drop(device.speaker);
    assert!(std::iter::from_fn(|| device.done.pop().ok()).any(|d| matches!(d, Done::Monitor(_))));
}

#[test]
fn every_channel_gets_the_same() {
    let mut device = device();
    let (mut samples, _heard) = device.say(0.0, 0);
    let ramp: Vec<f32> = (0..200).map(|i| i as f32 / 1_000.0).collect();
    samples.push_entire_slice(&ramp).unwrap();
    let sound: Vec<f32> = device.speaker.by_ref().take(400).collect();
    for (frame, x) in sound.chunks(2).zip(&ramp) {
        assert_eq!(frame, [*x, *x]);
    }
}

#[test]
fn it_waits_with_orders_while_nobody_takes_back() {
    let mut device = device();
    let mut kept = Vec::new();
    for _ in 0..20 {
        kept.push(device.say(0.5, 640).1);
        device.play(1);
        if device.orders.slots() < 2 {
            break;
        }
    }
    device.play(20);
    assert!(device.done.slots() <= 16);
    let freed = std::iter::from_fn(|| device.done.pop().ok()).count();
    assert!(freed > 0);
    for _ in 0..20 {
        device.play(20);
        while device.done.pop().is_ok() {}
    }
    kept.last().unwrap().complete.store(true, Ordering::Relaxed);
    device.play(20);
    assert!(kept.iter().all(|h| load(&h.end_ns) != u64::MAX), "none was forgotten");
}

fn metronome(bpm: f64) -> Metronome {
    Metronome::new(bpm, 3, 2, 0.5).unwrap()
}

/// What a train of clicks sounds like, frame by frame, computed from its description.
fn clicks(train: &Train, frames: u64, volume: f32) -> Vec<f32> {
    let mut sound = vec![0.0f32; frames as usize];
    let click = super::sound(train.rate);
    for n in 0.. {
        let at = train.origin + train.metronome.frame(n, train.rate);
        if at >= frames.min(train.until) {
            return sound;
        }
        let level = volume * train.metronome.tick(n).level;
        for (x, c) in sound[at as usize..].iter_mut().zip(&click) {
            *x += level * c;
        }
    }
    sound
}

#[test]
fn clicks_stand_at_their_very_frames_whatever_is_said_meanwhile() {
    let mut alone = device();
    assert!(alone.orders.push(Order::Metronome(Some(metronome(133.0)))).is_ok());
    let blocks = 3_000;
    let sound = alone.play(blocks);
    let train = alone.dials.board.train().expect("it has begun");
    assert_eq!((train.number, train.rate, train.until), (1, RATE, u64::MAX));
    let due = clicks(&train, sound.len() as u64, 0.5);
    assert!(due.iter().any(|x| x.abs() > 0.4));
    assert!(sound.iter().zip(&due).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(alone.dials.board.frames(), sound.len() as u64);

    // Spoken over, muted, stopped: the clicks go on, and never count as voice.
    let mut busy = device();
    assert!(busy.orders.push(Order::Metronome(Some(metronome(133.0)))).is_ok());
    busy.dials.levels.muted.store(true, Ordering::Relaxed);
    let mut heard = busy.play(1_000);
    assert!(!busy.gate.covers(0, busy.now), "a click is no voice");
    let (_samples, _) = busy.say(0.25, 48_000);
    heard.extend(busy.play(500));
    assert!(busy.orders.push(Order::Hush).is_ok());
    heard.extend(busy.play(blocks - 1_500));
    // Mute fades over the first block only, where there is neither voice nor click.
    assert!(heard.iter().zip(&due).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn a_metronome_is_stopped_with_its_click_whole_and_begins_anew() {
    let mut device = device();
    assert!(device.orders.push(Order::Metronome(Some(metronome(120.0)))).is_ok());
    // Stopped in the middle of the second beat's click.
    let first = device.play(1).len() as u64;
    let origin = device.dials.board.train().unwrap().origin;
    let middle = (origin + 24_000 + 100) / BLOCK as u64;
    let mut sound = device.play(middle as usize);
    assert!(device.orders.push(Order::Metronome(None)).is_ok());
    sound.extend(device.play(1_000));
    let train = device.dials.board.train().unwrap();
    assert!(!train.is_running() && device.dials.board.beat().is_none());
    let due = clicks(&train, first + sound.len() as u64, 0.5);
    assert!(sound.iter().zip(&due[first as usize..]).all(|(a, b)| (a - b).abs() < 1e-6));
    assert!(device.orders.push(Order::Metronome(Some(metronome(90.0)))).is_ok());
    let again = device.play(400);
    assert_eq!(device.dials.board.train().map(|t| t.number), Some(2));
    assert!(again.iter().any(|x| x.abs() > 0.4), "it begins with an accent");
    // A device that was given up is silent and tells no more.
    let frames = device.dials.board.frames();
    drop(device.orders);
    for _ in 0..100 {
        assert_eq!(device.speaker.render(device.now), &[0.0; BLOCK]);
    }
    assert_eq!(device.dials.board.frames(), frames);
}
