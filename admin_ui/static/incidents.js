// What guardrails found: what, where, by which rule, and a masked sample.

import { byId, h, render } from "./dom.js";
import { isoTime, when } from "./format.js";

const STEP = 25;
let limit = STEP;
let changed = () => {};

export const onMore = (handler) => { changed = handler; };
export const path = () => `/admin/api/incidents?limit=${limit}`;

byId("incidents-more").addEventListener("click", () => {
  limit = Math.min(1000, limit + 4 * STEP);
  changed();
});

const row = (one) => h("tr", {},
  h("td", { "data-label": "Time" }, h("time", { datetime: isoTime(one.at) }, when(one.at))),
  h("td", { "data-label": "Guardrail" }, h("strong", {}, one.guardrail), " ", one.shadow ? `would ${one.action}` : one.action),
  h("td", { "data-label": "Where" }, one.direction, " ", h("span", { class: "subject" }, `${one.project} / ${one.model_asked}`)),
  h("td", { "data-label": "Sample", class: "why" }, one.sample),
  h("td", { "data-label": "Call", class: "soft" }, one.call_id),
  h("td", { "data-label": "Sealed", class: "n soft" }, one.sealed || "soon"));

export function showIncidents({ incidents, more }) {
  byId("incidents-more").hidden = !more || limit >= 1000;
  render(byId("incidents-list"), incidents.map((one) => [one.id, one.sealed]), () => incidents.length
    ? h("table", { class: "journal" },
      h("caption", { class: "unseen" }, "Incidents, newest first"),
      h("thead", {}, h("tr", {}, ["Time", "Guardrail", "Where", "Sample", "Call", "Sealed"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, incidents.map(row)))
    : h("p", { class: "empty" }, "No guardrail has found anything."));
}
