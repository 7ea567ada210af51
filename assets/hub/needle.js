// A needle from -50 to +50 cents under the note's name.
import { svg } from "./feed.js";

const PIVOT = { x: 100, y: 108 };
const LENGTH = 84;
/** Degrees of the needle at 50 cents. */
const REACH = 60;

const angle = (cents) => (Math.max(-50, Math.min(50, cents)) / 50) * REACH;
const at = (cents, radius) => {
  const a = ((angle(cents) - 90) * Math.PI) / 180;
  return [PIVOT.x + radius * Math.cos(a), PIVOT.y + radius * Math.sin(a)];
};
const arc = (from, to, radius) => {
  const [x1, y1] = at(from, radius);
  const [x2, y2] = at(to, radius);
  return `M${x1} ${y1}A${radius} ${radius} 0 0 1 ${x2} ${y2}`;
};

export class Needle {
  /** `within`: cents that count as in tune, drawn as the green part. */
  constructor(root, within = 10) {
    this.root = root;
    this.band = svg("path", { class: "needle-band" });
    root.append(svg("path", { class: "needle-arc", d: arc(-50, 50, LENGTH) }), this.band);
    for (let cents = -50; cents <= 50; cents += 10) {
      const [x1, y1] = at(cents, LENGTH - 4);
      const [x2, y2] = at(cents, LENGTH + (cents % 50 === 0 ? 6 : 3));
      root.append(svg("line", { class: "needle-mark", x1, y1, x2, y2 }));
    }
    for (const cents of [-50, 0, 50]) {
      const [x, y] = at(cents, LENGTH + 12);
      const words = cents === 0 ? "0" : cents > 0 ? "+50" : "−50";
      root.append(svg("text", { class: "needle-scale", x, y: y + 2, "text-anchor": "middle" }, words));
    }
    this.hand = svg("line", { class: "needle-hand", x1: PIVOT.x, y1: PIVOT.y - 40, x2: PIVOT.x, y2: PIVOT.y - LENGTH });
    this.name = svg("text", { class: "needle-note", x: PIVOT.x, y: PIVOT.y - 8, "text-anchor": "middle" }, "–");
    this.cents = svg("text", { class: "needle-cents", x: PIVOT.x, y: PIVOT.y + 6, "text-anchor": "middle" }, "");
    root.append(this.hand, this.name, this.cents);
    this.setWithin(within);
    this.show(null);
  }

  setWithin(within) {
    this.within = within;
    this.band.setAttribute("d", arc(-within, within, LENGTH));
  }

  /** `note`: {name, cents, provisional} or null for silence. */
  show(note) {
    const old = this.root.dataset;
    const state = !note ? "silent" : Math.abs(note.cents) <= this.within ? "in" : "out";
    if (old.state !== state) old.state = state;
    this.root.classList.toggle("guess", Boolean(note?.provisional));
    this.hand.setAttribute("transform", `rotate(${angle(note?.cents ?? 0)} ${PIVOT.x} ${PIVOT.y})`);
    this.name.textContent = note ? note.name : "–";
    const cents = note ? Math.round(note.cents) : 0;
    this.cents.textContent = note ? `${cents > 0 ? "+" : cents < 0 ? "−" : ""}${Math.abs(cents)} cents` : "";
  }
}
