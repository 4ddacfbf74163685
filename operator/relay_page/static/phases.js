// The phases of a job: each has a sign of its own shape, so that colour is never the only carrier.

import { el, svg } from "./dom.js";

const RUNNING = "running", ENDED = "ended";
export const WAITING = "waiting";

const PHASES = {
  Training: { group: RUNNING, tone: "train", sign: ["M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2", true] },
  Acquiring: { group: RUNNING, tone: "hand", sign: ["M8 2a6 6 0 0 0 0 12z", true, "M8 2.7a5.3 5.3 0 0 1 0 10.6"] },
  Releasing: { group: RUNNING, tone: "hand", sign: ["M8 2a6 6 0 0 1 0 12z", true, "M8 2.7a5.3 5.3 0 0 0 0 10.6"] },
  Preparing: { group: WAITING, tone: "wait", sign: ["M8 3v7M4.8 7.2 8 10.4l3.2-3.2M3.5 13h9", false] },
  Queued: { group: WAITING, tone: "wait", sign: ["M8 2.7a5.3 5.3 0 1 1 0 10.6A5.3 5.3 0 0 1 8 2.7", false] },
  New: { group: WAITING, tone: "wait", sign: ["M4 8h.01M8 8h.01M12 8h.01", false] },
  Suspended: { group: WAITING, tone: "wait", sign: ["M5.5 3.5v9M10.5 3.5v9", false] },
  Succeeded: { group: ENDED, tone: "good", sign: ["m3 8.5 3.3 3.3L13 4.5", false] },
  Failed: { group: ENDED, tone: "bad", sign: ["m4 4 8 8M12 4l-8 8", false] },
};
const UNKNOWN = PHASES.New;

export const GROUPS = [["all", "All"], [RUNNING, "On a GPU"], [WAITING, "Waiting"], [ENDED, "Ended"]];

/** Return the group that a job of a phase is listed in. */
export function groupOf(phase) {
  return (PHASES[phase] ?? UNKNOWN).group;
}

/** Return the name of the colour of a phase. */
export function toneOf(phase) {
  return (PHASES[phase] ?? UNKNOWN).tone;
}

/** Draw the sign of a phase. */
export function sign(phase) {
  const [path, solid, outline] = (PHASES[phase] ?? UNKNOWN).sign;
  return svg("svg", { viewBox: "0 0 16 16", class: "sign", "aria-hidden": "true" },
    svg("path", { d: path, class: solid ? "solid" : "line" }),
    outline ? svg("path", { d: outline, class: "line" }) : null);
}

/** Make the badge of a phase: its sign and its word. */
export function badge(phase) {
  return el("span", { class: `badge ${toneOf(phase)}` }, sign(phase), phase);
}
