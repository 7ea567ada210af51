// The recording beside the notes: a cursor that follows, and notes that play from where they stand.
"use strict";
(() => {
  const audio = document.querySelector("audio[data-from]");
  if (!audio) return;
  const first = Number(audio.dataset.from);
  const plot = document.querySelector("svg.notes");
  const cursor = plot?.querySelector(".cursor");
  const frame = plot?.closest(".scroll");

  const playFrom = (seconds) => {
    // A moment before, so that the attack is heard.
    audio.currentTime = Math.max(0, seconds - first - 0.15);
    audio.play();
  };
  for (const button of document.querySelectorAll("button.seek")) button.hidden = false;
  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-seek]");
    if (target) playFrom(Number(target.dataset.seek));
  });

  function follow() {
    if (!cursor) return;
    const seconds = audio.currentTime + first;
    const x = Number(plot.dataset.left) + (seconds - Number(plot.dataset.from)) * Number(plot.dataset.second);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    if (!audio.paused) {
      const seen = x - frame.scrollLeft;
      if (seen < 0 || seen > frame.clientWidth * 0.8) frame.scrollLeft = x - frame.clientWidth * 0.2;
      requestAnimationFrame(follow);
    }
  }
  audio.addEventListener("play", follow);
  audio.addEventListener("seeked", follow);
})();
