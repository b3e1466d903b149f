// What is kept and what it saved, by task; which tasks serve likened answers, and forgetting.

import { send } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, h, render } from "./dom.js";
import { count, money, number, percent, several } from "./format.js";

let changed = () => {};

export const onChange = (handler) => { changed = handler; };
export const path = () => "/admin/api/caches";

function forget(label, what, body) {
  return h("button", { type: "button", "data-key": `forget/${label}`, "aria-label": `Forget ${what}`,
    on: { click: () => ask({ title: `Forget ${what}?`, button: "Forget", danger: true,
      text: "At once, at every worker: the next requests ask their providers again. What was learnt about likeness stays.",
      run: async (reason) => {
        const done = await send("/admin/api/caches/purge", { ...body, reason });
        changed();
        return done;
      } }) } }, "Forget");
}

function standing(one) {
  if (!one) return "";
  const proof = `${count(one.seen)} compared, ${several(one.proposals, "proposal")} in round ${count(one.round)}, evidence ${number(one.e_value)}`;
  const alarms = one.alarms ? `, closed by ${several(one.alarms, "alarm")}` : "";
  return h("span", {}, h("strong", {}, one.open ? "serves" : "closed"), ` at ${percent(one.delta)} wrong at most`,
    h("br", {}), h("span", { class: "soft" }, proof + alarms));
}

function row(task, standings) {
  const { hits, calls, saved_usd: saved } = task.cache ?? { hits: 0, calls: 0, saved_usd: 0 };
  const mine = standings.filter((one) => one.task === task.name);
  return h("tr", {},
    h("td", { "data-label": "Task" }, h("strong", {}, task.name)),
    h("td", { "data-label": "Hits, last hour", class: "n" }, calls ? `${count(hits)} of ${count(calls)} (${percent(hits / calls)})` : "no calls"),
    h("td", { "data-label": "Saved", class: "n" }, hits ? money(saved) : "–"),
    h("td", { "data-label": "In other words", class: "why" }, mine.length ? mine.map((one) => h("p", {},
      h("span", { class: "subject" }, one.project), " ", standing(one))) : "off, or nothing compared yet"),
    h("td", { "data-label": "" }, forget(task.name, `the kept answers of ${task.name}`, { task: task.name })));
}

const figures = /^(Hits|Saved|Calls|Cached)/;

function head(...names) {
  return h("thead", {}, h("tr", {}, names.map(
    (name) => h("th", { scope: "col", class: figures.test(name) ? "n" : "" }, name))));
}

function promptRow(one) {
  return h("tr", {},
    h("td", { "data-label": "Task" }, h("strong", {}, one.task || "no task"), h("br", {}),
      h("span", { class: "soft" }, `${one.provider}/${one.model}`)),
    h("td", { "data-label": "Calls, last hour", class: "n" }, count(one.calls)),
    h("td", { "data-label": "Cached input", class: "n" },
      `${count(one.cached_tokens)} of ${several(one.prompt_tokens, "token")} (${percent(one.cached_tokens / one.prompt_tokens)})`),
    h("td", { "data-label": "Saved", class: "n" }, one.saved_usd === null ? "price unknown" : money(one.saved_usd)));
}

export function showCaches({ exact, semantic, tasks: standings, prompts = [] }, { tasks }) {
  const kept = exact.entries === undefined ? "Answers are kept in Redis."
    : `${several(exact.entries, "answer")} kept here, ${count(exact.bytes / 1024)} KiB`;
  const likened = semantic.entries ? `; ${several(semantic.entries, "question")} to be likened, ${count(semantic.bytes / 1024)} KiB.` : ".";
  const used = tasks.filter((task) => task.cache?.hits || standings.some((one) => one.task === task.name));
  const shown = used.map((task) => [task.name, task.cache]);
  render(byId("caches-list"), [kept, likened, shown, standings, prompts], () => [
    h("p", { class: "row" }, h("span", {}, kept.replace(/\.$/, "") + likened), " ",
      forget("everything", "all kept answers", { everything: true })),
    used.length > 0 && h("table", { class: "journal" },
      h("caption", { class: "unseen" }, "What the caches did, by task"),
      head("Task", "Hits, last hour", "Saved at the teacher's price", "In other words", ""),
      h("tbody", {}, used.map((task) => row(task, standings)))),
    prompts.length > 0 && h("h3", {}, "Providers’ own prompt caches"),
    prompts.length > 0 && h("table", { class: "journal" },
      h("caption", { class: "unseen" }, "Input that providers had in their prompt caches, by task and model"),
      head("Task", "Calls, last hour", "Cached input", "Saved"),
      h("tbody", {}, prompts.map(promptRow))),
  ].filter(Boolean));
}
