// Training curves as SVG: each line has a colour and dashes of its own, and its name and latest value above the drawing.

import { el, svg } from "./dom.js";
import { figure, metricName } from "./format.js";

const WIDTH = 440, HEIGHT = 150, LEFT = 44, RIGHT = 8, TOP = 10, BOTTOM = 22;
const MOST_LINES = 4;
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const SMALL = 0.001;

/** Draw one figure: `points` are `{epoch, values}`; `unit` is true for values from 0 to 1. */
export function chart(title, points, { unit = false, epochs = 0 } = {}) {
  const names = [...new Set(points.flatMap((point) => Object.keys(point.values)))].slice(0, MOST_LINES);
  const lines = names.map((name) => ({ name, at: points.filter((point) => Number.isFinite(point.values[name])).map((point) => [point.epoch, point.values[name]]) }));
  const drawn = lines.filter((line) => line.at.length);
  if (!drawn.length) return null;
  const scale = scales(drawn, unit, epochs);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": spoken(title, drawn) },
    axes(scale), drawn.map((line, at) => path(line, at, scale)));
  return el("figure", {}, el("figcaption", {}, el("b", {}, title), drawn.map(named)), drawing);
}

function scales(lines, unit, epochs) {
  const values = lines.flatMap((line) => line.at.map(([, value]) => value));
  const last = Math.max(epochs, 1, ...lines.map((line) => line.at.at(-1)[0]));
  const high = unit ? 1 : nice(Math.max(...values, 0));
  const low = Math.min(0, ...values);
  return {
    last, high, low,
    x: (epoch) => LEFT + ((WIDTH - LEFT - RIGHT) * epoch) / last,
    y: (value) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * (value - low)) / (high - low || 1),
  };
}

/** Return the next of 1, 2 and 5 times a power of ten. */
function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => value <= step * power);
}

function axes({ x, y, last, high, low }) {
  const rules = [low, (low + high) / 2, high].map((value) => [
    svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "grid" }),
    svg("text", { x: LEFT - 6, y: y(value) + 3.5, class: "tick end" }, tick(value)),
  ]);
  const ends = [svg("text", { x: x(0), y: HEIGHT - 6, class: "tick" }, "0"), svg("text", { x: x(last), y: HEIGHT - 6, class: "tick end" }, `epoch ${last}`)];
  return [rules, ends].flat(2);
}

function tick(value) {
  return value !== 0 && Math.abs(value) < SMALL ? value.toExponential(1) : COMPACT.format(value);
}

function named(line, at) {
  return el("span", { class: "name" },
    svg("svg", { class: "chart", viewBox: "0 0 22 8", width: 22, height: 8, "aria-hidden": "true" }, svg("path", { d: "M0 4h22", class: `curve of-${at}` })),
    `${metricName(line.name)} ${figure(line.at.at(-1)[1])}`);
}

function path(line, at, { x, y }) {
  const [first, ...rest] = line.at.map(([epoch, value]) => `${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`);
  const [epoch, value] = line.at.at(-1);
  return [
    svg("path", { d: `M${first}${rest.map((point) => `L${point}`).join("")}`, class: `curve of-${at}` }),
    svg("circle", { cx: x(epoch), cy: y(value), r: 2.5, class: `dot of-${at}` }),
  ];
}

function spoken(title, lines) {
  const [epoch] = lines[0].at.at(-1);
  return `${title} after ${epoch} epochs: ${lines.map((line) => `${line.name.replace("_", "-")} ${figure(line.at.at(-1)[1])}`).join(", ")}`;
}
