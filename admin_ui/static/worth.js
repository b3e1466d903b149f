// Whether a task's students pay, and what the watch sees beside agreement.

import { count, money, number, percent, several } from "./format.js";

const between = (one, text) => `${text(one.value)} (${text(one.low)} to ${text(one.high)})`;
const calls = (value) => (value === null ? "never" : count(Math.ceil(value)));

export function paybackLine(savings, task) {
  const found = savings.tasks.find((one) => one.task === task.name && one.project === task.project)?.payback;
  if (!found || !found.student_calls) return null;
  if (found.net === null) return "price unknown";
  const parts = [`invested ${money(found.invested)}, brought ${money(found.brought)}`];
  if (found.net >= 0) parts.push("paid off");
  else if (found.calls_left) parts.push(`paid off in ${between(found.calls_left, calls)} more ${Math.ceil(found.calls_left.value) === 1 ? "call" : "calls"}`);
  if (found.per_call) parts.push(`saves ${between(found.per_call, money)} a call`);
  if (found.forecast) parts.push(`expected ${money(found.forecast.value)}`);
  return parts.join(" · ");
}

export function driftLine(watched, student) {
  const games = watched.games.filter((one) => one.student === student.id && one.rounds);
  if (!games.length) return null;
  return games.map((one) => `${one.measure} told apart in ${percent(one.told)} of ${several(one.rounds, "round")}` +
    (one.alarmed_at === null ? "" : " (changed)")).join(" · ");
}

export const drifted = (watched, student) =>
  watched.games.some((one) => one.student === student.id && one.alarmed_at !== null);

export function levelLine(watched, task) {
  const parties = Object.entries(watched.levels[task.name] ?? {});
  return parties.length ? parties.map(([name, found]) => `${name}: ${[
    found.latency !== undefined && `${number(found.latency)} ms`, found.cost !== undefined && money(found.cost),
  ].filter(Boolean).join(", ")}`).join(" · ") : null;
}
