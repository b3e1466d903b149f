// The browser of calls on which student and teacher disagreed, a page at a time.

import { read } from "./api.js";
import { byId, h, render } from "./dom.js";
import { isoTime, percent, when } from "./format.js";

const KINDS = { shadow: "shadow copy", canary: "canary", reask: "re-asked" };
const picker = byId("calls-task");
let before = null; // null: the newest page, which follows the polling
let next = null;
let known = "";

const answer = (who, text) => h("div", {}, h("dt", {}, who), h("dd", {}, h("q", {}, text || "(erased)")));

// A long text shows its beginning, and the rest when somebody asks for it.
function question(row) {
  const text = row.input || "(the input was erased)";
  const quote = h("blockquote", {}, text);
  if (text.length <= 420 && text.split("\n").length <= 6) return quote;
  quote.classList.add("long");
  const more = h("button", { type: "button", class: "quiet", "aria-expanded": "false", on: { click: () => {
    const long = quote.classList.toggle("long");
    more.textContent = long ? "Show all" : "Show less";
    more.setAttribute("aria-expanded", String(!long));
  } } }, "Show all");
  return [quote, more];
}

function item(row) {
  return h("li", { class: "call" },
    h("p", { class: "meta" }, h("time", { datetime: isoTime(row.created_at) }, when(row.created_at)),
      h("span", {}, KINDS[row.kind] ?? row.kind), h("span", {}, `confidence ${percent(row.confidence)}`),
      h("code", {}, row.call_id)),
    question(row),
    h("dl", { class: "answers" }, answer("Student", row.student_text), answer("Teacher", row.teacher_text)));
}

function show(page) {
  next = page.next_before;
  byId("calls-older").hidden = next === null;
  byId("calls-newest").hidden = before === null;
  render(byId("call-list"), [before, page], () => page.items.length
    ? h("ul", { class: "card flush calls" }, page.items.map(item))
    : h("p", { class: "card empty" }, "None: on every call that was compared, both gave the same answer."));
}

function fail(failure) {
  render(byId("call-list"), failure.message, () => h("p", { class: "card problem" }, failure.message));
}

function path() {
  if (!picker.value) return null;
  return `/admin/api/tasks/${encodeURIComponent(picker.value)}/disagreements?limit=6${before === null ? "" : `&before=${before}`}`;
}

async function reload() {
  const wanted = path();
  if (!wanted) return;
  try {
    const page = await read(wanted);
    if (wanted === path()) show(page);
  } catch (failure) {
    fail(failure);
  }
}

export function showTaskNames({ tasks }) {
  const names = tasks.filter((task) => task.teacher).map((task) => task.name);
  if (JSON.stringify(names) === known) return;
  known = JSON.stringify(names);
  const chosen = picker.value;
  picker.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  if (names.includes(chosen)) picker.value = chosen;
  byId("task-names").replaceChildren(...names.map((name) => h("option", { value: name })));
  reload();
}

// The polling brings the newest page along; older pages stand still while somebody reads them.
export const newestPath = () => (before === null ? path() : null);

export function follow(page, asked) {
  if (page && asked === newestPath()) show(page);
}

picker.addEventListener("change", () => { before = null; reload(); });
byId("calls-older").addEventListener("click", async () => {
  before = next;
  await reload();
  byId("calls-title").scrollIntoView();
  byId("calls-newest").focus({ preventScroll: true });
});
byId("calls-newest").addEventListener("click", async () => {
  before = null;
  await reload();
  byId("calls-older").focus({ preventScroll: true });
});
