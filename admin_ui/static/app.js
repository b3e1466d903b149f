// Puts the page together: who is logged in, what is polled, and where the answers go.

import * as api from "./api.js";
import * as caches from "./caches.js";
import * as calls from "./calls.js";
import { showChart } from "./chart.js";
import "./data.js";
import * as discovered from "./discovered.js";
import { ask, toast } from "./dialogs.js";
import { byId, setText } from "./dom.js";
import { showBanners, showHeadline, showSwitch } from "./headline.js";
import * as incidents from "./incidents.js";
import * as journal from "./journal.js";
import * as runs from "./runs.js";
import * as sessions from "./sessions.js";
import * as store from "./store.js";
import * as tasks from "./tasks.js";

const range = byId("range");
let off = false;

const view = (name) => { document.body.dataset.view = name; };

function show(paths, [overview, taskList, entries, disagreements, found, untagged, watched, savings, kept, people]) {
  view("in");
  off = overview.students_off;
  showBanners(overview);
  showHeadline(overview);
  showSwitch(overview);
  showChart(overview);
  tasks.showTasks(taskList, { watched, savings });
  calls.showTaskNames(taskList);
  calls.follow(disagreements, paths[3]);
  journal.showJournal(entries);
  incidents.showIncidents(found);
  discovered.showDiscovered(untagged);
  caches.showCaches(kept, taskList);
  sessions.showSessions(people);
}

function enter() {
  return store.start({
    paths: () => [`/admin/api/overview${range.value ? `?hours=${range.value}` : ""}`, "/admin/api/tasks",
      journal.path(), calls.newestPath(), incidents.path(), discovered.path(), "/admin/api/watched", "/admin/api/savings",
      caches.path(), sessions.path()],
    show,
    waiting: (why) => { view("loading"); setText(byId("loading"), `${why} The page keeps asking.`); },
    ended: () => leave("The session has ended. Log in again."),
  });
}

function leave(why) {
  store.stop();
  byId("ask").close();
  view("out");
  setText(byId("login-problem"), why);
  byId("key").value = "";
  byId("key").focus();
}

async function boot() {
  try {
    await api.resume();
    await enter();
  } catch (failure) {
    leave(failure.status === 401 ? "" : failure.message);
  }
}

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const go = event.submitter ?? event.target.querySelector("button");
  go.disabled = true;
  setText(byId("login-problem"), "");
  try {
    await api.login(byId("key").value, byId("code").value);
    byId("key").value = "";
    await enter();
    byId("main").focus({ preventScroll: true });
  } catch (failure) {
    setText(byId("login-problem"), failure.message);
    byId("key").select();
  } finally {
    byId("code").value = ""; // it opens the page once
    go.disabled = false;
  }
});

byId("logout").addEventListener("click", async () => {
  try {
    await api.logout();
    leave("");
  } catch (failure) {
    if (failure.status === 401) leave("");
    else toast(failure.message);
  }
});

byId("switch").addEventListener("click", () => {
  const turnOff = !off;
  ask({
    title: turnOff ? "Turn all students off?" : "Let students answer again?",
    text: turnOff ? "At once, for every task: teachers answer every call until you switch students on again."
      : "Students that hold a certificate and are not paused answer again, at once.",
    button: turnOff ? "Turn all off" : "Let them answer",
    danger: turnOff,
    run: async (reason) => {
      const done = await api.send("/admin/api/switch", { students_off: turnOff, reason });
      store.again();
      return done;
    },
  });
});

range.addEventListener("change", () => store.again());
tasks.onChange(() => store.again());
runs.onRunChange(() => store.again());
journal.onMore(() => store.again());
incidents.onMore(() => store.again());
caches.onChange(() => store.again());
sessions.onChange(() => store.again());

const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
const nameTheme = () => setText(byId("theme"), isDark() ? "Light" : "Dark");

byId("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem("understudy-theme", document.documentElement.dataset.theme);
  } catch { /* storage is off: the choice holds until the page is left */ }
  nameTheme();
});
dark.addEventListener("change", nameTheme);
nameTheme();
byId("code").required = !byId("second-factor").hidden;
boot();
