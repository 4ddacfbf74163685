// The jobs: those on a GPU first, then the queue in its order, then what has ended, newest first.

import { el, fill, say } from "./dom.js";
import { clock, duration, figure, knownAs, metricName, now, since } from "./format.js";
import { badge, GROUPS, groupOf } from "./phases.js";

const SCREEN = 60;
const ORDINARY = new Set(["TrainingRunning", "WaitingInQueue", "Completed", "Preparing", "Suspended", "Admitted"]);
const ORDER = { running: 0, waiting: 1, ended: 2 };

export class Jobs {
  #rows = new Map();
  #body = document.getElementById("rows");
  #none = document.getElementById("none");
  #more = document.getElementById("more");
  #search = document.getElementById("search");
  #group = "all";
  #limit = SCREEN;

  constructor() {
    this.#search.addEventListener("input", () => this.#again());
    this.#more.addEventListener("click", () => { this.#limit += 4 * SCREEN; this.draw(this.store, this.chosen); });
    this.#body.addEventListener("keydown", (event) => walk(this.#body, event));
    this.#search.addEventListener("keydown", (event) => event.key === "ArrowDown" && this.#body.querySelector("a")?.focus());
    this.filters = GROUPS.map(([group, word]) => {
      const count = el("span", { class: "count" });
      const button = el("button", { type: "button", "aria-pressed": String(group === this.#group), onclick: () => this.#only(group) }, word, count);
      return { group, button, count };
    });
    fill(document.getElementById("filters"), this.filters.map((each) => each.button));
  }

  /** Go to the field that finds a job. */
  find() { this.#search.focus(); this.#search.select(); }

  draw(store, chosen) {
    this.store = store;
    this.chosen = chosen;
    const every = [...store.jobs.values()];
    const sizes = { all: every.length };
    for (const job of every) sizes[groupOf(job.phase)] = (sizes[groupOf(job.phase)] ?? 0) + 1;
    for (const { group, count } of this.filters) say(count, String(sizes[group] ?? 0));
    const found = every.filter((job) => this.#wanted(job)).sort(before);
    const shown = found.slice(0, this.#limit);
    const keep = new Set(shown.map((job) => job.uid));
    for (const uid of this.#rows.keys()) if (!keep.has(uid)) this.#rows.delete(uid);
    place(this.#body, shown.map((job) => this.#row(job, chosen)));
    this.#more.hidden = found.length <= shown.length;
    say(this.#more, `Show more of the other ${found.length - shown.length}`);
    this.#none.hidden = found.length > 0;
    say(this.#none, every.length ? "No job matches." : "No jobs.");
  }

  #row(job, chosen) {
    const mine = this.#rows.get(job.uid) ?? { element: el("tr") };
    if (mine.version !== job.version) { // what stays the same keeps its focus
      const focused = mine.element.contains(document.activeElement);
      fill(mine.element, cells(job));
      if (focused) mine.element.querySelector("a").focus({ preventScroll: true });
      mine.version = job.version;
    }
    say(mine.element.lastElementChild, since(job.created));
    const is = chosen === `${job.namespace}/${job.name}`;
    mine.element.classList.toggle("chosen", is);
    mine.element.querySelector("a").setAttribute("aria-expanded", String(is));
    this.#rows.set(job.uid, mine);
    return mine.element;
  }

  #wanted(job) {
    const text = this.#search.value.trim().toLowerCase();
    return (this.#group === "all" || groupOf(job.phase) === this.#group) && `${job.namespace}/${job.name} ${knownAs(job)}`.includes(text);
  }

  #only(group) {
    this.#group = group;
    for (const each of this.filters) each.button.setAttribute("aria-pressed", String(each.group === group));
    this.#again();
  }

  #again() { this.#limit = SCREEN; this.draw(this.store, this.chosen); }
}

function cells(job) {
  return [
    el("th", { scope: "row" }, el("a", { href: `#/${job.namespace}/${job.name}`, "aria-controls": "detail" }, knownAs(job)), el("span", { class: "space" }, job.kind ? `${job.kind} in ${job.namespace}` : job.namespace)),
    el("td", {}, badge(job.phase), why(job)),
    el("td", {}, progress(job)),
    el("td", { class: "figure" }, job.headline ? [figure(job.headline[1]), el("span", { class: "space" }, metricName(job.headline[0]))] : ""),
    el("td", {}, place_of(job)),
    el("td", { class: "figure", title: clock(job.created) }),
  ];
}

function why(job) {
  const text = job.kind && !job.reason ? (job.phase === "Training" ? "" : job.message) : ORDINARY.has(job.reason) ? "" : words(job.reason);
  return text ? el("span", { class: "why", title: job.message }, text) : null;
}

function progress({ progress: far, phase }) {
  if (!far || !far.epochs) return "";
  if (phase === "Succeeded") return `${far.epoch} epochs`;
  const left = phase === "Training" && far.eta ? `, ${duration(Date.parse(far.eta) - now())} left` : "";
  return [el("progress", { max: far.epochs, value: far.epoch, "aria-label": "epochs" }), el("span", { class: "space" }, `${far.epoch} of ${far.epochs}${left}`)];
}

function place_of(job) {
  if (job.phase === "Queued" && job.position) {
    const when = job.expected ? `about ${clock(job.expected)}` : "start unknown";
    return [`#${job.position} in queue`, el("span", { class: "space" }, when)];
  }
  if (groupOf(job.phase) === "ended") return job.ended ? [`ended ${clock(job.ended)}`, el("span", { class: "space" }, job.gpu?.node ?? "")] : "";
  return job.gpu && job.turn ? [job.gpu.node ?? "", el("span", { class: "space" }, job.gpu.name ?? "")] : "";
}

/** Write a reason's CamelCase as words. */
export function words(reason) {
  const text = reason.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/([A-Z]+)([A-Z][a-z])/g, "$1 $2");
  return text.split(" ").map((word, at) => (at === 0 || /^[A-Z]{2,}$/.test(word) ? word : word.toLowerCase())).join(" ");
}

function before(one, other) {
  const groups = ORDER[groupOf(one.phase)] - ORDER[groupOf(other.phase)];
  if (groups) return groups;
  if (groupOf(one.phase) === "ended") return (other.ended ?? "").localeCompare(one.ended ?? "");
  return (one.position ?? Infinity) - (other.position ?? Infinity) || one.created.localeCompare(other.created) || knownAs(one).localeCompare(knownAs(other), "en", { numeric: true });
}

function place(body, rows) {
  rows.forEach((row, at) => { if (body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null); });
  while (body.children.length > rows.length) body.lastElementChild.remove();
}

function walk(body, event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const links = [...body.querySelectorAll("a")];
  links[links.indexOf(document.activeElement) + step]?.focus();
  event.preventDefault();
}
