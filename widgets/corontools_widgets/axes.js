// Axes in SVG: limits, the room that words need, ticks, grid. Words that come with the data are only ever set as text.

import { linearTicks, logTicks } from "./ticks.js";

const SVG = "http://www.w3.org/2000/svg";
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";

// ---- words whose width is known ----

const pen = typeof document === "undefined" ? null : document.createElement("canvas").getContext("2d");
const parts = (text) => text.split(/\^([-+\u2212]?[0-9]+)/);

function textWidth(text, size = 12) {
  pen.font = `${size}px ${FONT}`;
  return parts(text).reduce((sum, part, i) => sum + pen.measureText(part).width * (i % 2 ? 0.75 : 1), 0) + 1;
}

function shorten(text, width, size = 12) {
  if (textWidth(text, size) <= width) return text;
  let cut = [...text];
  while (cut.length && textWidth(`${cut.join("")}…`, size) > width) cut = cut.slice(0, -1);
  return `${cut.join("")}…`;
}

// ---- elements ----

export function svg(tag, attributes = {}, parent = null) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (parent) parent.append(node);
  return node;
}

export function html(tag, className, parent = null, text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function words(parent, text, x, y, attributes = {}) {
  const node = svg("text", { x, y, ...attributes }, parent);
  parts(text).forEach((part, i, all) => {
    if (i % 2) {
      svg("tspan", { dy: -4.2, "font-size": "75%" }, node).textContent = part;
    } else if (part) {
      svg("tspan", i ? { dy: 4.2 } : {}, node).textContent = part;
    }
  });
  return node;
}

// ---- axes ----

export const usable = (log) => (v) => v !== null && Number.isFinite(v) && (!log || v > 0);

// Range of the values with a margin; never so narrow that ticks could not be told apart.
export function span(values, log, pad) {
  const known = values.filter(usable(log)).map((v) => (log ? Math.log10(v) : v));
  let [low, high] = log ? [-1, 0] : [0, 1];
  if (known.length) {
    [low, high] = [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))];
    const middle = (low + high) / 2;
    let half = ((high - low) / 2) * (1 + 2 * pad);
    if (half <= (log ? 0.02 : 1e-9) * Math.abs(middle) || half === 0) half = log ? 0.3 : Math.abs(middle) * 0.1 || 1;
    [low, high] = [middle - half, middle + half];
  }
  return log ? [10 ** Math.max(low, -290), 10 ** Math.min(high, 290)] : [low, high];
}

// The ends that are wished for, where the axis can show them; else those of the values.
export function reach(wished, values, log, pad) {
  return wished && wished.length === 2 && wished.every(usable(log)) ? wished : span(values, log, pad);
}

// `down`: values grow from the end of the axis towards its origin.
export function axis(ends, log, whole = false, down = false) {
  const forward = log ? Math.log : (v) => v;
  const [start, stop] = (down ? [...ends].reverse() : ends).map(forward);
  const fraction = (v) => (usable(log)(v) ? (forward(v) - start) / (stop - start) : NaN);
  const value = (f) => (log ? Math.exp(start + f * (stop - start)) : start + f * (stop - start));
  const make = (count) => (log ? logTicks(...ends, count) : linearTicks(...ends, count, whole));
  return { fraction, value, make };
}

// As many ticks as have room for their labels.
function ticksFor({ fraction, make }, length, upright) {
  let ticks;
  for (let count = Math.max(5, Math.floor(length / (upright ? 34 : 42))); count > 1; count--) {
    ticks = make(count);
    const sizes = ticks.labels.map((text) => (upright ? 16 : textWidth(text) + 8));
    const places = ticks.major.map((v) => fraction(v) * length);
    if (places.every((p, i) => !i || Math.abs(p - places[i - 1]) >= (sizes[i] + sizes[i - 1]) / 2)) return ticks;
  }
  return ticks;
}

// The box of the plot within a figure, and its ticks; leaves room for all words.
export function layOut(width, height, x, y) {
  const bottom = 46;
  let yTicks = ticksFor(y, height - 60, true);
  const top = yTicks.factor ? 26 : 12;
  yTicks = ticksFor(y, height - top - bottom, true);
  const left = Math.ceil(36 + Math.max(0, ...yTicks.labels.map((t) => textWidth(t))));
  let xTicks = ticksFor(x, width - left - 24, false);
  const right = Math.ceil(8 + Math.max(8, ...xTicks.labels.map((t) => textWidth(t) / 2)));
  const box = { left, top, width: Math.max(20, width - left - right), height: height - top - bottom };
  xTicks = ticksFor(x, box.width, false);
  const px = (v) => box.left + x.fraction(v) * box.width;
  const py = (v) => box.top + (1 - y.fraction(v)) * box.height;
  const back = (p) => x.value((p - box.left) / box.width);
  return { width, height, box, x, y, xTicks, yTicks, px, py, back };
}

export function drawGrid(parent, { box, xTicks, yTicks, px, py }) {
  const across = yTicks.major.map((v) => `M${box.left} ${py(v).toFixed(1)}h${box.width}`);
  const up = xTicks.major.map((v) => `M${px(v).toFixed(1)} ${box.top}v${box.height}`);
  svg("path", { d: [...across, ...up].join(""), class: "ct-grid" }, parent);
}

export function drawAxes(parent, plan, xLabel, yLabel) {
  const { box, xTicks, yTicks, px, py, width, height } = plan;
  const floor = box.top + box.height;
  const marks = ({ major, minor }, draw) => [...major.map((v) => draw(v, 5)), ...minor.map((v) => draw(v, 3))];
  const path = [
    ...marks(xTicks, (v, s) => `M${px(v).toFixed(1)} ${floor}v${-s}`),
    ...marks(yTicks, (v, s) => `M${box.left} ${py(v).toFixed(1)}h${s}`),
  ];
  const frame = `M${box.left} ${box.top}h${box.width}v${box.height}h${-box.width}Z`;
  svg("path", { d: frame + path.join(""), class: "ct-axis" }, parent);
  xTicks.major.forEach((v, i) => words(parent, xTicks.labels[i], px(v), floor + 17, { "text-anchor": "middle" }));
  yTicks.major.forEach((v, i) => words(parent, yTicks.labels[i], box.left - 7, py(v) + 4, { "text-anchor": "end" }));
  if (xTicks.factor) words(parent, xTicks.factor, box.left + box.width, height - 6, { "text-anchor": "end" });
  if (yTicks.factor) words(parent, yTicks.factor, box.left, box.top - 8);
  const room = box.width - 2 * (xTicks.factor ? textWidth(xTicks.factor) + 8 : 0);
  words(parent, shorten(xLabel, room), box.left + box.width / 2, height - 8, { "text-anchor": "middle" });
  const middle = box.top + box.height / 2;
  const turned = shorten(yLabel, Math.min(height - 4, 2 * middle - 4));
  words(parent, turned, 15, middle, { "text-anchor": "middle", transform: `rotate(-90 15 ${middle})` });
}

// Line through the points, broken where there is none; a point between two gaps is a dot.
export function path(xs, ys, { px, py }) {
  let text = "";
  let run = 0;
  for (let i = 0; i <= xs.length; i++) {
    const [x, y] = i < xs.length ? [px(xs[i]), py(ys[i])] : [NaN, NaN];
    if (Number.isFinite(x) && Number.isFinite(y)) {
      text += `${run++ ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    } else {
      if (run === 1) text += "h.01";
      run = 0;
    }
  }
  return text;
}
