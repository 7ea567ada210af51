// Hits and misses against the beat: each note a mark, early above... left to right in order, its height how early or late.
import { say, svg } from "./feed.js";

/** Notes on the strip, and notes told in words. */
const KEPT = 40;
const TOLD = 5;
/** Deviation at the edge of the strip, ms. */
const EDGE = 120;
const HEIGHT = 120;

/** A deviation in words. */
export function when(ms) {
  if (ms == null) return "";
  const whole = Math.round(Math.abs(ms));
  return whole === 0 ? "on the beat" : `${whole} ms ${ms < 0 ? "early" : "late"}`;
}

export class Strip {
  constructor(root, list) {
    this.root = root;
    this.list = list;
    this.notes = [];
    new ResizeObserver(() => this.draw()).observe(root);
  }

  clear() {
    this.notes = [];
    this.list.replaceChildren();
    this.draw();
  }

  /** `note`: a LiveEvent of type note. */
  add(note) {
    this.notes.push(note);
    if (this.notes.length > KEPT) this.notes.shift();
    this.tell(note);
    this.draw();
  }

  tell(note) {
    const item = document.createElement("li");
    const mark = document.createElement("span");
    const state = note.right == null ? "" : note.right ? "good" : "bad";
    mark.className = `hit ${state}`;
    mark.textContent = note.right == null ? "·" : note.right ? "✓" : "✗";
    const name = document.createElement("strong");
    name.textContent = note.name;
    const words = document.createElement("span");
    words.className = note.right === false ? "" : "quiet";
    words.textContent = note.right == null ? "not judged" : (note.reason ?? when(note.deviation_ms));
    const spoken = document.createElement("span");
    spoken.className = "visually-hidden";
    spoken.textContent = note.right == null ? "" : note.right ? "right" : "wrong";
    mark.setAttribute("aria-hidden", "true");
    item.append(mark, name, spoken, words);
    this.list.prepend(item);
    while (this.list.children.length > TOLD) this.list.lastElementChild.remove();
  }

  draw() {
    const width = Math.max(280, this.root.clientWidth || 600);
    const middle = HEIGHT / 2;
    const step = (width - 64) / KEPT;
    const y = (ms) => middle + (Math.max(-EDGE, Math.min(EDGE, ms)) / EDGE) * (middle - 12);
    const parts = [
      svg("line", { class: "strip-beat", x1: 56, y1: middle, x2: width, y2: middle }),
      svg("text", { class: "strip-text", x: 0, y: 14 }, "early"),
      svg("text", { class: "strip-text", x: 0, y: middle + 4 }, "on beat"),
      svg("text", { class: "strip-text", x: 0, y: HEIGHT - 6 }, "late"),
    ];
    this.notes.forEach((note, index) => {
      const x = 60 + (index + 0.5) * step;
      const dy = note.deviation_ms == null ? middle : y(note.deviation_ms);
      const state = note.right == null ? "unjudged" : note.right ? "right" : "wrong";
      const mark =
        state === "wrong"
          ? svg("path", { class: "strip-mark wrong", d: `M${x - 4} ${dy - 4}L${x + 4} ${dy + 4}M${x - 4} ${dy + 4}L${x + 4} ${dy - 4}` })
          : svg("circle", { class: `strip-mark ${state}`, cx: x, cy: dy, r: 4 });
      parts.push(svg("line", { class: "strip-stem", x1: x, y1: middle, x2: x, y2: dy }), mark);
    });
    this.root.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.root.replaceChildren(...parts);
    const wrong = this.notes.filter((n) => n.right === false).length;
    const words = this.notes.length
      ? `The last ${this.notes.length} notes: ${this.notes.length - wrong} right, ${wrong} wrong.`
      : "No notes yet.";
    if (this.root.getAttribute("aria-label") !== words) this.root.setAttribute("aria-label", words);
  }
}

/** Sums up what was hit. */
export function tally(element, right, wrong) {
  const all = right + wrong;
  say(element, all ? `${right} right, ${wrong} wrong (${Math.round((100 * right) / all)} %)` : "");
}
