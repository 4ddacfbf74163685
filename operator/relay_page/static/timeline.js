// The history of each GPU in the last minutes or hours, from the jobs' attempts and present turns.

import { svg } from "./dom.js";
import { thin } from "./fit.js";
import { clock, duration, hour, knownAs, now } from "./format.js";
import { toneOf } from "./phases.js";

const MINUTE = 60e3, HOUR = 3600e3;
const STEPS = [5 * MINUTE, 10 * MINUTE, HOUR, 4 * HOUR]; // between two marks of the axis: the smallest that gives no more than six
const INSET = 7, PAST_MARK = 15; // pixels from the start of a turn to its name
const MARK = 10; // pixels that the sign of a failed turn takes
const NARROWEST = 0.25; // percent: what is shorter is drawn as this, so that nothing is lost from sight
const KEEPS_THE_GPU = new Set(["Acquiring", "Training", "Releasing"]);
const GOOD = new Set(["Completed"]);
const STOPPED = new Set(["Interrupted", "Suspended", "Preempted", "Yielded", "Deleted", "GpuMemoryUnavailable", "Disrupted", "Stopping"]);

/** Return a map from GPU to its turns, oldest first: `{job, start, end, tone, word}`, `end` null for the present one. */
export function turns(jobs) {
  const found = new Map();
  const add = (gpu, turn) => {
    if (!gpu || !Number.isFinite(turn.start)) return;
    const key = gpu.toLowerCase();
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(turn);
  };
  for (const job of jobs) {
    const last = job.attempts.at(-1);
    for (const attempt of job.attempts) {
      const gpu = attempt.gpu ?? (attempt === last && !job.turn ? job.gpu?.uuid : null);
      add(gpu, { job, start: Date.parse(attempt.start), end: Date.parse(attempt.end), tone: outcome(attempt.reason), word: attempt.reason });
    }
    if (job.turn && KEEPS_THE_GPU.has(job.phase)) {
      const begun = job.phase === "Releasing" && last ? Date.parse(last.end) : Date.parse(job.turn.since);
      for (const gpu of job.gpus ?? [job.gpu?.uuid]) add(gpu, { job, start: begun, end: null, tone: toneOf(job.phase), word: job.phase });
    }
  }
  for (const list of found.values()) list.sort((one, other) => one.start - other.start);
  return found;
}

/** Return the tone of an attempt that ended for a reason. */
export function outcome(reason) {
  return GOOD.has(reason) ? "good" : STOPPED.has(reason) ? "wait" : "bad";
}

/** Draw one GPU's lane over the last `hours`; `open` is called with a job that is clicked. */
export function lane(list, hours, open) {
  const to = now(), from = to - hours * HOUR;
  const shown = list.filter((turn) => (turn.end ?? to) > from);
  const percent = (time) => Math.max(0, Math.min(100, (100 * (time - from)) / (to - from)));
  const drawn = shown.map((turn) => segment(turn, percent, to, open));
  const label = shown.length ? shown.slice(-5).map(sentence).join("; ") : `no turn in the last ${duration(hours * HOUR)}`;
  return svg("svg", { class: "lane", role: "img", "aria-label": label }, grid(hours), drawn);
}

/** Draw the axis above the lanes. */
export function axis(hours) {
  const marks = ticks(hours).map(([percent, time]) => svg("text", { x: `${percent}%`, y: 11, class: "tick" }, hour(time)));
  return svg("svg", { class: "axis", "aria-hidden": "true" }, marks, svg("text", { x: "100%", y: 11, class: "tick now" }, "now"));
}

function grid(hours) {
  return ticks(hours).map(([percent]) => svg("line", { x1: `${percent}%`, x2: `${percent}%`, y1: 0, y2: "100%", class: "grid" }));
}

/** Return the marks of the last `hours`, as percent and time, the newest first: full hours, or full minutes of them. */
function ticks(hours) {
  const to = now(), length = hours * HOUR;
  const step = STEPS.find((each) => length / each <= 6) ?? STEPS.at(-1);
  const marks = [];
  for (let time = to - ((to - new Date(to).setHours(0, 0, 0, 0)) % step); time > to - length; time -= step) marks.push([100 * (1 - (to - time) / length), time]);
  return marks;
}

/** Remove what has no room, once lanes and axis are in the document: names and signs of turns, and marks that meet others. */
export function fit(table) {
  for (const mark of table.querySelectorAll(".seg .mark")) {
    if (mark.parentNode.querySelector(".body").getBoundingClientRect().width < MARK) mark.remove();
  }
  for (const text of table.querySelectorAll(".seg text")) {
    const room = text.parentNode.querySelector(".body").getBoundingClientRect().width;
    if (Number(text.getAttribute("x")) + text.getComputedTextLength() + INSET > room) text.remove();
  }
  const scale = table.querySelector(".axis");
  if (scale) thin([...scale.querySelectorAll(".now"), ...scale.querySelectorAll(".tick:not(.now)")], scale);
}

function segment(turn, percent, to, open) {
  const x = percent(turn.start);
  const width = Math.max(NARROWEST, percent(turn.end ?? to) - x);
  const box = svg("svg", { x: `${x}%`, y: 0, width: `${width}%`, height: "100%", class: `seg ${turn.tone}`, onclick: () => open(turn.job) },
    svg("title", {}, sentence(turn)),
    svg("rect", { x: 0, y: 3, width: "100%", height: 18, rx: 3, class: "body" }));
  if (turn.tone === "bad") box.append(svg("path", { d: "M3 9l6 6m0-6l-6 6", class: "mark" }));
  if (turn.end === null) box.append(svg("rect", { x: "100%", y: 3, width: 3, height: 18, class: "edge" }));
  box.append(svg("text", { x: turn.tone === "bad" ? PAST_MARK : INSET, y: 16 }, knownAs(turn.job)));
  return box;
}

function sentence({ job, start, end, word }) {
  const length = duration((end ?? now()) - start);
  return `${job.kind ? `${job.kind} ` : ""}${job.namespace}/${knownAs(job)}: ${word}, ${clock(start)}${end === null ? ", for" : ` to ${clock(end)},`} ${length}`;
}
