"use strict";
// Pages work without this file. It adds keys, dragging, drafts that are kept, and one sending of a form at most.

const task = document.querySelector("form.task");

for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload(); // the back button: show what is open now
});

const isTyping = (element) => element.matches("textarea, select, input[type=text]");

document.addEventListener("keydown", (event) => {
  if (!task || event.altKey || event.metaKey) return;
  if (event.key === "Enter" && event.ctrlKey) {
    const talk = event.target.closest("form.say");
    (talk || task).requestSubmit((talk || task).querySelector("button"));
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || isTyping(event.target)) return;
  const keyed = task.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!keyed || event.key === "Enter") return;
  keyed.focus();
  keyed.click();
  event.preventDefault();
});

// Ranking: the order on the page and the places chosen follow one another.
const ranking = document.querySelector(".answers.rank");
if (ranking) {
  const answers = () => [...ranking.querySelectorAll(".answer")];
  const number = () => answers().forEach((answer, place) => { answer.querySelector("select").value = place + 1; });
  const moveBy = (answer, by) => {
    const all = answers(), to = all.indexOf(answer) + by;
    if (to < 0 || to >= all.length) return;
    all[to][by < 0 ? "before" : "after"](answer);
    number();
  };
  ranking.addEventListener("click", (event) => {
    const button = event.target.closest("[data-move]");
    if (!button) return;
    moveBy(button.closest(".answer"), Number(button.dataset.move));
    button.focus();
  });
  let dragged = null;
  for (const answer of answers()) {
    answer.draggable = true;
    answer.addEventListener("dragstart", (event) => {
      dragged = answer;
      event.dataTransfer.setData("text/plain", "");
      answer.classList.add("dragged");
    });
    answer.addEventListener("dragend", () => { answer.classList.remove("dragged"); dragged = null; });
    answer.addEventListener("dragover", (event) => { if (dragged) event.preventDefault(); });
    answer.addEventListener("drop", (event) => {
      event.preventDefault();
      if (!dragged || dragged === answer) return;
      const all = answers();
      answer[all.indexOf(dragged) < all.indexOf(answer) ? "after" : "before"](dragged);
      number();
    });
  }
}

// Drafts: what is typed is kept a moment later, and when the page is left.
const draft = document.querySelector("[data-draft]");
if (draft) {
  let waiting = null;
  const keep = () => {
    waiting = null;
    const body = new URLSearchParams({
      form_secret: task.elements.form_secret.value, lease: task.elements.lease.value, text: draft.value,
    });
    fetch("/draft", { method: "POST", body, keepalive: body.toString().length < 60000 });
  };
  draft.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(keep, 800); });
  window.addEventListener("pagehide", () => { if (waiting) { clearTimeout(waiting); keep(); } });
}
