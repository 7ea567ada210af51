// Streams an answer into the page. Without this script the same forms load the page anew.
"use strict";
(() => {
  const thread = document.getElementById("thread");
  const ask = document.getElementById("ask");
  const standing = document.querySelector(".chat-standing");
  if (!thread || !ask || !window.ReadableStream) return;
  const area = ask.querySelector("textarea");
  let busy = false;

  function add(tag, className, text) {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    return element;
  }

  function current() {
    return ask.querySelector("input[name=chat]")?.value ?? null;
  }

  // The forms of the page belong to the thread from now on.
  function belong(chat) {
    for (const form of [ask, standing]) {
      if (form.querySelector("input[name=chat]")) continue;
      const input = document.createElement("input");
      input.type = "hidden";
      input.name = "chat";
      input.value = chat;
      form.prepend(input);
    }
    if (location.pathname === "/chat") history.replaceState(null, "", `/chat/${chat}`);
  }

  function lock(on) {
    busy = on;
    for (const button of document.querySelectorAll("#ask button, .chat-standing button")) button.disabled = on;
    thread.setAttribute("aria-busy", String(on));
  }

  // Calls `each` with every event of a stream of server-sent events.
  async function read(body, each) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const events = rest.split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const data = event.split("\n").filter((l) => l.startsWith("data:")).map((l) => l.slice(5).trimStart()).join("\n");
        if (data) each(JSON.parse(data));
      }
    }
  }

  async function send(question) {
    if (busy || !question.trim()) return;
    lock(true);
    const own = document.createElement("article");
    own.className = "message own";
    own.append(add("h2", "visually-hidden", "You"), add("p", "chat-said", question));
    const answer = document.createElement("article");
    answer.className = "message";
    const said = add("div", "chat-said", "");
    const step = add("p", "hint", "one moment …");
    answer.append(add("h2", "visually-hidden", "Coach"), said, step);
    thread.append(own, answer);
    answer.scrollIntoView({ block: "nearest" });
    let done = false;
    try {
      const response = await fetch("/api/chats", {
        method: "POST",
        headers: { "content-type": "application/json", accept: "text/event-stream" },
        body: JSON.stringify({ chat: current(), question }),
      });
      if (!response.ok) {
        const said = await response.json().catch(() => null);
        throw new Error(said?.error ?? `the Hub answered ${response.status}`);
      }
      await read(response.body, (event) => {
        if (event.type === "thread") belong(event.chat);
        else if (event.type === "step") step.textContent = `${event.text} …`;
        else if (event.type === "text") {
          step.hidden = true;
          said.textContent += event.text;
        } else if (event.type === "reset") {
          step.hidden = false;
          said.textContent = "";
        } else if (event.type === "failed") throw new Error(event.error);
        else if (event.type === "done") {
          done = true;
          // Rendered by the Hub through its list of allowed tags, exactly as when the page is loaded.
          const parsed = new DOMParser().parseFromString(event.html, "text/html");
          const rendered = document.adoptNode(parsed.querySelector("article"));
          answer.replaceWith(rendered);
          window.fretcoachCharts?.draw(rendered);
          rendered.scrollIntoView({ block: "nearest" });
        }
      });
      if (!done) throw new Error("the connection was lost; load the page again to see the answer");
      area.value = "";
    } catch (error) {
      step.hidden = false;
      step.className = "notice bad";
      step.textContent = error instanceof TypeError ? "The Hub does not answer; is it still running?" : error.message;
    } finally {
      lock(false);
    }
  }

  ask.addEventListener("submit", (event) => {
    event.preventDefault();
    send(area.value);
  });
  standing.addEventListener("submit", (event) => {
    if (!event.submitter) return;
    event.preventDefault();
    send(event.submitter.value);
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      ask.requestSubmit();
    }
  });
  // A page that was loaded with an answer begins at it.
  const last = thread.querySelector("article:last-of-type");
  if (last && !location.hash) last.scrollIntoView({ block: "nearest" });
})();
