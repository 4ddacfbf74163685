// SAM3's side of a GPU: whether it is loaded, and if not, since when, until when, and what it refused meanwhile.

import { el } from "./dom.js";
import { clock, since } from "./format.js";

const TONES = { loaded: "good", failed: "bad" };

/** Return the cell; `waiting` is the number of jobs in the queue, which may come before SAM3. */
export function resident({ sam3, pod }, waiting) {
  if (!sam3) return el("span", { class: "faint" }, "no resident");
  const well = !pod || pod.phase === "Running";
  const facts = [
    sam3.out ? `for ${since(sam3.out)}` : "",
    sam3.back ? back(sam3, waiting) : "",
    sam3.refused ? `${sam3.refused.toLocaleString("en")} ${sam3.refused === 1 ? "request" : "requests"} refused` : "",
    well ? "" : `its pod is ${pod.phase}`,
    sam3.trouble && well ? "does not answer the page" : "",
  ].filter(Boolean);
  const unknown = sam3.state === "unknown";
  const title = sam3.trouble || (sam3.measured ? "as SAM3 reports it" : "as the operator has recorded it");
  return el("div", { title },
    el("b", { class: unknown ? "faint" : TONES[sam3.state] ?? "hand" }, unknown ? "state unknown" : sam3.state),
    facts.length ? el("span", { class: "faint" }, ` ${facts.join(", ")}`) : null);
}

function back({ back }, waiting) {
  if (!waiting) return `back about ${clock(back)}`;
  return `back after ${clock(back)} (${waiting} ${waiting === 1 ? "job waits" : "jobs wait"})`;
}
