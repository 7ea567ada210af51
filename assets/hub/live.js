// The live page: shows what the daemon hears and judges, and tells it what the player wants.
import { clock, listen, say, send, tone, word } from "./feed.js";
import { Fretboard } from "./fretboard.js";
import { Needle } from "./needle.js";
import { Strip, tally } from "./strip.js";

const $ = (id) => document.getElementById(id);
const METRICS = {
  pitch_accuracy: "Pitch",
  scale_conformity: "Scale",
  timing_stability: "Timing",
  noise_control: "Noise",
};
const PHASES = { idle: "ready", playing: "playing", paused: "paused", closing: "summing up" };
const CLASSES = { C: 0, D: 2, E: 4, F: 5, G: 7, A: 9, B: 11 };
/** A change of a score that is worth an arrow. */
const WORTH = 2;
/** Level meter's lower end, dBFS. */
const FLOOR = -60;

const needle = new Needle($("needle"));
const board = new Fretboard($("fretboard"));
const strip = new Strip($("strip"), $("recent"));
let view = null;

// ---- What is shown

/** Pitch class of a note's name, as in `F#` or `Bb`. */
function classOf(name) {
  const letter = CLASSES[name?.[0]];
  if (letter === undefined) return null;
  const signs = [...name.slice(1)].reduce((sum, c) => sum + ("#♯".includes(c) ? 1 : "b♭".includes(c) ? -1 : 0), 0);
  return (letter + signs + 12) % 12;
}

function showBoard() {
  const strings = view.strings.length ? view.strings : [40, 45, 50, 55, 59, 64];
  const root = view.scale_name ? classOf(view.scale_name.split(" ")[0]) : null;
  const flats = /^[A-G]b|^F\b/.test(view.scale_name ?? "");
  const names = flats ? new Map([[1, "D♭"], [3, "E♭"], [6, "G♭"], [8, "A♭"], [10, "B♭"]]) : undefined;
  board.draw({ strings, capo: view.setup.capo, leftHanded: view.setup.left_handed, classes: view.scale_classes, root, names });
  const parts = [view.scale_name ?? "no scale", view.setup.tuning, view.setup.capo ? `capo ${view.setup.capo}` : ""];
  const said = parts.filter(Boolean).join(" · ");
  say($("board-said"), said);
  $("fretboard").setAttribute("aria-label", `Fretboard: ${said}`);
}

function card(metric) {
  const box = document.createElement("div");
  box.className = "card live-score";
  box.dataset.metric = metric;
  const name = document.createElement("h3");
  name.textContent = METRICS[metric];
  const figure = document.createElement("p");
  figure.className = "figure";
  const trend = document.createElement("p");
  trend.className = "trend quiet";
  box.append(name, figure, trend);
  return box;
}

function showScores() {
  const box = $("scores");
  const wanted = view.metrics.join();
  if (box.dataset.metrics !== wanted) {
    box.dataset.metrics = wanted;
    box.replaceChildren(...view.metrics.map(card));
  }
  for (const one of box.children) {
    const score = view.scores[one.dataset.metric];
    const before = view.previous?.[one.dataset.metric];
    const [, figure, trend] = one.children;
    figure.className = `figure ${tone(score)}`;
    say(figure, score == null ? "–" : String(Math.round(score)));
    const change = score == null || before == null ? null : Math.round(score - before);
    const arrow = change === null ? "" : change >= WORTH ? `▲ ${change} up` : change <= -WORTH ? `▼ ${-change} down` : "▶ steady";
    say(trend, [word(score), arrow].filter(Boolean).join(" · ") || "not measured yet");
  }
  const overall = view.scores.overall;
  say($("overall"), overall == null ? "–" : String(Math.round(overall)));
  say($("overall-word"), word(overall) || " ");
  // The whole screen tells from across the room how it goes; between sessions it is calm.
  document.body.dataset.tone = view.phase === "idle" ? "" : tone(overall);
}

function showSession() {
  const { phase } = view;
  const idle = phase === "idle";
  const mine = view.user === document.querySelector(".who")?.textContent.trim() || idle;
  const tempo = view.bpm ?? view.setup.bpm;
  say($("title"), [view.scale_name ?? "free playing", tempo ? `${Math.round(tempo * 10) / 10} bpm` : ""].filter(Boolean).join(" · "));
  const pill = $("phase");
  say(pill, PHASES[phase]);
  pill.className = `badge ${phase === "playing" ? "good" : phase === "paused" ? "average" : ""}`;
  document.body.dataset.phase = phase;
  $("start").hidden = !idle;
  for (const id of ["pause", "stop", "ask"]) $(id).hidden = idle || !mine;
  $("pause").firstChild.textContent = phase === "paused" ? "Go on " : "Pause ";
  for (const id of ["pause", "stop", "ask"]) $(id).disabled = phase === "closing";
  $("mute").setAttribute("aria-pressed", String(view.muted));
  $("mute").firstChild.textContent = view.muted ? "Voice on " : "Mute ";
  $("click").hidden = view.beat == null;
  $("click").setAttribute("aria-pressed", String(view.beat != null && view.beat.state !== "off"));
  say($("planned"), view.planned ? ` of ${clock(view.planned)}` : "");
  const trouble = $("trouble");
  trouble.hidden = !view.device_trouble;
  say(trouble, view.device_trouble ? `${view.device || "The input"}: ${view.device_trouble}` : "");
  say($("device"), [view.device, view.voice ? `voice: ${view.voice}` : ""].filter(Boolean).join(" · "));
  say($("status"), view.message ?? `Session ${PHASES[phase]}`);
  tally($("tally"), view.right, view.wrong);
}

function showAdvice() {
  const { advice } = view;
  if (!advice) return;
  say($("advice"), advice.text);
  $("advice").classList.toggle("speaking", advice.speaking);
  say($("advice-source"), `${advice.source}, at ${clock(advice.at)}${advice.speaking ? ", speaking" : ""}`);
}

function showTick() {
  needle.show(view.note && { ...view.note, name: view.note.name.replace("#", "♯").replace(/(?<=^[A-G])b/, "♭") });
  board.sound(view.note?.midi ?? null);
  say($("elapsed"), clock(view.elapsed));
  const counting = view.phase === "playing" && view.next_advice > 0;
  say($("next-advice"), counting ? `next in ${Math.ceil(view.next_advice)} s` : "");
  const level = view.level_db;
  const share = level == null ? 0 : Math.max(0, Math.min(1, 1 - level / FLOOR));
  $("level").firstElementChild.style.transform = `scaleX(${share})`;
  const { beat } = view;
  say($("beat"), beat?.state === "on" ? "●".repeat(beat.beat) + "○".repeat(Math.max(0, beat.beats - beat.beat)) : beat?.state === "count_in" ? `${beat.left} …` : "");
}

// The meter's numbers change slowly, for eyes and screen readers.
setInterval(() => {
  const level = view?.level_db;
  const words = level == null ? "silence" : level > -3 ? `${Math.round(level)} dB, too loud` : `${Math.round(level)} dB`;
  say($("level-text"), words);
  $("level").setAttribute("aria-valuenow", String(Math.round(Math.max(FLOOR, level ?? FLOOR))));
  $("level").setAttribute("aria-valuetext", words);
  $("level").classList.toggle("too-loud", level > -3);
}, 500);

function showAll() {
  showSession();
  showBoard();
  showScores();
  showAdvice();
  showTick();
}

let known = null;
listen({
  view(next) {
    view = next;
    if (known !== null && next.session !== known && next.phase !== "idle") strip.clear();
    known = next.session;
    $("start").disabled = false;
    // Before the first session one sets up; while playing it is out of the way.
    if (!setupTouched) $("setup-card").open = next.phase === "idle" && next.session == null;
    showAll();
  },
  tick(tick) {
    if (!view) return;
    Object.assign(view, tick);
    showTick();
  },
  event(event) {
    if (event.type === "note") {
      strip.add(event);
      if (event.midi != null) board.verdict(event.midi, event.right);
    } else if (event.type === "advice") {
      say($("advice-said"), event.text);
    } else if (event.type === "ended") {
      say($("status"), "The session is kept.");
      ended(event.session);
    }
  },
  reload() {
    strip.clear();
  },
  lost() {
    const pill = $("phase");
    say(pill, "not connected");
    pill.className = "badge bad";
    $("trouble").hidden = false;
    say($("trouble"), "FretCoach does not answer. Is it still running? This page goes on as soon as it does.");
  },
});

/** Where to look at the session that just ended. */
function ended(session) {
  let line = $("ended");
  if (!line) {
    line = document.createElement("p");
    line.id = "ended";
    line.className = "notice";
    $("trouble").after(line);
  }
  const link = document.createElement("a");
  link.href = `/history/${encodeURIComponent(session)}`;
  link.textContent = "Look at the session";
  line.replaceChildren("Kept in your history. ", link);
}

// ---- What the player wants

async function wish(body) {
  try {
    await send("POST", "/api/control", body);
    $("trouble").hidden = true;
  } catch (error) {
    $("trouble").hidden = false;
    say($("trouble"), error.message);
  }
}

const WISHES = { pause: "toggle_pause", stop: "stop", ask: "ask_now", mute: "toggle_mute", click: "toggle_click" };
for (const [id, action] of Object.entries(WISHES)) $(id).addEventListener("click", () => wish({ do: action }));
$("start").addEventListener("click", () => {
  $("ended")?.remove();
  wish({ do: "start", setup: readSetup() });
});

const KEYS = { " ": "pause", p: "pause", q: "stop", a: "ask", m: "mute", c: "click" };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  // A key belongs to what has the focus first.
  if (event.target.closest("input, select, textarea, button, a, summary, [contenteditable]")) {
    if (event.key === " " || event.target.closest("input, select, textarea")) return;
  }
  if (event.key === "s") return void wish({ do: "stop_voice" });
  const id = KEYS[event.key];
  if (!id) return;
  event.preventDefault();
  const target = id === "pause" && !$("start").hidden ? "start" : id;
  if (!$(target).hidden && !$(target).disabled) $(target).click();
});

// ---- Setup

let setupTouched = false;
const form = $("setup");
$("setup-card").querySelector("summary").addEventListener("click", () => (setupTouched = true));

function readSetup() {
  const data = new FormData(form);
  const number = (name) => Number.parseFloat(data.get(name)) || 0;
  return {
    input: data.get("input"),
    scale: data.get("root") ? `${data.get("root")} ${data.get("kind")}` : "",
    bpm: number("bpm"),
    metrics: data.getAll("metrics"),
    sensitivity: number("sensitivity"),
    strictness: number("strictness"),
    tuning: data.get("tuning"),
    capo: number("capo"),
    left_handed: data.has("left_handed"),
    metronome: data.has("metronome"),
    minutes: number("minutes"),
    autostart: data.has("autostart"),
    record: data.has("record"),
  };
}

for (const name of ["strictness", "sensitivity"]) {
  const show = () => say($(`${name}-value`), `${Math.round(100 * form.elements[name].value)} %`);
  form.elements[name].addEventListener("input", show);
  show();
}
form.addEventListener("input", () => {
  setupTouched = true;
  say($("setup-said"), "Not saved yet.");
});
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await send("PUT", "/api/settings", readSetup());
    say($("setup-said"), view?.phase === "idle" ? "Saved." : "Saved: it counts from the next session on.");
  } catch (error) {
    say($("setup-said"), error.message);
  }
});

async function listDevices() {
  try {
    const { inputs, trouble } = await send("GET", "/api/devices");
    const select = $("input");
    for (const { id, name } of inputs) {
      if ([...select.options].some((o) => o.value === id)) continue;
      select.add(new Option(name, id, false, select.dataset.value === id));
    }
    if (trouble) say($("device"), trouble);
  } catch {
    // The list is a help; the input in force stands in it already.
  }
}
$("setup-card").addEventListener("toggle", () => $("setup-card").open && listDevices(), { once: true });
