// A GPU's resident: whether it is loaded, and if not, since when, until when, and what it refused meanwhile.

import { el } from "./dom.js";
import { clock, mib, since } from "./format.js";

const TONES = { loaded: "good", failed: "bad" };

/** Return the cell; `waiting` is the number of jobs in the queue, which may come before the resident. */
export function resident({ residentState: its, pod }, waiting) {
  if (!its) return el("span", { class: "faint" }, "no resident");
  const well = !pod || pod.phase === "Running";
  const facts = [
    its.out ? `for ${since(its.out)}` : "",
    its.back ? back(its, waiting) : "",
    its.refused ? `${its.refused.toLocaleString("en")} ${its.refused === 1 ? "request" : "requests"} refused` : "",
    its.residual ? `keeps ${mib(its.residual)} while unloaded` : "",
    well ? "" : `its pod is ${pod.phase}`,
    its.trouble && well ? "does not answer the page" : "",
  ].filter(Boolean);
  const unknown = its.state === "unknown";
  const title = its.trouble || (its.measured ? "as the resident reports it" : "as the operator has recorded it");
  return el("div", { title },
    el("b", { class: unknown ? "faint" : TONES[its.state] ?? "hand" }, unknown ? "state unknown" : its.state),
    facts.length ? el("span", { class: "faint" }, ` ${facts.join(", ")}`) : null);
}

function back({ back }, waiting) {
  if (!waiting) return `back about ${clock(back)}`;
  return `back after ${clock(back)} (${waiting} ${waiting === 1 ? "job waits" : "jobs wait"})`;
}
