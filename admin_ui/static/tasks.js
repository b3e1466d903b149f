// Tasks, their students' stages and evidence, and what a person may ask for.

import { send } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, h, render, s } from "./dom.js";
import { count, interval, money, number, percent, several, short } from "./format.js";
import { isOpen, runView } from "./runs.js";
import { driftLine, drifted, levelLine, paybackLine } from "./worth.js";

const STAGES = ["candidate", "shadow", "canary", "live", "retired"];
const EXPLAIN = {
  candidate: "trained, not yet compared", shadow: "answers copies, serves nobody",
  canary: "serves a small share", live: "serves as a cascade over the teacher", retired: "serves no more",
};
const ACTIONS = {
  promote: { label: "Promote", title: (name) => `Promote ${name}?`, button: "Ask for promotion",
    text: "This asks the trainer. It promotes only when every gate passes on fresh pairs." },
  pause: { label: "Pause", title: (name) => `Pause ${name}?`, button: "Pause", danger: true,
    text: "At once: the student stops answering and the teacher takes every call. Its stage is kept." },
  resume: { label: "Resume", title: (name) => `Resume ${name}?`, button: "Ask to resume",
    text: "This asks the trainer to let the student continue in its stage." },
  rollback: { label: "Roll back", title: (name) => `Roll back ${name}?`, button: "Roll back", danger: true,
    text: "At once and for good: the student is retired and the teacher takes every call." },
  retrain: { label: "Retrain", title: (name) => `Train a successor of ${name}?`, button: "Ask for training",
    text: "This asks the trainer for a new round of training on the calls captured so far." },
};

let changed = () => {};
export const onChange = (handler) => { changed = handler; };

function actionsOf(student) {
  if (student.stage === "retired") return [];
  const names = [];
  if (student.stage !== "live" && !student.paused) names.push("promote");
  if (student.stage !== "candidate") names.push(student.paused ? "resume" : "pause");
  return [...names, "retrain", "rollback"];
}

function actionButton(student, name) {
  const about = ACTIONS[name];
  const who = `student v${student.version}`;
  return h("button", { type: "button", class: about.danger ? "danger" : "", "data-key": `${student.id}/${name}`,
    "aria-label": `${about.label} ${who}`,
    on: { click: () => ask({ ...about, title: about.title(who),
      run: async (reason) => {
        const done = await send(`/admin/api/students/${encodeURIComponent(student.id)}/${name}`, { reason });
        changed();
        return done;
      } }) } }, about.label);
}

function track(student) {
  const at = STAGES.indexOf(student.stage);
  return h("ol", { class: "stages", "aria-label": `Stage of student v${student.version}` }, STAGES.map((stage, index) =>
    h("li", { class: index < at && student.stage !== "retired" ? "past" : index === at ? `here ${stage}` : "",
      "aria-current": index === at ? "step" : null, title: EXPLAIN[stage] }, stage)));
}

// The interval as a bar on an axis that ends at 100 %, with the floor it must clear and the target.
function evidenceBar(evidence, task) {
  if (!evidence.n) return null;
  const from = Math.max(0, Math.min(evidence.low, task.floor ?? 1, 0.9) - 0.02);
  const x = (share) => (((share - from) / (1 - from)) * 100).toFixed(2);
  const passes = task.floor !== null && evidence.low > task.floor;
  const span = Math.max(0.6, x(evidence.high) - x(evidence.low));
  const bar = s("svg", { class: `evidence ${passes ? "passes" : ""}`, viewBox: "0 0 100 12", preserveAspectRatio: "none",
    width: "100%", height: 18, role: "img", "aria-label": `Agreement ${interval(evidence)}` +
      (task.floor === null ? "" : `; it must exceed ${percent(task.floor)}`) },
    s("rect", { class: "rail", x: 0, y: 4, width: 100, height: 4 }),
    s("rect", { class: "span", x: x(evidence.low), y: 2.5, width: span, height: 7 }),
    s("rect", { class: "point", x: x(evidence.agreement) - 0.3, y: 0.5, width: 0.6, height: 11 }),
    task.floor !== null && s("rect", { class: "floor", x: x(task.floor) - 0.2, y: 0, width: 0.4, height: 12 }),
    task.target !== null && s("rect", { class: "target", x: x(task.target) - 0.2, y: 0, width: 0.4, height: 12 }));
  return [bar, h("p", { class: "scale", "aria-hidden": "true" }, h("span", {}, percent(from)),
    h("span", { class: "marks" }, task.floor !== null && h("span", { class: "key floor" }, "must exceed"),
      task.target !== null && h("span", { class: "key target" }, "target"), h("span", { class: "key point" }, "measured")),
    h("span", {}, percent(1)))];
}

// What the gates said when the student last moved; the numbers behind a sentence are its tooltip.
function gateList(gates) {
  const all = Object.entries(gates);
  return all.length > 0 && h("ul", { class: "gates" }, all.map(([name, { verdict, reason, numbers }]) =>
    h("li", { title: Object.entries(numbers).map(([key, value]) => `${key} ${number(value)}`).join("\n") },
      h("span", { class: `badge ${verdict === "pass" ? "good" : ""}` }, name), " ", reason)));
}

function watchText(watch) {
  if (!("reasks" in watch)) return null;
  const numbers = interval({ agreement: watch.agreement, low: watch.agreement_low, high: watch.agreement_high, n: watch.reasks });
  const rest = [`alarm evidence ${number(watch.evidence)} of ${number(watch.alarm_at)}`];
  if ("error_rate" in watch) rest.push(`errors ${percent(watch.error_rate)}`);
  if ("p95_ms" in watch) rest.push(`p95 ${number(watch.p95_ms)} ms`);
  return `re-asked calls: ${numbers} · ${rest.join(" · ")}`;
}

// The candidates of its round, with what they would answer; nothing for a round of one.
function roundText(candidates) {
  if (!candidates || candidates.length === 0) return null;
  return candidates.map((one) => `${one.name}${one.picked ? " (picked)" : ""}: ` + (one.answered
    ? `would answer ${percent(one.answered / one.n)} of ${several(one.n, "calibration call")}${one.certified ? "" : ", not certified"}`
    : "no threshold")).join(" · ");
}

const fact = (name, value) => value && h("div", {}, h("dt", {}, name), h("dd", {}, value));

function studentView(task, student, worth) {
  const { evidence } = student;
  const older = evidence.n > 0 && evidence.epoch !== student.epoch;
  return h("li", { class: `student ${student.stage}` },
    h("div", { class: "student-head" },
      h("h4", {}, `Student v${student.version}`, h("span", { class: "soft" }, ` ${student.recipe}`)),
      student.paused && h("span", { class: "badge warn" }, "paused"),
      drifted(worth.watched, student) && h("span", { class: "badge warn" }, "calls have changed"),
      student.waiting_approval && h("span", { class: "badge info" }, "waits for your approval"),
      student.wish && h("span", { class: "badge info" }, `asked to ${student.wish}`),
      student.erased_rows > 0 && h("span", { class: "badge warn",
        title: "Rows of its dataset that were erased since because somebody asked for it" },
        `trained on erased data (${several(student.erased_rows, "row")})`)),
    track(student),
    h("div", { class: "proof" }, evidenceBar(evidence, task),
      h("p", {}, h("strong", {}, interval(evidence)), evidence.n > 0 && " agreement on the calls it answers",
        older && " in its previous stage",
        task.floor !== null && ` · must be shown to exceed ${percent(task.floor)}`,
        evidence.compared > evidence.n && ` · passes ${percent(1 - evidence.n / evidence.compared)} on to the teacher`)),
    h("dl", { class: "facts" },
      fact("Watch", watchText(student.watch)),
      fact("Drift", driftLine(worth.watched, student)),
      student.watch.canary_share && fact("Canary", `answers ${percent(student.watch.canary_share)} of the calls it may, by its evidence so far`),
      student.deferred.length > 0 && fact("Left to the teacher", `${student.deferred.join(", ")} (of the slices ${student.slices.join(", ")})`),
      fact("Candidates of its round", roundText(student.metrics.candidates)),
      fact("Gates at its last move", gateList(evidence.gates)),
      fact("Answers at", `confidence ≥ ${number(student.threshold)}`),
      student.certificate && fact("Certificate", h("code", { title: student.certificate.digest }, student.certificate.path)),
      student.dataset && fact("Dataset", h("code", { title: student.dataset }, short(student.dataset)))),
    h("div", { class: "row" }, actionsOf(student).map((name) => actionButton(student, name))));
}

function costLine(cost) {
  if (cost.per_call_usd === null) return cost.calls ? "price unknown" : "no calls in the last hour";
  const now = `${money(cost.per_call_usd)} per call now`;
  if (!cost.teacher_per_call_usd) return now;
  return `${now}, teacher alone ${money(cost.teacher_per_call_usd)} (last ${several(cost.calls, "call")})`;
}

function cacheLine(cache) {
  if (!cache || !cache.hits) return null;
  const share = `${count(cache.hits)} of ${several(cache.calls, "call")}`;
  return cache.saved_usd === null ? `${share}, price unknown` : `${share}, ${money(cache.saved_usd)} saved at the teacher's price`;
}

function taskView(task, worth) {
  const present = task.students.filter((one) => one.stage !== "retired");
  const retired = task.students.filter((one) => one.stage === "retired");
  const needed = task.needed_calls;
  const openRuns = task.runs.filter(isOpen);
  const doneRuns = task.runs.filter((run) => !openRuns.includes(run));
  return h("article", { class: "card task", "aria-label": `Task ${task.name}` },
    h("div", { class: "task-head" }, h("h3", {}, task.name),
      task.simulated && h("span", { class: "badge info" }, "simulated teacher")),
    h("dl", { class: "facts" },
      fact("Teacher", task.teacher ?? "none"),
      fact("Cost", costLine(task.cost)),
      fact("Payback, 30 days", paybackLine(worth.savings, task)),
      fact("Typical call", levelLine(worth.watched, task)),
      fact("Cache, last hour", cacheLine(task.cache)),
      fact("Captured", several(task.captured_calls, "call") + (needed && !task.students.length ? `, training starts at ${count(needed)}` : "")),
      task.ceiling && fact("Teacher agrees with itself", interval(task.ceiling)),
      task.target !== null && fact("Target", `${percent(task.target)}, ${task.approval} approval`),
      task.versions.length > 1 && fact("Shapes seen", `${count(task.versions.length)}; a student answers only the one it was certified on`)),
    openRuns.length > 0 && h("ul", { class: "runs" }, openRuns.map(runView)),
    present.length > 0 && h("ul", { class: "students" }, present.map((one) => studentView(task, one, worth))),
    !present.length && h("p", { class: "empty" }, task.target === null ? "This task does not learn."
      : openRuns.some((run) => run.state === "running") ? "A student is being trained."
        : openRuns.length ? "The teacher answers every call; a training waits in the queue."
          : "No student yet: the teacher answers every call."),
    retired.length > 0 && h("details", { "data-key": `${task.name}/retired` },
      h("summary", { "data-key": `${task.name}/retired/summary` }, `Retired students (${retired.length})`),
      h("ul", { class: "students" }, retired.map((one) => studentView(task, one, worth)))),
    doneRuns.length > 0 && h("details", { "data-key": `${task.name}/runs` },
      h("summary", { "data-key": `${task.name}/runs/summary` }, `Finished runs (${doneRuns.length})`),
      h("ul", { class: "runs" }, doneRuns.map(runView))));
}

export function showTasks({ tasks }, worth) {
  render(byId("task-list"), [tasks, worth], () => tasks.length ? tasks.map((task) => taskView(task, worth))
    : h("p", { class: "card empty" }, "No task is configured. Add one to policies/routing.yaml."));
}
