// One job: the reason for its phase, its curves, its memory's proof, its attempts and Events.

import { chart } from "./curves.js";
import { el, fill } from "./dom.js";
import { clock, duration, figure, knownAs, metricName, mib, now, since } from "./format.js";
import { words } from "./jobs.js";
import { memory } from "./memory.js";
import { LogTail } from "./log_tail.js";
import { badge, sign } from "./phases.js";
import { Predictions } from "./predictions.js";
import { ask } from "./session.js";
import { outcome } from "./timeline.js";

const STACKED = matchMedia("(max-width: 1179px)"); // the details are above the jobs then
const PAUSE = 1000; // between two readings of a job that changes, in milliseconds

export class Detail {
  #pane = document.getElementById("detail");
  #shown = "";
  #kind = "jobs";
  #version = "";
  #asking = false;
  #readAt = 0;
  #predictions = new Predictions();
  #log = new LogTail();

  /** Show a job (`namespace/name`), or none; reads it again when the feed has a newer version. */
  draw(chosen, job) {
    const other = this.#shown !== chosen;
    this.#pane.hidden = !chosen;
    if (other) {
      this.#shown = chosen;
      this.#version = "";
      this.#predictions.forget();
      this.#log.forget();
      fill(this.#pane, chosen ? [this.#head(chosen.split("/")[1], chosen.split("/")[0]), el("p", { class: "empty" }, "Reading…")] : []);
      if (chosen) this.#pane.focus({ preventScroll: true });
      if (chosen && STACKED.matches) this.#pane.scrollIntoView();
    }
    if (job) this.#kind = job.kind ? "workloads" : "jobs";
    if (chosen && (other || (job && job.version !== this.#version))) this.#read(chosen, job?.version ?? "gone");
  }

  async #read(chosen, version) {
    if (this.#asking) return;
    const wait = this.#readAt + PAUSE - Date.now();
    this.#asking = true;
    try {
      if (wait > 0 && this.#version) await new Promise((done) => setTimeout(done, wait));
      this.#readAt = Date.now();
      const job = await (await ask(`api/${this.#kind}/${chosen}`)).json();
      if (this.#shown === chosen) this.#fill(job);
      this.#version = version;
    } catch (error) {
      this.#version = version;
      if (this.#shown === chosen) fill(this.#pane, this.#head(chosen.split("/")[1], chosen.split("/")[0]), el("p", { class: "notice bad" }, error.message));
    } finally {
      this.#asking = false;
      if (this.#shown !== chosen && this.#shown) this.#read(this.#shown, "");
    }
  }

  #head(name, namespace, phase) {
    return el("header", {},
      el("div", {}, el("h2", { id: "detail-title" }, name), el("p", { class: "faint" }, namespace)),
      phase ? badge(phase) : null,
      el("a", { href: "#/", class: "close", "data-part": "close", "aria-label": "Close the details", title: "Close (Esc)" }, "×"));
  }

  #fill(job) {
    const open = new Set([...this.#pane.querySelectorAll("details[open]")].map((each) => each.dataset.part));
    const focused = this.#pane.contains(document.activeElement) ? document.activeElement.dataset.part ?? "" : null;
    const head = this.#head(knownAs(job), job.kind ? `${job.kind} in ${job.namespace}` : job.namespace, job.phase);
    fill(this.#pane, head, why(job), job.kind ? fold("spec", "Facts", named(job.facts)) : this.#training(job), conditions(job), events(job));
    this.#pane.querySelector("details[data-part=log]")?.addEventListener("toggle", (event) => this.#log.toggle(event.target.open, job));
    for (const each of this.#pane.querySelectorAll("details")) if (open.has(each.dataset.part)) each.open = true;
    if (focused !== null) ([...this.#pane.querySelectorAll("[data-part]")].find((each) => each.dataset.part === focused && focused) ?? this.#pane).focus({ preventScroll: true });
  }

  /** Return the parts that only a YoloTrainingJob has. */
  #training(job) {
    return [curves(job), this.#predictions.part(job), scores(job), memory(job), attempts(job), facts(job), fold("log", "Log", this.#log.part(job))];
  }
}

function why(job) {
  return job.why ? el("p", { class: `reason ${job.phase === "Failed" ? "bad" : ""}` }, job.reason ? el("b", {}, words(job.reason)) : null, job.why) : null;
}

function curves(job) {
  const epochs = job.progress?.epochs ?? 0;
  const charts = [
    chart("Validation", job.curve.map(({ epoch, metrics }) => ({ epoch, values: metrics })), { unit: true, epochs }),
    chart("Loss", job.curve.map(({ epoch, losses }) => ({ epoch, values: losses })), { epochs }),
  ];
  const shown = charts.filter(Boolean);
  return shown.length ? el("section", { "aria-label": "Training curves", class: "curves" }, shown) : null;
}

function scores(job) {
  const further = job.results.validation ?? { metrics: {} };
  const metrics = [
    ...Object.entries(job.results.metrics ?? {}).map(([name, value]) => [metricName(name), value]),
    ...Object.entries(further.metrics ?? {}).map(([name, value]) => [`${metricName(name)} on ${further.split}`, value]),
  ];
  if (!metrics.length) return null;
  const files = Object.values({ ...job.results.weights, ...job.results.exports });
  return el("section", {}, el("h3", {}, "Results"), list(metrics.map(([name, value]) => [name, figure(value)])),
    files.length ? el("ul", { class: "files" }, files.map((file) => el("li", {}, el("code", {}, file)))) : null);
}

function attempts(job) {
  if (!job.attempts.length) return null;
  const rows = [...job.attempts].reverse().map((attempt) => el("li", { class: outcome(attempt.reason) },
    sign({ good: "Succeeded", bad: "Failed", wait: "Suspended" }[outcome(attempt.reason)]),
    el("div", {}, el("b", {}, `${attempt.number}. ${words(attempt.reason)}`),
      el("span", { class: "faint" }, ` ${clock(attempt.end)}${lasted(attempt)}${attempt.epoch === null ? "" : `, ${attempt.epoch} epochs`}`),
      attempt.message ? el("p", {}, attempt.message) : null)));
  return el("section", {}, el("h3", {}, "Attempts"), el("ol", { class: "attempts" }, rows));
}

function lasted({ start, end }) {
  return start && end ? ` after ${duration(Date.parse(end) - Date.parse(start))}` : "";
}

function facts(job) {
  const { spec } = job;
  const all = [["Mode", spec.mode], ["Model", spec.model], ["Task", spec.task], ["Data", spec.dataset], ["Output", spec.output], ["Continues", spec.resumeFrom],
    ["Epochs", spec.epochs], ["Patience", spec.patience], ["Time limit", spec.timeLimit], ["Seed", spec.seed], ["Validated on", spec.validation], ["Image size", spec.imageSize], ["Batch", spec.batch],
    ["GPU memory", spec.memory], ["Sharing", spec.sharing], ["Priority", spec.priority], ["Preemptible", spec.preemptible ? "yes" : "no"], ["Retries", spec.backoffLimit],
    ["Node", job.gpu?.node], ["GPU", job.gpu?.uuid], ["Prepared in", prepared(job.preparation)]];
  const given = Object.entries(spec.args);
  return fold("spec", "Spec", named(Object.fromEntries(all)), el("h3", {}, "Further arguments of the training"),
    given.length ? list(given) : el("p", { class: "faint" }, "None: Ultralytics' defaults."));
}

/** List the facts that are known. */
function named(facts) {
  return list(Object.entries(facts).filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => [name, String(value)]));
}

function prepared(preparation) {
  return typeof preparation?.seconds === "number" ? duration(1000 * preparation.seconds) : null;
}

function conditions(job) {
  const rows = job.conditions.map((each) => el("li", {}, el("b", {}, `${each.type} ${each.status}`), el("span", { class: "faint" }, ` ${words(each.reason)}, since ${clock(each.lastTransitionTime)}`), el("p", {}, each.message)));
  return rows.length ? fold("conditions", "Conditions", el("ul", { class: "plain" }, rows)) : null;
}

function events(job) {
  const rows = job.events.map((each) => el("li", { class: each.warning ? "bad" : "" },
    el("b", {}, (each.warning ? "Warning: " : "") + words(each.reason)), el("span", { class: "faint" }, ` ${since(each.time)} ago`), el("p", {}, each.message)));
  const content = job.eventsProblem ? el("p", { class: "notice" }, job.eventsProblem) : rows.length ? el("ul", { class: "plain" }, rows) : el("p", { class: "empty" }, "No Events are kept.");
  return fold("events", "Events", content);
}

function fold(part, title, ...content) {
  return el("details", { "data-part": part }, el("summary", { "data-part": `${part}-head` }, title), content);
}

function list(pairs) {
  return el("dl", {}, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}
