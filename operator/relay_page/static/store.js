// What is known of the cluster, kept up to date by differences.

export class Store {
  jobs = new Map();
  gpus = new Map();
  trouble = "";
  hidden = "";
  away = false;
  complete = false;

  /** Forget everything: a new connection sends all of it again. */
  clear() {
    this.jobs.clear();
    this.gpus.clear();
    this.trouble = this.hidden = "";
    this.away = false;
    this.complete = false;
  }

  /** Take an event over. */
  take(name, data) {
    if (name === "jobs") merge(this.jobs, data, "uid");
    else if (name === "gpus") merge(this.gpus, data, "key");
    else if (name === "problems") ({ trouble: this.trouble, hidden: this.hidden } = data.put[0]);
    this.complete ||= name === "problems"; // the last event of the first update
  }

  /** Find a job, or a Workload, by namespace and name. */
  job(namespace, name) {
    for (const job of this.jobs.values()) if (job.name === name && job.namespace === namespace) return job;
    return undefined;
  }
}

function merge(known, { put, gone }, key) {
  for (const thing of put) known.set(thing[key], thing);
  for (const name of gone) known.delete(name);
}
