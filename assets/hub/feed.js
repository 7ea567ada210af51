// The live feed: one connection, kept only while the page is seen, and found again when it is lost.

/**
 * @param {{view: Function, tick: Function, event: Function, lost: Function, reload?: Function}} on what to do with each message
 */
export function listen(on) {
  let source = null;
  let again = 0;

  const open = () => {
    clearTimeout(again);
    if (source || document.hidden) return;
    source = new EventSource("/api/live/events");
    const take = (name) => source.addEventListener(name, (message) => on[name]?.(JSON.parse(message.data)));
    for (const name of ["view", "tick", "event", "reload"]) take(name);
    source.onerror = () => {
      // The browser would try again by itself, but not after an answer that is an error.
      close();
      on.lost();
      again = setTimeout(open, 2000);
    };
  };
  const close = () => {
    source?.close();
    source = null;
  };
  // A browser allows few connections to one host: a hidden tab gives its own back.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}

/** Sends JSON; throws an Error with the Hub's own words. */
export async function send(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: { "content-type": "application/json", accept: "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("FretCoach does not answer: is it still running?");
  }
  const text = await answer.text();
  const data = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Error(data?.error ?? answer.statusText);
  return data;
}

/** Class of a score: good, average, poor, bad, or empty where there is none. */
export function tone(score) {
  if (score == null) return "";
  return score >= 70 ? "good" : score >= 50 ? "average" : score >= 30 ? "poor" : "bad";
}

/** A score in words, as the program says it everywhere. */
export function word(score) {
  if (score == null) return "";
  if (score >= 90) return "excellent";
  return { good: "good", average: "average", poor: "fair", bad: "needs work" }[tone(score)];
}

/** Seconds as m:ss. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** Makes an SVG element. */
export function svg(name, attributes = {}, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Sets a text only where it changes, so that screen readers and layout are left in peace. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
