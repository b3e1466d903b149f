// The one dialog: it says what will happen, asks for a reason and shows what went wrong.

import { byId, h } from "./dom.js";

const dialog = byId("ask");
const reason = byId("ask-reason");
const problem = byId("ask-problem");
const go = byId("ask-go");
let act = null;

export function ask({ title, text, button, danger, run }) {
  byId("ask-title").textContent = title;
  byId("ask-text").textContent = text;
  go.textContent = button;
  go.classList.toggle("danger", Boolean(danger));
  reason.value = "";
  problem.textContent = "";
  go.disabled = false;
  act = run;
  dialog.showModal();
  reason.focus();
}

// what was asked may name somebody who is erased by now
dialog.addEventListener("close", () => {
  for (const id of ["ask-title", "ask-text"]) byId(id).textContent = "";
});

byId("ask-cancel").addEventListener("click", () => dialog.close());

byId("ask-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!reason.value.trim()) {
    problem.textContent = "Say why: the reason is written into the journal.";
    reason.focus();
    return;
  }
  go.disabled = true;
  try {
    const done = await act(reason.value.trim());
    dialog.close();
    toast(done.message);
  } catch (failure) {
    problem.textContent = failure.message;
    go.disabled = false;
  }
});

export function toast(text) {
  const note = h("p", { class: "toast" }, text);
  byId("toasts").append(note);
  setTimeout(() => note.remove(), 6000);
}
