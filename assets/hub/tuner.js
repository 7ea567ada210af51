// The tuner: from the frequency in the live feed to a needle, a strobe, a word, and which strings are done.
import { listen, say, svg } from "./feed.js";
import { Needle } from "./needle.js";

const $ = (id) => document.getElementById(id);
const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];
/** Readings whose middle one is shown: steady for the eye, and still quick. */
const SMOOTHED = 5;
/** A string counts as tuned when it stays within the limit this long, ms. */
const STAY = 500;
/** A reading is held this long after the string has stopped, ms. */
const HOLD = 4000;
/** Shortest time between two announcements, ms. */
const QUIET = 2500;
/** Strobe: lengths of a bar that pass in a second at one cent. */
const SPEED = 0.12;
const STORE = "fretcoach.tuner";

const form = $("choices");
const needle = new Needle($("needle"), 3);
let readings = [];
let strings = [];
let target = null;
let shown = null;
let insideSince = 0;
let heardAt = 0;
let done = new Set();
let announced = { words: "", at: 0 };

// ---- What is tuned to

const midiOf = (name) => {
  const [, letter, signs, octave] = /^([A-G])([#b♯♭]*)(-?\d+)$/.exec(name);
  const shift = [...signs].reduce((sum, c) => sum + ("#♯".includes(c) ? 1 : -1), 0);
  return { C: 0, D: 2, E: 4, F: 5, G: 7, A: 9, B: 11 }[letter] + shift + 12 * (Number(octave) + 1);
};
const pretty = (name) => name.replace("#", "♯").replace(/(?<=^[A-G])b/, "♭");
const nameOf = (midi) => `${NAMES[midi % 12]}${Math.floor(midi / 12) - 1}`;
const a4 = () => Math.min(500, Math.max(380, Number.parseFloat(form.elements.a4.value) || 440));
const hzOf = (midi) => a4() * 2 ** ((midi - 69) / 12);
const centsOff = (hz, midi) => 1200 * Math.log2(hz / hzOf(midi));

function choose() {
  const option = form.elements.tuning.selectedOptions[0];
  strings = option.dataset.strings.split(" ").filter(Boolean).map((name) => ({ name: pretty(name), midi: midiOf(name) }));
  needle.setWithin(Number(form.elements.within.value));
  done = new Set();
  target = null;
  readings = [];
  const list = $("strings");
  list.hidden = strings.length === 0;
  list.replaceChildren(
    ...strings.map(({ name }, index) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      const state = document.createElement("small");
      button.append(name, state);
      button.addEventListener("click", () => {
        target = target === index ? null : index;
        for (const [i, li] of [...list.children].entries()) li.firstChild.setAttribute("aria-pressed", String(i === target));
      });
      item.append(button);
      return item;
    }),
  );
  showStrings(null);
}

function showStrings(current) {
  for (const [index, item] of [...$("strings").children].entries()) {
    const button = item.firstChild;
    button.classList.toggle("done", done.has(index));
    button.classList.toggle("now", index === current);
    say(button.lastChild, done.has(index) ? "✓ in tune" : `string ${strings.length - index}`);
  }
}

function keep() {
  const { tuning, a4, within } = form.elements;
  try {
    localStorage.setItem(STORE, JSON.stringify({ tuning: tuning.value, a4: a4.value, within: within.value }));
  } catch {
    // A browser that keeps nothing forgets the choice; the tuner works all the same.
  }
}

try {
  const kept = JSON.parse(localStorage.getItem(STORE) ?? "{}");
  for (const [name, value] of Object.entries(kept)) {
    const field = form.elements[name];
    if (field && (!field.options || [...field.options].some((o) => o.value === value))) field.value = value;
  }
} catch {
  // See above.
}

form.addEventListener("input", () => {
  keep();
  choose();
});
form.addEventListener("submit", (event) => event.preventDefault());
$("again").addEventListener("click", choose);

// ---- What is heard

/** Which string is meant, and how far it is off. */
function read(hz) {
  if (strings.length === 0) {
    const midi = Math.round(69 + 12 * Math.log2(hz / a4()));
    return { index: null, name: nameOf(midi), midi, cents: centsOff(hz, midi), hz };
  }
  const away = (midi) => Math.abs(centsOff(hz, midi));
  const index = target ?? strings.reduce((best, s, i) => (away(s.midi) < away(strings[best].midi) ? i : best), 0);
  const { name, midi } = strings[index];
  return { index, name, midi, cents: centsOff(hz, midi), hz };
}

function hear(note) {
  const now = performance.now();
  if (!note) return;
  // Another string: its readings are not mixed with the last one's.
  if (readings.length && Math.abs(1200 * Math.log2(note.f0 / readings.at(-1))) > 80) readings = [];
  readings.push(note.f0);
  if (readings.length > SMOOTHED) readings.shift();
  const hz = [...readings].sort((a, b) => a - b)[readings.length >> 1];
  const reading = read(hz);
  const within = Number(form.elements.within.value);
  const inside = Math.abs(reading.cents) <= within;
  if (!inside || reading.name !== shown?.name) insideSince = now;
  heardAt = now;
  shown = { ...reading, inTune: inside && now - insideSince >= STAY, inside };
  if (shown.inTune && reading.index !== null) done.add(reading.index);
  show();
}

/** What to do, in words. */
function words({ name, cents, inTune }) {
  if (inTune) return `${name}: in tune`;
  const off = Math.round(Math.abs(cents));
  if (off > 100) return `${name}: far too ${cents < 0 ? "low, tune up" : "high, tune down"}`;
  return cents < 0 ? `${name}: ${off} flat, tune up` : `${name}: ${off} sharp, tune down`;
}

function show() {
  needle.show(shown);
  const face = $("face");
  face.classList.toggle("good", shown.inside);
  face.classList.toggle("poor", !shown.inside);
  say($("word"), shown.inTune ? "In tune ✓" : words(shown).split(": ")[1].replace(/^./, (c) => c.toUpperCase()));
  say($("hz"), `${shown.hz.toFixed(1)} Hz, ${shown.name} is ${hzOf(shown.midi).toFixed(1)} Hz`);
  showStrings(shown.index);
}

// Screen readers hear what is settled, now and then, never every frame.
setInterval(() => {
  const now = performance.now();
  if (shown && now - heardAt > HOLD) {
    shown = null;
    readings = [];
    needle.show(null);
    $("face").classList.remove("good", "poor");
    say($("word"), "Play a string");
    say($("hz"), " ");
    showStrings(null);
    return;
  }
  if (!shown || now - announced.at < QUIET || readings.length < SMOOTHED) return;
  const now_words = words(shown);
  if (now_words === announced.words) return;
  announced = { words: now_words, at: now };
  say($("said"), now_words);
}, 250);

// ---- Strobe: bars that stand still when the string is in tune, run right when it is sharp and left when flat.

const bars = svg("g");
for (let x = -80; x < 480; x += 40) bars.append(svg("rect", { x, y: 0, width: 20, height: 10 }));
$("strobe").append(bars);
const still = matchMedia("(prefers-reduced-motion: reduce)");
let place = 0;
let before = performance.now();
function turn(now) {
  const seconds = Math.min(0.1, (now - before) / 1000);
  before = now;
  const live = shown && now - heardAt < 300;
  if (live && !still.matches) {
    place = (place + Math.max(-50, Math.min(50, shown.cents)) * SPEED * 40 * seconds) % 40;
    bars.setAttribute("transform", `translate(${place} 0)`);
  }
  requestAnimationFrame(turn);
}
requestAnimationFrame(turn);

choose();
listen({
  view(view) {
    $("trouble").hidden = !view.device_trouble;
    say($("trouble"), view.device_trouble ?? "");
    say($("device"), view.device ? `Listening to ${view.device}.` : "");
    hear(view.note);
  },
  tick: (tick) => hear(tick.note),
  lost() {
    $("trouble").hidden = false;
    say($("trouble"), "FretCoach does not answer. Is it still running? The tuner goes on as soon as it does.");
  },
});
