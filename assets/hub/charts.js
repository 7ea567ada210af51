// Draws the charts of a page with plotly's script, which is loaded only where there is one. Colours stand in the JSON as
// names of the style sheet, var(--chart-1); they are resolved here, again whenever light becomes dark.
"use strict";
(() => {
  const SCRIPT = "/assets/plotly.js?v=3.0.1";
  let loading = null;

  function plotly() {
    loading ??= new Promise((resolve, reject) => {
      // Tells plotly that its styles are in our style sheet: the content security policy takes no others.
      const mark = document.createElement("meta");
      mark.id = "plotly.js-style-global";
      mark.className = "no-inline-styles";
      const script = document.createElement("script");
      script.src = SCRIPT;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => reject(new Error("the script that draws charts could not be loaded"));
      document.head.append(mark, script);
    });
    return loading;
  }

  // A colour as the page shows it now. Read from an element, since only there light-dark() is resolved.
  function resolver() {
    const probe = document.createElement("span");
    probe.hidden = true;
    document.body.append(probe);
    const known = new Map();
    const resolve = (value) => {
      if (typeof value === "string") {
        if (!value.startsWith("var(--")) return value;
        if (!known.has(value)) {
          probe.style.color = value;
          known.set(value, getComputedStyle(probe).color);
        }
        return known.get(value);
      }
      if (Array.isArray(value)) return value.map(resolve);
      if (value && typeof value === "object") {
        return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, resolve(inner)]));
      }
      return value;
    };
    return { resolve, done: () => probe.remove() };
  }

  async function drawOne(section, colours) {
    const canvas = section.querySelector(".chart-canvas");
    const figure = JSON.parse(section.querySelector("script").textContent);
    const { data, layout, config } = colours.resolve(figure);
    canvas.hidden = false;
    await (await plotly()).react(canvas, data, layout, config);
    section.dataset.chart = "drawn";
  }

  async function draw(root) {
    const sections = [...root.querySelectorAll("[data-chart]")];
    if (sections.length === 0) return;
    const colours = resolver();
    try {
      await plotly();
      for (const section of sections) await drawOne(section, colours);
    } catch (error) {
      console.warn(String(error));
      // The numbers are there all the same.
      for (const section of sections.filter((s) => s.dataset.chart !== "drawn")) {
        section.querySelector(".chart-canvas").hidden = true;
        section.querySelector("details").open = true;
      }
    } finally {
      colours.done();
    }
  }

  window.fretcoachCharts = { draw };
  draw(document);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(document));
})();
