// The memory in use of each GPU, as its resident has reported it while this tab was open.

import { svg } from "./dom.js";
import { clock, mib, now } from "./format.js";

const STORE = "gpu-relay-memory";
const HOUR = 3600e3;
const KEPT = 24 * HOUR;
const LONGEST_GAP = 150e3; // browsers wake a tab in the background once a minute; a longer gap was not measured
const SAME = 0.01; // of the total: what differs by less is one reading

export class MemoryHistory {
  #runs = new Map(); // from GPU to `[from, to, used]`, oldest first

  constructor() {
    try {
      for (const [gpu, runs] of JSON.parse(sessionStorage.getItem(STORE) ?? "[]")) this.#runs.set(gpu, runs);
    } catch { /* what another version has kept is left out */ }
  }

  /** Take over what is in use now. */
  note(gpus) {
    const at = now();
    for (const { key, used, total } of gpus) {
      if (used === null) continue;
      const runs = this.#runs.get(key) ?? [], last = runs.at(-1);
      if (last && at - last[1] < LONGEST_GAP) last[1] = at;
      if (!last || last[1] !== at || Math.abs(last[2] - used) > SAME * total) runs.push([at, at, used]);
      this.#runs.set(key, runs.filter(([, to]) => to > at - KEPT));
    }
    if (this.#runs.size) sessionStorage.setItem(STORE, JSON.stringify([...this.#runs]));
  }

  of(gpu) { return this.#runs.get(gpu) ?? []; }

  forget() {
    this.#runs.clear();
    sessionStorage.removeItem(STORE);
  }
}

/** Draw the memory of a GPU over the last `hours`; null where it was never measured. */
export function strip({ total, used }, runs, hours) {
  const to = now(), from = to - hours * HOUR;
  const shown = runs.filter((run) => run[1] > from);
  if (!total || !shown.length) return null;
  const percent = (time) => Math.max(0, Math.min(100, (100 * (time - from)) / (to - from)));
  const bars = shown.map(([start, end, much]) => {
    const x = percent(start), height = (100 * much) / total;
    return svg("rect", { x: `${x}%`, width: `${Math.max(0.1, percent(end) - x)}%`, y: `${100 - height}%`, height: `${height}%` },
      svg("title", {}, `${mib(much)} of ${mib(total)} in use, ${clock(start)} to ${clock(end)}`));
  });
  const label = `GPU memory in use: ${used === null ? "not measured now" : `${mib(used)} of ${mib(total)}`}`;
  return svg("svg", { class: "strip", role: "img", "aria-label": label }, bars);
}
