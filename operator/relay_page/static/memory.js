// The proof of a turn: the GPU's memory before the resident was unloaded, and measured before the training began.

import { el, svg } from "./dom.js";
import { mib } from "./format.js";

/** Draw a job's proof; null where nothing was measured yet. */
export function memory({ gpu }) {
  if (!gpu?.total || gpu.freeBefore === null) return null;
  const rows = [["Before", gpu.freeBefore]];
  if (gpu.freeAfter !== null) rows.push(["Measured", gpu.freeAfter]);
  const bars = rows.map(([name, free]) => [el("span", {}, name), bar(free, gpu), el("span", { class: "figure" }, `${mib(free)} free`)]);
  return el("section", {}, el("h3", {}, "GPU memory"), el("div", { class: "proof" }, bars), el("p", { class: "faint" }, `${mib(gpu.needed)} needed (the mark), ${mib(gpu.total)} in all`));
}

function bar(free, { total, needed }) {
  const used = 100 * (1 - free / total), mark = 100 * (1 - needed / total);
  return svg("svg", { class: "memory", role: "img", "aria-label": `${mib(total - free)} used` },
    svg("rect", { x: 0, y: 1, width: "100%", height: 12, rx: 3, class: "room" }),
    svg("rect", { x: 0, y: 1, width: `${used}%`, height: 12, rx: 3, class: "used" }),
    svg("line", { x1: `${mark}%`, x2: `${mark}%`, y1: 0, y2: 14, class: "need" }));
}
