// What is known of the cluster, kept up to date by differences.

export class Store {
  jobs = new Map();
  gpus = new Map();
  problems = [];
  trouble = "";
  complete = false;

  /** Forget everything: a new connection sends all of it again. */
  clear() {
    this.jobs.clear();
    this.gpus.clear();
    this.problems = [];
    this.trouble = "";
    this.complete = false;
  }

  /** Take an event over. */
  take(name, data) {
    if (name === "jobs") merge(this.jobs, data, "uid");
    else if (name === "gpus") merge(this.gpus, data, "key");
    else if (name === "problems") this.problems = data;
    else if (name === "trouble") this.trouble = data.put[0]?.message ?? "";
    this.complete ||= name === "trouble"; // the last event of the first update
  }

  /** Find a job by namespace and name. */
  job(namespace, name) {
    for (const job of this.jobs.values()) if (job.name === name && job.namespace === namespace) return job;
    return undefined;
  }
}

function merge(known, { put, gone }, key) {
  for (const thing of put) known.set(thing[key], thing);
  for (const name of gone) known.delete(name);
}
