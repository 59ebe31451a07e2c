"use strict";
// Pages work without this file. It adds keys, dragging, drafts that are kept, and one sending of a form at most.

const task = document.querySelector("form.task");
const say = (words) => { document.querySelector("#status").textContent = words; };

for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    else form.dataset.sent = "yes";
  });
}
if (task) { // the second click of a double click may come down on the next page: nobody judges in half a second
  task.dataset.sent = "early";
  setTimeout(() => { delete task.dataset.sent; }, 500);
}
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload(); // the back button: show what is open now
});

// Text that does not scroll need not be a stop of the Tab key.
for (const box of document.querySelectorAll(".text[tabindex]")) {
  if (box.scrollHeight <= box.clientHeight) box.removeAttribute("tabindex");
}

const isTyping = (element) => element.matches("textarea, select, input[type=text]");

document.addEventListener("keydown", (event) => {
  if (!task || event.altKey || event.repeat) return; // a key held down would answer the next task, too
  const isCommand = event.ctrlKey || event.metaKey;
  if (event.key === "Enter" && isCommand) {
    (event.target.closest("form.say") || task).requestSubmit();
    event.preventDefault();
    return;
  }
  if (isCommand || isTyping(event.target)) return;
  const keyed = task.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (keyed) {
    keyed.focus();
    keyed.click();
    event.preventDefault();
  }
});

// Ranking: moving an answer numbers all of them anew, choosing places leaves the order on the page as it is.
const ranking = document.querySelector(".answers.rank");
if (ranking) {
  const answers = () => [...ranking.querySelectorAll(".answer")];
  const number = () => {
    answers().forEach((answer, place) => { answer.querySelector("select").value = place + 1; });
    say(`The order is ${answers().map((answer) => answer.dataset.letter).join(", ")}.`);
  };
  ranking.addEventListener("click", (event) => {
    const button = event.target.closest("[data-move]");
    if (!button) return;
    const answer = button.closest(".answer"), by = Number(button.dataset.move);
    const other = by < 0 ? answer.previousElementSibling : answer.nextElementSibling;
    if (other) other[by < 0 ? "before" : "after"](answer);
    number(); // at the end, too: that is how to say that the order is right as it stands
    button.focus();
  });
  ranking.addEventListener("keydown", (event) => {
    const select = event.target.closest("button") && event.target.closest(".answer").querySelector("select");
    if (select && [...select.options].some((option) => option.value === event.key)) select.value = event.key;
  });
  let dragged = null;
  for (const answer of answers()) {
    answer.draggable = true;
    answer.addEventListener("dragstart", (event) => {
      dragged = answer;
      event.dataTransfer.setData("text/plain", "");
      answer.classList.add("dragged");
    });
    answer.addEventListener("dragover", (event) => {
      if (!dragged) return;
      event.preventDefault();
      if (dragged === answer) return;
      const { top, height } = answer.getBoundingClientRect();
      answer[event.clientY < top + height / 2 ? "before" : "after"](dragged);
    });
    answer.addEventListener("drop", (event) => event.preventDefault());
    answer.addEventListener("dragend", () => {
      answer.classList.remove("dragged");
      dragged = null;
      number();
    });
  }
}

// Drafts: what is typed is kept a moment later, and when the page is left.
const drafts = document.querySelectorAll("[data-draft]");
if (drafts.length) {
  let waiting = null;
  const keep = async () => {
    clearTimeout(waiting);
    waiting = null;
    const fields = [task.elements.form_secret, task.elements.lease, ...drafts];
    const body = new URLSearchParams(fields.map((field) => [field.name, field.value]));
    try {
      const answer = await fetch("/draft", { method: "POST", body, keepalive: body.toString().length < 60000 });
      say(answer.ok ? "Your draft is kept." : "Your draft is not kept: please copy it and open your personal link again.");
    } catch {
      say("Your draft is not kept: the server cannot be reached.");
    }
  };
  for (const draft of drafts) {
    draft.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(keep, 800); });
  }
  window.addEventListener("pagehide", () => { if (waiting) keep(); });
}
