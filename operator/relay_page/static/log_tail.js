// The end of a job's log, read from the API server while it is shown.

import { el, fill } from "./dom.js";
import { ask, Refused } from "./session.js";

const SEQUENCE = /\x1b\[[0-9;?]*[A-Za-z]/g; // a terminal's control sequence, such as a colour
const NEAR_THE_END = 8; // pixels

export class LogTail {
  #place = el("div", {});
  #isOpen = false;
  #version = null;
  #top = null; // where the viewer has scrolled to; null for the end

  /** Forget the log: another job is shown. */
  forget() {
    this.#place = el("div", {});
    this.#isOpen = false;
    this.#version = this.#top = null;
  }

  /** Return the part of a job's details; it is read again when the job has changed. */
  part(job) {
    const text = this.#place.querySelector("pre");
    if (text) this.#top = text.scrollTop + text.clientHeight < text.scrollHeight - NEAR_THE_END ? text.scrollTop : null;
    if (this.#isOpen && job.version !== this.#version) this.#read(job);
    return this.#place;
  }

  /** Read the log when the viewer opens it. */
  toggle(isOpen, job) {
    this.#isOpen = isOpen;
    if (!isOpen || job.version === this.#version) return;
    if (!this.#place.hasChildNodes()) fill(this.#place, el("p", { class: "empty" }, "Reading…"));
    this.#read(job);
  }

  async #read(job) {
    const place = this.#place;
    this.#version = job.version;
    let shown;
    try {
      const log = await (await ask(`api/jobs/${job.namespace}/${job.name}/log`)).json();
      shown = [el("p", { class: "faint" }, `The last lines of ${log.source}, at most ${log.lines}.`),
        log.text ? el("pre", { class: "log", tabindex: "0", "aria-label": "Log", "data-part": "log-text" }, readable(log.text)) : el("p", { class: "faint" }, "It has written nothing yet.")];
    } catch (error) {
      shown = [el("p", { class: "notice" }, error instanceof Refused ? error.message : "The log could not be read.")];
    }
    if (place !== this.#place) return;
    fill(place, shown, el("button", { type: "button", class: "quiet", "data-part": "log-again", onclick: () => this.#read(job) }, "Read again"));
    const text = place.querySelector("pre");
    if (text) text.scrollTop = this.#top ?? text.scrollHeight;
  }
}

/** Return a log without colours; of a progress bar that draws over itself, the last drawing. */
function readable(text) {
  return text.replace(SEQUENCE, "").split(/\r?\n/).map((line) => line.slice(line.replace(/\r+$/, "").lastIndexOf("\r") + 1)).join("\n");
}
