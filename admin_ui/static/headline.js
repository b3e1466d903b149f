// Notices and headline figures.

import { byId, h, render, setText } from "./dom.js";
import { bounds, count, money, percent, several } from "./format.js";

const figure = (name, value, note, kind) =>
  h("div", { class: `figure ${kind ?? ""}` }, h("dt", {}, name), h("dd", { class: "value" }, value), h("dd", { class: "note" }, note));

export function showHeadline(overview) {
  const { totals, agreement } = overview;
  render(byId("figures"), { totals, agreement }, () => [
    figure("Spent", money(totals.cost_usd + totals.extra_cost_usd), totals.extra_cost_usd > 0
      ? `${money(totals.extra_cost_usd)} of it for learning and re-asks` : `for ${several(totals.calls, "call")}`),
    figure("Saved", money(totals.saved_usd), `the teacher alone: ${money(totals.teacher_cost_usd)}`,
      totals.saved_usd > 0 ? "good" : ""),
    figure("Saved share", percent(totals.saved_share), "of what the teacher alone would have cost",
      totals.saved_usd > 0 ? "good" : ""),
    figure("Answered by students", percent(totals.student_share), `${count(totals.student_calls)} of ${several(totals.calls, "call")}`),
    figure("Agreement", percent(agreement?.agreement), agreement
      ? `${bounds(agreement)} (95\u00a0% interval), students that serve` : "no student serves now, or nothing was compared yet"),
  ]);
}

const banner = (kind, label, text) => h("p", { class: `banner ${kind}` }, h("strong", {}, label), " ", text);

export function showBanners(overview) {
  const { simulated, students_off: off, config, recorder_degraded: degraded, totals } = overview;
  render(byId("banners"), { simulated, off, config: config.problem, degraded, unpriced: totals.unpriced }, () => [
    simulated && banner("info", "Simulated teacher.",
      "Its answers, latency and prices are made up for the demonstration; no provider is paid."),
    off && banner("warn", "All students are off.", "Teachers answer every call until you switch them on again."),
    config.problem && banner("bad", "The newest policies are not in force.",
      `The last good ones stay until this is mended: ${config.problem}`),
    degraded && banner("bad", "Recording is degraded.",
      "The disk is full or failing: calls are answered, but their texts are not captured."),
    totals.unpriced > 0 && banner("warn", `Prices unknown for ${several(totals.unpriced, "call")}.`,
      "They are missing from the sums. Add the model to the price table."),
  ].filter(Boolean));
}

export function showSwitch(overview) {
  const on = !overview.students_off;
  byId("switch").setAttribute("aria-checked", String(on));
  setText(byId("switch-text"), on ? "Students may answer" : "All students are off");
}
