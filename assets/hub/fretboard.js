// The fretboard: strings, frets, capo; the scale lit with its root marked; notes lit as they sound, right or wrong.
import { svg } from "./feed.js";

const DOTS = [3, 5, 7, 9, 12, 15, 17, 19, 21, 24];
const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];
/** How long a verdict stays on the neck, ms. */
const VERDICT = 1200;

export class Fretboard {
  constructor(root) {
    this.root = root;
    this.drawn = "";
    this.places = new Map();
    this.sounding = null;
    // As many frets as can be told apart in the room there is.
    new ResizeObserver(() => this.layout && this.draw(this.layout)).observe(root);
  }

  /** `layout`: {strings: MIDI low to high with the capo, capo, leftHanded, classes: pitch classes, root: pitch class or null, names: Map of pitch class to name}. */
  draw(layout) {
    this.layout = layout;
    const width = Math.max(300, this.root.clientWidth || 1000);
    const frets = Math.min(24, Math.max(12, Math.floor(width / 62))) - layout.capo;
    const key = JSON.stringify([layout, frets, width]);
    if (key === this.drawn) return;
    this.drawn = key;
    this.places.clear();
    const { strings, capo, leftHanded } = layout;
    const gap = width < 600 ? 24 : 34;
    const open = width < 600 ? 30 : 46;
    const height = gap * (strings.length - 1) + 52;
    const step = (width - open - 12) / frets;
    const side = (x) => (leftHanded ? width - x : x);
    const middle = (fret) => side(fret === 0 ? open / 2 : open + (fret - 0.5) * step);
    // The thinnest string lies at the top, as in tablature.
    const line = (string) => 22 + (strings.length - 1 - string) * gap;
    const parts = [];
    const top = line(strings.length - 1);
    const bottom = line(0);
    for (const dot of DOTS.filter((d) => d > capo && d - capo <= frets)) {
      const x = middle(dot - capo);
      for (const y of dot % 12 === 0 ? [top + gap * 0.5, bottom - gap * 0.5] : [(top + bottom) / 2]) {
        parts.push(svg("circle", { class: "board-dot", cx: x, cy: y, r: gap / 6 }));
      }
      parts.push(svg("text", { class: "board-number", x, y: height - 4, "text-anchor": "middle" }, dot));
    }
    for (let fret = 0; fret <= frets; fret++) {
      const x = side(open + fret * step);
      const kind = fret === 0 ? (capo ? "board-capo" : "board-nut") : "board-fret";
      parts.push(svg("line", { class: kind, x1: x, y1: top - 4, x2: x, y2: bottom + 4 }));
    }
    strings.forEach((midi, string) => {
      const y = line(string);
      parts.push(svg("line", { class: "board-string", x1: 0, y1: y, x2: width, y2: y, "stroke-width": 1 + (strings.length - 1 - string) * 0.35 }));
    });
    const radius = Math.min(gap * 0.44, step * 0.46, 15);
    strings.forEach((midi, string) => {
      for (let fret = 0; fret <= frets; fret++) {
        const note = midi + fret;
        const inScale = layout.classes.includes(note % 12);
        const group = svg("g", { class: "place", transform: `translate(${middle(fret)} ${line(string)})` });
        if (inScale) group.classList.add("in-scale");
        if (layout.root === note % 12) group.classList.add("root");
        group.append(svg("circle", { r: radius }));
        group.append(svg("path", { class: "cross", d: `M${-radius * 0.5} ${-radius * 0.5}L${radius * 0.5} ${radius * 0.5}M${-radius * 0.5} ${radius * 0.5}L${radius * 0.5} ${-radius * 0.5}` }));
        const name = layout.names?.get(note % 12) ?? NAMES[note % 12];
        group.append(svg("text", { "text-anchor": "middle", dy: "0.36em", "font-size": radius * 0.95 }, name));
        parts.push(group);
        if (!this.places.has(note)) this.places.set(note, []);
        this.places.get(note).push(group);
      }
    });
    this.root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.root.replaceChildren(...parts);
    const sounding = this.sounding;
    this.sounding = null;
    this.sound(sounding);
  }

  /** Lights the note that sounds, wherever it can be played; null: silence. */
  sound(midi) {
    if (midi === this.sounding) return;
    for (const place of this.places.get(this.sounding) ?? []) place.classList.remove("sounding");
    for (const place of this.places.get(midi) ?? []) place.classList.add("sounding");
    this.sounding = midi;
  }

  /** Marks a judged note for a moment. */
  verdict(midi, right) {
    if (right == null) return;
    for (const place of this.places.get(midi) ?? []) {
      place.classList.remove("right", "wrong");
      place.classList.add(right ? "right" : "wrong");
      clearTimeout(place.verdict);
      place.verdict = setTimeout(() => place.classList.remove("right", "wrong"), VERDICT);
    }
  }
}
