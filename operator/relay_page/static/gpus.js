// The GPUs: the owner of each, its resident, and its last hours.

import { el, fill, say, svg } from "./dom.js";
import { duration, knownAs, since } from "./format.js";
import { MemoryHistory, strip } from "./memory_history.js";
import { groupOf, sign, toneOf, WAITING } from "./phases.js";
import { resident } from "./resident.js";
import { axis, fit, lane, turns } from "./timeline.js";

const DENSE = 9;
const KEY = [["train", "trains"], ["hand", "handing over"], ["good", "completed"], ["bad", "failed"], ["wait", "interrupted, will resume"]];

export class Gpus {
  #table = document.getElementById("gpus");
  #memory = new MemoryHistory();
  #sum = document.getElementById("gpus-sum");
  #range = document.getElementById("range");

  /** `open` is called with a job that is chosen. */
  constructor(open) {
    this.open = open;
    this.#range.addEventListener("change", () => this.draw(this.store));
    fill(document.getElementById("key"), KEY.map(([tone, word]) => el("li", {}, swatch(tone), word)));
  }

  /** Forget what was measured: another viewer may follow. */
  forget() { this.#memory.forget(); }

  draw(store) {
    this.store = store;
    const hours = Number(this.#range.value), known = [...store.gpus.values()];
    const had = turns(store.jobs.values());
    const waiting = [...store.jobs.values()].filter((job) => groupOf(job.phase) === WAITING && job.position).length;
    if (!store.away) this.#memory.note(known);
    known.sort((one, other) => (one.node ?? "").localeCompare(other.node ?? "", "en", { numeric: true }) || one.key.localeCompare(other.key));
    const rows = known.map((gpu) => this.#row(gpu, store, had.get(gpu.key) ?? [], hours, waiting));
    this.#table.classList.toggle("dense", rows.length > DENSE);
    fill(this.#table, rows.length ? head(hours) : el("p", { class: "empty" }, "No GPUs yet."), rows);
    fit(this.#table);
    say(this.#sum, summed(known));
  }

  #row(gpu, store, had, hours, waiting) {
    const name = gpu.name ?? "", where = gpu.node || "node unknown";
    return el("div", { class: "gpu", role: "row" },
      el("div", { class: "what", role: "cell", title: gpu.uuid ?? gpu.key }, el("b", {}, where), el("span", { class: "faint" }, name)),
      el("div", { class: "owner", role: "cell" }, this.#owner(gpu, store)),
      el("div", { class: "resident", role: "cell" }, resident(gpu, waiting)),
      el("div", { class: "hours", role: "cell" }, lane(had, hours, this.open), strip(gpu, this.#memory.of(gpu.key), hours)));
  }

  #owner(gpu, store) {
    if (gpu.owner === "job") {
      const job = store.job(gpu.job.namespace, gpu.job.name), phase = job?.phase ?? "New";
      const link = job ? el("a", { href: `#/${job.namespace}/${job.name}`, tabindex: "-1" }, knownAs(job)) : gpu.job.title;
      return [el("span", { class: `who ${toneOf(phase)}` }, sign(phase), link), el("span", { class: "faint" }, doing(job, phase, gpu))];
    }
    if (gpu.owner === "unknown") return [el("span", { class: "faint" }, "owner not shown")];
    const who = gpu.resident?.split("/")[1] ?? "resident";
    return [el("span", { class: "who" }, home(), who), gpu.since ? el("span", { class: "faint" }, `for ${since(gpu.since)}`) : null];
  }
}

function doing(job, phase, gpu) {
  if (!job) return gpu.since ? `for ${since(gpu.since)}` : ""; // of a namespace that the viewer does not see
  const progress = job.progress;
  if (phase === "Training" && progress?.epochs) return `epoch ${progress.epoch} of ${progress.epochs}`;
  return `${phase.toLowerCase()} for ${gpu.since ? since(gpu.since) : duration(0)}`;
}

function summed(known) {
  if (!known.length) return "";
  const lent = known.filter((gpu) => gpu.owner === "job").length;
  return `${known.length} ${known.length === 1 ? "GPU" : "GPUs"}, ${lent} with a job, ${known.filter((gpu) => gpu.owner === "resident").length} serving`;
}

function head(hours) {
  return el("div", { class: "gpu head", role: "row" }, el("div", { role: "columnheader" }, "Node"),
    el("div", { role: "columnheader" }, "Owner now"), el("div", { role: "columnheader" }, "Resident"), el("div", { role: "columnheader", "aria-label": `Last ${duration(hours * 3600e3)}` }, axis(hours)));
}

function home() {
  return svg("svg", { viewBox: "0 0 16 16", class: "sign", "aria-hidden": "true" }, svg("path", { d: "M3 7.5 8 3l5 4.5V13H3z", class: "line" }));
}

function swatch(tone) {
  const box = svg("svg", { class: `seg ${tone}`, viewBox: "0 0 22 14", width: 22, height: 14, "aria-hidden": "true" },
    svg("rect", { x: 0.5, y: 0.5, width: 21, height: 13, rx: 3, class: "body" }));
  if (tone === "bad") box.append(svg("path", { d: "M7.5 3.5l7 7m0-7l-7 7", class: "mark" }));
  return box;
}
