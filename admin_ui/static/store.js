// Polling: every two seconds while somebody can see the page; says when the gateway is gone.

import { poll } from "./api.js";
import { byId, setText } from "./dom.js";
import { when } from "./format.js";

const EVERY_MS = 2000;
const SLOWEST_MS = 15000;
let timer = 0;
let failures = 0;
let shownAt = null; // when the figures that can be seen were read
let turn = 0;
let job = null; // { paths: () => [...], show: (paths, answers) => void, waiting: (why) => void, ended: () => void }

function pulse(kind, text) {
  byId("pulse").dataset.kind = kind;
  setText(byId("pulse-text"), text);
}

// Figures that have grown old look like any others, so the page says how old they are.
function tellLost(text) {
  const lost = byId("lost");
  lost.hidden = !text;
  setText(byId("lost-text"), text && shownAt ? `${text} The figures are those of ${when(shownAt)}; the page keeps asking.` : text);
}

async function round() {
  clearTimeout(timer);
  if (!job || document.hidden) return;
  const mine = ++turn;
  const now = job;
  try {
    const paths = now.paths();
    const answers = await poll(paths);
    if (mine !== turn || job !== now) return;
    failures = 0;
    now.show(paths, answers);
    shownAt = Date.now() / 1000;
    tellLost("");
    pulse("live", "Live");
  } catch (failure) {
    if (mine !== turn || job !== now) return;
    if (failure.status === 401) {
      stop();
      now.ended();
      return;
    }
    failures += 1;
    if (failure.status === undefined) throw failure; // a fault of this page: let the console show it
    if (shownAt === null) now.waiting(failure.message);
    tellLost(failure.message);
    pulse("lost", "No answer");
  } finally {
    if (mine === turn && job === now) timer = setTimeout(round, Math.min(SLOWEST_MS, EVERY_MS * 2 ** Math.min(failures, 3)));
  }
}

export function start(next) {
  job = next;
  failures = 0;
  shownAt = null;
  tellLost("");
  pulse("", "Connecting…");
  return round();
}

export function stop() {
  job = null;
  clearTimeout(timer);
}

export const again = () => round();

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : round()));
