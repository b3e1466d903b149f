// Data of people: taking an uploaded file into a task, and erasing a person everywhere.

import { read, send } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, h, render } from "./dom.js";
import { count, isoTime, several, when } from "./format.js";

const importing = byId("import");
const erasing = byId("erase");
const text = (form, name) => form.elements[name].value.trim();

function reportView(found) {
  const verb = found.dry_run ? "would be new" : found.new === 1 ? "is new" : "are new";
  return [
    h("p", {}, h("strong", {}, `${count(found.new)} of ${several(found.read, "row")} ${verb}.`),
      ` ${count(found.known)} here already, ${count(found.repeated)} repeating another row, ${count(found.bad)} unusable.`),
    found.columns && h("p", { class: "soft" }, `Input: ${found.columns.input}; answer: ${found.columns.answer}.`),
    found.preview.length > 0 && h("ul", {}, found.preview.map((one) => h("li", {}, `${one.input} → ${one.answer}`))),
    found.problems.length > 0 && h("ul", {}, found.problems.map((one) => h("li", {}, `Line ${one.line}: ${one.message}`))),
    found.unknown_fingerprints.length > 0 && h("p", {}, "Some rows look like no request of this task so far."),
  ].filter(Boolean);
}

importing.addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = byId("import-problem");
  const body = { project: text(importing, "project"), task: text(importing, "task"), file_id: text(importing, "file_id"),
    dry_run: event.submitter?.value !== "import" };
  for (const name of ["input", "answer"]) if (text(importing, name)) body[name] = text(importing, name);
  problem.textContent = "";
  for (const button of importing.querySelectorAll("button")) button.disabled = true;
  try {
    const found = await send("/admin/api/imports", body);
    render(byId("import-report"), [found, Date.now()], () => reportView(found));
  } catch (failure) {
    byId("import-report").replaceChildren();
    problem.textContent = failure.message;
  } finally {
    for (const button of importing.querySelectorAll("button")) button.disabled = false;
  }
});

const erasureRow = (one) => h("tr", {},
  h("td", { "data-label": "Time" }, h("time", { datetime: isoTime(one.at) }, when(one.at))),
  h("td", { "data-label": "Project" }, one.project),
  h("td", { "data-label": "Person, as a hash", class: "soft" }, one.who),
  h("td", { "data-label": "Calls", class: "n" }, count(one.calls)),
  h("td", { "data-label": "Texts erased", class: "n" }, count(one.texts)),
  h("td", { "data-label": "Reason", class: "why" }, one.reason));

async function showErasures() {
  try {
    const { erasures } = await read("/admin/api/erasures");
    render(byId("erasure-list"), erasures, () => erasures.length ? h("table", { class: "journal" },
      h("caption", { class: "unseen" }, "People who were erased, newest first"),
      h("thead", {}, h("tr", {}, ["Time", "Project", "Person, as a hash", "Calls", "Texts erased", "Reason"].map(
        (name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, erasures.map(erasureRow))) : h("p", { class: "empty" }, "Nobody was erased."));
  } catch (failure) {
    byId("erasure-list").replaceChildren(h("p", { class: "problem" }, failure.message));
  }
}

erasing.addEventListener("submit", (event) => {
  event.preventDefault();
  const [project, person] = [text(erasing, "project"), text(erasing, "end_user")];
  ask({ title: `Erase what ${person} left in ${project}?`, button: "Erase", danger: true,
    text: "Texts, stored responses, rows of datasets and lines of files that name this person go for good; caches are emptied. What they send later is a new beginning.",
    run: async (reason) => {
      const done = await send("/admin/api/erasures", { project, end_user: person, reason });
      erasing.reset();
      await showErasures();
      return { message: `Erased: ${several(done.calls, "call")}, ${several(done.texts, "text")}. Files and datasets follow within seconds.` };
    } });
});

byId("erasures").addEventListener("toggle", (event) => { if (event.target.open) showErasures(); });
