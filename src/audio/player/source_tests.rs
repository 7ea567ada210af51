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
    let dials = Dials { levels: Arc::new(Levels::new(1.0, 0.5)), pulse: Arc::default() };
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
