// What is kept and what it saved, by task; which tasks serve likened answers, and forgetting.

import { send } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, h, render } from "./dom.js";
import { count, money, number, percent } from "./format.js";

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
  const proof = `${count(one.seen)} compared, ${count(one.proposals)} proposals in round ${count(one.round)}, evidence ${number(one.e_value)}`;
  const alarms = one.alarms ? `, closed by ${count(one.alarms)} alarm${one.alarms > 1 ? "s" : ""}` : "";
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

export function showCaches({ exact, semantic, tasks: standings }, { tasks }) {
  const kept = exact.entries === undefined ? "Answers are kept in Redis."
    : `${count(exact.entries)} answers kept here, ${count(exact.bytes / 1024)} KiB`;
  const likened = semantic.entries ? `; ${count(semantic.entries)} questions to be likened, ${count(semantic.bytes / 1024)} KiB.` : ".";
  const used = tasks.filter((task) => task.cache?.hits || standings.some((one) => one.task === task.name));
  const shown = used.map((task) => [task.name, task.cache]);
  render(byId("caches-list"), [kept, likened, shown, standings], () => [
    h("p", { class: "row" }, h("span", {}, kept.replace(/\.$/, "") + likened), " ",
      forget("everything", "all kept answers", { everything: true })),
    used.length > 0 && h("table", { class: "journal" },
      h("caption", { class: "unseen" }, "What the caches did, by task"),
      h("thead", {}, h("tr", {}, ["Task", "Hits, last hour", "Saved at the teacher's price", "In other words", ""].map(
        (name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, used.map((task) => row(task, standings)))),
  ].filter(Boolean));
}
