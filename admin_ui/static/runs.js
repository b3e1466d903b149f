// Runs: their progress as it comes, what they said, the curve of their loss, and what a person may do about them.

import { poll, read, send } from "./api.js";
import { ask } from "./dialogs.js";
import { h, s } from "./dom.js";
import { isoTime, number, percent, when } from "./format.js";

const OPEN = ["queued", "running", "paused"];
const EVERY_MS = 700;
const ACTIONS = {
  pause: { label: "Pause", title: "Pause this run?", button: "Pause", text: "What it has reached is kept; nothing else begins for its task." },
  resume: { label: "Resume", title: "Let this run go on?", button: "Resume", text: "It waits in the queue again and goes on where it was." },
  cancel: { label: "Cancel", title: "Cancel this run?", button: "Cancel the run", danger: true, text: "It ends and leaves no student." },
  first: { label: "Put first", title: "Put this run before the others?", button: "Put first", text: "It begins before all others that wait." },
};
let changed = () => {};
let timer = 0;
let followed = new Map(); // run id -> what shows it

export const onRunChange = (handler) => { changed = handler; };
export const isOpen = (run) => OPEN.includes(run.state);

function actionsOf(run) {
  if (!isOpen(run)) return [];
  if (run.state === "queued") return ["first", "pause", "cancel"];
  return [run.state === "paused" ? "resume" : "pause", "cancel"];
}

function actionButton(run, name) {
  const about = ACTIONS[name];
  const place = `/admin/api/runs/${encodeURIComponent(run.id)}`;
  return h("button", { type: "button", class: about.danger ? "danger" : "", "data-key": `${run.id}/${name}`,
    on: { click: () => ask({ ...about, run: async (reason) => {
      const done = name === "first" ? await send(`${place}/priority`, { priority: 100, reason })
        : await send(`${place}/${name}`, { reason });
      changed();
      return done;
    } }) } }, about.label);
}

// What it is doing while it is open, and what it was once it has ended.
const wordsOf = (run) => run.error || (isOpen(run) && run.step !== run.state && run.step) || run.kind;

export function runView(run) {
  const open = isOpen(run);
  const said = h("span", { class: "grow" }, wordsOf(run));
  const bar = open && h("progress", { max: 1, value: run.progress, "aria-label": `Progress of run ${run.id}` }, percent(run.progress));
  const log = h("div", { class: "log" });
  const details = h("details", { "data-key": `run/${run.id}`,
    on: { toggle: (event) => { if (event.target.open) showEvents(run.id, log); } } },
    h("summary", { "data-key": `run/${run.id}/summary` }, "Events"), log);
  if (open) follow(run.id, { said, bar, log, details, state: run.state });
  return h("li", { class: `run ${run.state}` },
    h("div", { class: "run-line" },
      h("span", { class: `badge ${run.state === "failed" ? "bad" : open ? "info" : ""}` }, run.state),
      run.priority !== 0 && h("span", { class: "badge" }, `priority ${run.priority}`), said,
      h("time", { class: "soft", datetime: isoTime(run.created_at) }, when(run.created_at))),
    bar,
    open && h("div", { class: "row" }, actionsOf(run).map((name) => actionButton(run, name))),
    details);
}

// The loss of each step that was told, as a line; the newest value stands beside it.
function curve(events) {
  const points = events.map((event) => event.data).filter((data) => Number.isFinite(data.train_loss) && data.steps > 0);
  if (points.length < 2) return null;
  const most = Math.max(...points.map((point) => point.train_loss), 1e-9);
  const line = points.map((point) => `${(point.step / point.steps) * 100},${30 - (point.train_loss / most) * 28}`).join(" ");
  const [first, last] = [points[0], points.at(-1)];
  const label = `Training loss from ${number(first.train_loss)} at step ${first.step} to ${number(last.train_loss)} at step ${last.step} of ${last.steps}`;
  return h("figure", { class: "curve" },
    s("svg", { viewBox: "0 0 100 31", preserveAspectRatio: "none", width: "100%", height: 90, role: "img", "aria-label": label },
      s("line", { class: "grid", x1: 0, x2: 100, y1: 30, y2: 30 }), s("polyline", { class: "loss", points: line })),
    h("figcaption", { class: "soft" }, label));
}

async function showEvents(id, log) {
  try {
    const { events } = await read(`/admin/api/runs/${encodeURIComponent(id)}`);
    log.replaceChildren(...[curve(events), h("ol", { class: "events" },
      events.length ? events.map((event) => h("li", { class: event.level },
        h("time", { datetime: isoTime(event.at) }, when(event.at)), " ", event.message)) : h("li", {}, "No events yet."))]
      .filter(Boolean));
  } catch (failure) {
    log.replaceChildren(h("p", { class: "error" }, failure.message));
  }
}

// Open runs are asked for more often than the rest of the page, so that progress shows within a second.
function follow(id, nodes) {
  followed.set(id, nodes);
  if (!timer) timer = setTimeout(look, EVERY_MS);
}

async function look() {
  timer = 0;
  followed = new Map([...followed].filter(([, nodes]) => nodes.said.isConnected));
  if (!followed.size) return;
  if (!document.hidden) {
    try {
      const [{ runs }] = await poll(["/admin/api/runs?open=1"]);
      for (const [id, nodes] of followed) show(runs.find((run) => run.id === id), id, nodes);
    } catch {
      return; // the page's own polling says what is wrong, and draws the runs anew when it is over
    }
  }
  timer = setTimeout(look, EVERY_MS);
}

function show(run, id, nodes) {
  if (!run || run.state !== nodes.state) {
    followed.delete(id);
    changed();
    return;
  }
  if (nodes.told === `${run.step} ${run.progress}`) return;
  nodes.told = `${run.step} ${run.progress}`;
  nodes.said.textContent = wordsOf(run);
  nodes.bar.value = run.progress;
  if (nodes.details.open) showEvents(id, nodes.log);
}
