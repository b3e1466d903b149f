// Spent and saved as stacked bars, drawn by hand at the size of its box, with a table that says the same.

import { byId, h, render, s } from "./dom.js";
import { count, money, several, tick, when } from "./format.js";

const HEIGHT = 230;
const EDGE = { top: 10, right: 4, bottom: 26, left: 60 };
const LETTER = 7.5;  // the width of one on the axis, at most
let last = null;

// Three or four round steps from 0 to at least `most`.
export function steps(most) {
  if (!(most > 0)) return [0, 1];
  const rough = most / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, index) => index * step);
}

const spentOf = (bar) => bar.cost_usd + bar.extra_cost_usd;
const savedOf = (bar) => Math.max(0, bar.saved_usd);

function bars(overview, x, y, wide) {
  const base = y(0);
  return overview.series.map((bar, index) => {
    if (!bar.calls) return null;
    const left = x(index);
    const spent = y(spentOf(bar));
    const top = y(spentOf(bar) + savedOf(bar));
    return s("g", { class: "bar" },
      s("title", {}, `${when(bar.start)}: spent ${money(spentOf(bar))}, saved ${money(bar.saved_usd)}, ` +
        `${several(bar.calls, "call")}, ${count(bar.student_calls)} by students`),
      s("rect", { class: "hit", x: left, y: EDGE.top, width: wide, height: base - EDGE.top }),
      s("rect", { class: "saved", x: left, y: top, width: wide, height: Math.max(0, spent - top) }),
      s("rect", { class: "spent", x: left, y: spent, width: wide, height: Math.max(0, base - spent) }));
  });
}

function axis(overview, marks, y, x, width) {
  const { series, bucket_s: bucket } = overview;
  const every = Math.max(1, Math.ceil(series.length / Math.max(2, Math.floor((width - EDGE.left) / 110))));
  return [
    marks.map((mark) => [
      s("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(mark), y2: y(mark) }),
      s("text", { class: "tick", x: EDGE.left - 8, y: y(mark) + 4, "text-anchor": "end" }, money(mark)),
    ]),
    series.map((bar, index) => {
      const text = index % every === 0 ? tick(bar.start, bucket) : "";
      return text !== "" && x(index) + text.length * LETTER <= width &&  // the last one may not find room
        s("text", { class: "tick", x: x(index), y: HEIGHT - 6, "text-anchor": "start" }, text);
    }),
  ];
}

function draw(overview) {
  const box = byId("chart");
  const width = Math.max(260, Math.floor(box.clientWidth));
  const { series, totals } = overview;
  render(box, { width, series }, () => {
    if (!totals.calls) return h("p", { class: "empty" }, "No calls in this time. Send one, and it shows here.");
    const marks = steps(Math.max(...series.map((bar) => spentOf(bar) + savedOf(bar))));
    const most = marks.at(-1);
    const slot = (width - EDGE.left - EDGE.right) / series.length;
    const gap = slot > 4 ? Math.min(3, slot * 0.2) : 0;
    const y = (value) => HEIGHT - EDGE.bottom - (value / most) * (HEIGHT - EDGE.top - EDGE.bottom);
    const wide = Math.min(64, slot - gap);
    const x = (index) => EDGE.left + index * slot + (slot - wide) / 2;
    const label = `Bars over time: ${money(totals.cost_usd + totals.extra_cost_usd)} spent, ` +
      `${money(totals.saved_usd)} saved in all. The table below has every figure.`;
    return s("svg", { role: "img", "aria-label": label, width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` },
      axis(overview, marks, y, x, width), bars(overview, x, y, wide));
  });
}

export function showChart(overview) {
  last = overview;
  draw(overview);
  const rows = overview.series.filter((bar) => bar.calls).reverse();
  render(byId("chart-rows"), rows, () => rows.map((bar) => h("tr", {},
    h("th", { scope: "row" }, when(bar.start)),
    [count(bar.calls), count(bar.student_calls), money(spentOf(bar)), money(bar.teacher_cost_usd), money(bar.saved_usd)]
      .map((text) => h("td", { class: "n" }, text)))));
}

new ResizeObserver(() => { if (last) draw(last); }).observe(byId("chart"));
