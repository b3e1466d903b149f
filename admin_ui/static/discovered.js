// Tasks that were found in calls no task claims, what each would save, and the YAML to paste.

import { byId, h, render } from "./dom.js";
import { count, money, percent } from "./format.js";

const between = (interval, text) => `${text(interval.value)} (95 % interval ${text(interval.low)} to ${text(interval.high)})`;

const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

function found(task) {
  const key = `found/${task.project}/${task.name}`;
  const ahead = task.forecast;
  const served = task.probe.served;
  return h("article", { class: "card task found", "aria-label": `Found: ${task.name}` },
    h("div", { class: "task-head" }, h("h3", {}, task.name)),
    h("dl", { class: "facts" },
      fact("Calls a month", between(ahead.calls, (value) => count(Math.round(value)))),
      fact("A student could serve", served ? `${between(served, percent)}, n = ${count(task.probe.n)}` : `unknown: ${task.probe.why}`),
      fact("Saved a month", ahead.saved_usd ? between(ahead.saved_usd, money) : "unknown")),
    h("details", { "data-key": key }, h("summary", { "data-key": `${key}/summary` }, `Prompt, and YAML for ${task.name}`),
      h("p", {}, task.template || "No system text."), h("pre", { tabindex: "0" }, task.yaml)));
}

export const path = () => "/admin/api/discovered";

export function showDiscovered(answer) {
  byId("discovered").hidden = !answer.enabled;
  render(byId("discovered-list"), answer, () => answer.tasks.length ? answer.tasks.map(found)
    : h("p", { class: "card empty" }, "Nothing was found yet. The trainer looks every hour; understudy discover looks now."));
}
