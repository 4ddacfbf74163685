// The latest image of the predictions of a model in training, read from its pod through the API server.

import { el, fill } from "./dom.js";
import { ask, Refused } from "./session.js";

export class Predictions {
  #url = null;
  #epoch = null;
  #wanted = false;
  #place = null;

  /** Release the image: another job is shown. */
  forget() {
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = this.#epoch = this.#place = null;
    this.#wanted = false;
  }

  /** Return the part of a job's details: a button at first, since it needs a request to the training pod. */
  part(job) {
    if (job.phase !== "Training" || !job.pod) return null;
    if (!this.#place) {
      this.#place = el("div", {}, el("button", { type: "button", class: "quiet", "data-part": "predictions", onclick: () => { this.#wanted = true; this.#load(job); } }, "Sample predictions"));
    } else if (this.#wanted && job.progress?.epoch !== this.#epoch) this.#load(job);
    return el("section", { "aria-label": "Sample predictions" }, this.#place);
  }

  async #load(job) {
    const place = this.#place;
    this.#epoch = job.progress?.epoch;
    try {
      const blob = await (await ask(`api/jobs/${job.namespace}/${job.name}/predictions`)).blob();
      if (place !== this.#place) return;
      if (this.#url) URL.revokeObjectURL(this.#url);
      this.#url = URL.createObjectURL(blob);
      const image = el("img", { src: this.#url, alt: `Validation images with the predictions of ${job.name}` });
      fill(place, el("figure", {}, el("figcaption", {}, "Predictions on validation data"), image));
    } catch (error) {
      const message = error instanceof Refused ? error.message : "The image could not be read.";
      if (place === this.#place) fill(place, el("p", { class: "notice" }, message), el("button", { type: "button", class: "quiet", "data-part": "predictions", onclick: () => this.#load(job) }, "Try again"));
    }
  }
}
