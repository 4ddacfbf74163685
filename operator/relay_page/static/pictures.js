// The latest picture of what a model in training predicts, asked of its pod through the API server.

import { el, fill } from "./dom.js";
import { ask, Refused } from "./session.js";

export class Pictures {
  #url = null;
  #epoch = null;
  #wanted = false;
  #place = null;

  /** Let the picture go: another job is looked at. */
  forget() {
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = this.#epoch = this.#place = null;
    this.#wanted = false;
  }

  /** Return the part of a job's details: a button at first, since it asks the training's pod. */
  part(job) {
    if (job.phase !== "Training" || !job.pod) return null;
    if (!this.#place) {
      this.#place = el("div", {}, el("button", { type: "button", class: "quiet", "data-part": "pictures", onclick: () => { this.#wanted = true; this.#load(job); } }, "Show what it predicts"));
    } else if (this.#wanted && job.progress?.epoch !== this.#epoch) this.#load(job);
    return el("section", { "aria-label": "Sample predictions" }, this.#place);
  }

  async #load(job) {
    const place = this.#place;
    this.#epoch = job.progress?.epoch;
    try {
      const picture = await (await ask(`api/jobs/${job.namespace}/${job.name}/predictions`)).blob();
      if (place !== this.#place) return;
      if (this.#url) URL.revokeObjectURL(this.#url);
      this.#url = URL.createObjectURL(picture);
      const image = el("img", { src: this.#url, alt: `Pictures of the validation data with what ${job.name} predicts on them` });
      fill(place, el("figure", {}, el("figcaption", {}, "Predictions on validation data"), image));
    } catch (error) {
      const message = error instanceof Refused ? error.message : "The picture could not be read.";
      if (place === this.#place) fill(place, el("p", { class: "notice" }, message), el("button", { type: "button", class: "quiet", "data-part": "pictures", onclick: () => this.#load(job) }, "Try again"));
    }
  }
}
