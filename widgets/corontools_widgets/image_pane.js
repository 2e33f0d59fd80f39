// Images of a cube in the browser: frames, stretch, limits, zoom, read-out and regions, none of which asks the kernel.
//
// Parts, in order: small helpers; numbers and ticks; stretches; frames and how they arrive; the sky; what is drawn over
// an image; regions; the pane. Pixels are drawn on a canvas, all else is SVG and HTML over it. Positions in an image
// are 0-based pixels (x, y) with y upwards, a pixel reaches half a pixel to either side. Words that came with the data
// are only ever set as textContent.

const MINUS = "\u2212";
const NO_DATA = 0x8000; // code of NaN, -32768 as an unsigned number
const LEVELS = 255;
const STRETCHES = ["asinh", "linear", "sqrt", "log"];
const DIVERGING = "RdBu";
const PERCENTILES = { "min to max": 100, "99.9 %": 99.9, "99.5 %": 99.5, "99 %": 99, "98 %": 98 };
const TOOL_NAMES = {
  look: "look and pan",
  point: "add point",
  circle: "add circle",
  annulus: "add annulus",
  rectangle: "add rectangle",
  polygon: "add polygon",
  paint: "paint",
};
const OVERLAY_NAMES = {
  rings: "rings",
  compass: "compass",
  bar: "scale bar",
  star: "star",
  marks: "marks",
  regions: "regions",
  mask: "mask",
};
const PATIENCE = 5000; // ms until a silent kernel is spoken of
const SAVE_EVERY = 30; // ms between the messages of a drag
const LEAD_EVERY = 100; // ms between the frames of a drag that Python and the curves hear of
const CALM = 150; // ms without a new cube before its other frames are asked for
const MOST_HEIGHT = 560;
const LEAST_VIEW = 4; // px, the closest zoom
const ROW = 15; // px, height of a line of text

// ---------------------------------------------------------------------------------------------------- small helpers

/** HTML element; `on...` attributes are listeners, `text` is its text. */
function html(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** SVG element; numbers are written with two decimals, null leaves an attribute out. */
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    element.setAttribute(name, typeof value === "number" ? String(Math.round(value * 100) / 100) : value);
  }
  element.append(...children);
  return element;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const range = (n) => Array.from({ length: n }, (_, i) => i);
const radians = (degrees) => (degrees * Math.PI) / 180;
const path = (points, closed = false) =>
  points.length ? `M${points.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join("L")}${closed ? "Z" : ""}` : "";

/** The bytes of a buffer, whichever kind the model hands out. */
function bytesOf(buffer) {
  if (!buffer) return new Uint8Array(0);
  return ArrayBuffer.isView(buffer)
    ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    : new Uint8Array(buffer);
}

/** Float32 numbers of a buffer; copied, as they may not be aligned. */
const floatsOf = (buffer) => new Float32Array(bytesOf(buffer).slice().buffer);

async function inflate(buffer) {
  const stream = new Blob([bytesOf(buffer)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

let pen = null;

/** Width of a text in the font of the page, px. */
function textWidth(text, size = 12) {
  pen = pen || document.createElement("canvas").getContext("2d");
  pen.font = `${size}px ${getComputedStyle(document.body).getPropertyValue("--jp-ui-font-family") || "system-ui, sans-serif"}`;
  return pen.measureText(text).width;
}

// ------------------------------------------------------------------------------------------------- numbers and ticks

const RAISED = {
  "-": "\u207b",
  0: "\u2070",
  1: "\u00b9",
  2: "\u00b2",
  3: "\u00b3",
  4: "\u2074",
  5: "\u2075",
  6: "\u2076",
  7: "\u2077",
  8: "\u2078",
  9: "\u2079",
};
const powerOfTen = (power) => `10${[...String(power)].map((digit) => RAISED[digit]).join("")}`;

/** A number by itself, in at most so many digits: 0.25, −2×10⁻⁶. */
function number(value, digits = 4) {
  if (!Number.isFinite(value)) return "";
  const size = Math.abs(value);
  if (value === 0 || (size >= 1e-3 && size < 1e5)) {
    const text = size < 10 ** digits ? String(Number(value.toPrecision(digits))) : value.toFixed(0);
    return text.replace("-", MINUS);
  }
  const [mantissa, power] = size.toExponential(digits - 1).split("e");
  const factor = Number(mantissa) === 1 ? "" : `${Number(mantissa)}\u00d7`;
  return (value < 0 ? MINUS : "") + factor + powerOfTen(Number(power));
}

/** A number as it is typed, short enough for its box: 0.25, 1.234e-5. */
function typeable(value) {
  const text = String(Number(value.toPrecision(4)));
  return text.length <= 7 ? text : Number(value.toPrecision(4)).toExponential();
}

/** Multiples of mantissa x 10^power in the range, each the number nearest to its decimal. */
function multiples(low, high, mantissa, power) {
  const step = mantissa * 10 ** power;
  const [first, last] = [Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)];
  const exact = (whole) => (power >= 0 ? whole * mantissa * 10 ** power : (whole * mantissa) / 10 ** -power);
  return range(Math.max(0, last - first + 1)).map((i) => exact(first + i));
}

/** Ticks of 1, 2 or 5 times a power of ten: at most `count` intervals. */
function linearTicks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  let power = Math.floor(Math.log10(raw));
  let mantissa = [1, 2, 5].find((m) => m >= (raw / 10 ** power) * (1 - 1e-9));
  if (!mantissa) [mantissa, power] = [1, power + 1];
  const major = multiples(low, high, mantissa, power);
  const [minorMantissa, minorPower] = { 1: [2, power - 1], 2: [5, power - 1], 5: [1, power] }[mantissa];
  return { major, minor: multiples(low, high, minorMantissa, minorPower), ...tickLabels(major, power) };
}

/** Labels with the same number of decimals, and the power of ten that is taken out of them. */
function tickLabels(values, power) {
  const largest = Math.max(0, ...values.map(Math.abs));
  const plain = largest === 0 || (largest >= 1e-2 && largest < 1e5);
  const taken = plain ? 0 : Math.floor(Math.log10(largest) + 1e-9);
  const decimals = clamp(taken - power, 0, 15);
  const label = (value) => (value === 0 ? "0" : (value / 10 ** taken).toFixed(decimals).replace("-", MINUS));
  return { labels: values.map(label), factor: taken ? `\u00d7${powerOfTen(taken)}` : "" };
}

/** Ticks of a colour bar: those of a linear axis, or zero and 1, 2, 5 times powers of ten, whichever are more. */
function colorTicks(stretch, length) {
  const apart = (values) =>
    values.every((v, i) => !i || (stretch.place(v) - stretch.place(values[i - 1])) * length >= 20);
  const counts = range(Math.max(1, Math.floor(length / 24) - 1)).map((i) => Math.max(2, Math.floor(length / 24)) - i);
  const even = counts.map((n) => linearTicks(stretch.low, stretch.high, n)).find((ticks) => apart(ticks.major));
  const chosen = roundValues(stretch, length);
  if (even && even.major.length >= chosen.length) return even;
  return { major: chosen, labels: chosen.map((v) => number(v)), factor: "" };
}

/** Zero, powers of ten and their multiples, the roundest first, as long as their ticks don't come too close. */
function roundValues(stretch, length) {
  const { low, high } = stretch;
  const top = Math.floor(Math.log10(Math.max(Math.abs(low), Math.abs(high))));
  const sizes = [1, 5, 2].flatMap((digit) => range(7).map((i) => Number(`${digit}e${top - i}`)));
  const wanted = [0, ...sizes.flatMap((size) => [size, -size])].filter((v) => v >= low && v <= high);
  const chosen = [];
  const free = (value) => (other) => Math.abs(stretch.place(value) - stretch.place(other)) * length >= 20;
  for (const value of wanted) if (chosen.every(free(value))) chosen.push(value);
  return chosen.sort((a, b) => a - b);
}

// -------------------------------------------------------------------------------------------------------- stretches

const CURVES = {
  asinh: [Math.asinh, Math.sinh],
  linear: [(u) => u, (u) => u],
  sqrt: [(u) => Math.sign(u) * Math.sqrt(Math.abs(u)), (u) => Math.sign(u) * u * u],
  log: [Math.log1p, Math.expm1],
};

/** Data values to places on the palette, 0 to 1, and back; the same functions as corontools.display.scale. */
class Stretch {
  constructor([low, high], kind) {
    Object.assign(this, { low, high, kind });
    [this.forward, this.inverse] = CURVES[kind] || CURVES.linear;
    const inside = kind === "asinh" && low < 0 && high > 0;
    this.zero = inside ? 0 : low;
    this.width =
      { asinh: Math.max(inside ? -low : 0, (high - low) / 300), log: (high - low) / 1000 }[kind] || high - low;
    this.start = this.forward((low - this.zero) / this.width);
    this.stop = this.forward((high - this.zero) / this.width);
  }

  place(value) {
    const at = this.forward((clamp(value, this.low, this.high) - this.zero) / this.width);
    return clamp((at - this.start) / (this.stop - this.start), 0, 1);
  }

  /** Place on the palette drawn on beyond its ends, where the stretch goes on there. */
  freePlace(value) {
    const at = (this.forward((value - this.zero) / this.width) - this.start) / (this.stop - this.start);
    return Number.isFinite(at) ? clamp(at, -1, 2) : this.place(value);
  }

  /** Data value at a place, which may lie beyond the ends. */
  value(place) {
    return this.zero + this.width * this.inverse(this.start + place * (this.stop - this.start));
  }
}

/** Colour of each of the 65536 codes: a new stretch or palette costs 255 logarithms instead of one a pixel. */
function colorTable(code, stretch, palette) {
  const table = new Uint32Array(1 << 16);
  const fill = (color, first, last) => {
    if (first < 0) table.fill(color, 65536 + first, 65536 + Math.min(last, -1) + 1);
    if (last >= 0) table.fill(color, Math.max(first, 0), last + 1);
  };
  let first = -32767;
  for (let level = 0; level < LEVELS && first <= 32767; level++) {
    const [r, g, b] = palette.subarray(3 * level, 3 * level + 3);
    const edge = code.of(stretch.value((level + 0.5) / (LEVELS - 1)));
    const last = level === LEVELS - 1 ? 32767 : clamp(Math.floor(edge), -32768, 32767);
    if (last >= first) fill(((255 << 24) | (b << 16) | (g << 8) | r) >>> 0, first, last);
    first = Math.max(first, last + 1);
  }
  return table; // NaN stays 0: transparent, and the hatching behind shows
}

// --------------------------------------------------------------------------------------- frames, and how they arrive

/** What codes stand for: v = (step / relative) sinh(relative c), see codec.py. */
class Code {
  constructor({ step, relative }) {
    Object.assign(this, { step, relative });
  }

  value(code) {
    return code === NO_DATA ? NaN : (this.step / this.relative) * Math.sinh(this.relative * ((code << 16) >> 16));
  }

  of(value) {
    return Math.asinh((value * this.relative) / this.step) / this.relative;
  }
}

/** Codes, or differences of codes, of a chunk: low bytes before high bytes, folded so that small ones stay small. */
async function unpack(buffer, size) {
  const planes = await inflate(buffer);
  const codes = new Uint16Array(size);
  for (let i = 0; i < size; i++) {
    const folded = planes[i] | (planes[size + i] << 8);
    codes[i] = (folded >>> 1) ^ -(folded & 1);
  }
  return codes;
}

function combined(codes, differences, sign) {
  return codes.map((code, i) => code + sign * differences[i]); // Uint16Array wraps round, as the sender did
}

/**
 * The frames of a cube: the visible one comes with the model, the others are asked for, those near by first.
 * A chunk that isn't a keyframe is what a frame differs by from the one before, so it leads from either to the other.
 */
class Frames {
  constructor(model, kernel, changed) {
    Object.assign(this, { model, kernel, changed, serial: 0, cube: null, timer: 0 });
    this.live = new Map();
    this.known = new Map();
  }

  /** Take up a new cube; the old one stays on show until the first frame of the new one is there. */
  async reset() {
    const cube = this.model.get("_cube");
    const turn = (this.turn = {});
    this.serial = cube.serial;
    clearTimeout(this.timer);
    const first = await unpack(this.model.get("_first"), cube.shape[1] * cube.shape[2]);
    if (turn !== this.turn) return; // another cube came meanwhile
    const again = this.cube !== null;
    Object.assign(this, { cube, code: new Code(cube), keys: new Set(cube.keyframes), waiting: 0 });
    this.known = new Map([[cube.first, first]]);
    this.live = new Map();
    this.differences = new Map();
    this.queue = range(cube.shape[0]);
    this.changed(true);
    // While a zone is dragged there is a new cube several times a second: its other frames can wait.
    if (cube.shape[0] > 1) this.timer = setTimeout(() => this.ask(), again ? CALM : 0);
  }

  get(index) {
    return this.live.get(index) || this.known.get(index);
  }

  /** The frame itself or, until it has arrived, the nearest that has. */
  nearest(index) {
    if (this.get(index)) return index;
    return [...this.known.keys()].reduce((a, b) => (Math.abs(b - index) < Math.abs(a - index) ? b : a));
  }

  value(index, column, row) {
    const codes = this.get(index);
    return codes ? this.code.value(codes[row * this.cube.shape[2] + column]) : NaN;
  }

  /** Ask for the chunks nearest to the visible frame; two messages at a time keep a slow link busy. */
  ask() {
    const near = this.model.get("frame");
    this.queue.sort((a, b) => Math.abs(a - near) - Math.abs(b - near));
    while (this.queue.length && this.waiting < 2) {
      const frames = this.queue.splice(0, this.known.size > 1 || this.waiting ? 8 : 4);
      this.send(frames);
    }
  }

  send(frames) {
    this.waiting += 1;
    this.kernel.ask({ type: "need", frames, serial: this.serial });
  }

  /** The user went to a frame that isn't there: what leads to it from the last keyframe goes next. */
  want(index) {
    if (this.get(index) || !this.queue) return;
    let key = index;
    while (!this.keys.has(key)) key -= 1;
    const chain = this.queue.filter((i) => i >= key && i <= index);
    if (!chain.length) return;
    this.queue = this.queue.filter((i) => !chain.includes(i));
    this.send(chain);
  }

  async receive(message, buffers) {
    if (message.serial !== this.serial || !this.cube) return;
    const size = this.cube.shape[1] * this.cube.shape[2];
    const chunks = await Promise.all((buffers || []).map((buffer) => unpack(buffer, size)));
    if (message.serial !== this.serial) return;
    if (message.type === "frame") this.replace(message.index, chunks[0]);
    else this.add(message.frames, chunks);
  }

  replace(index, codes) {
    if (codes) this.live.set(index, codes);
    else this.live.delete(index);
    this.changed(false, index);
  }

  add(indices, chunks) {
    this.waiting = Math.max(0, this.waiting - 1);
    indices.forEach((index, i) => (this.keys.has(index) ? this.known : this.differences).set(index, chunks[i]));
    this.settle();
    this.changed(false);
    this.ask();
  }

  /** Turn differences into frames, forwards and backwards, as far as they lead. */
  settle() {
    for (let before = -1; before !== this.differences.size; ) {
      before = this.differences.size;
      for (const [index, differences] of this.differences) {
        const [left, right] = [this.known.get(index - 1), this.known.get(index)];
        if (left && !right) this.known.set(index, combined(left, differences, 1));
        if (right && !left) this.known.set(index - 1, combined(right, differences, -1));
        if (left || right) this.differences.delete(index);
      }
    }
  }

  /** Counts of the codes of a frame, in the order of their values. */
  histogram(index) {
    const counts = new Uint32Array(1 << 16);
    for (const code of this.get(index) || []) counts[(code + 0x8000) & 0xffff] += 1;
    counts[0] = 0; // NaN
    return range(1 << 16)
      .filter((i) => counts[i])
      .map((i) => [this.code.value((i + 0x8000) & 0xffff), counts[i]]);
  }
}

/** Value below which a fraction of the counted values lies. */
function quantile(counted, fraction) {
  const total = counted.reduce((sum, [, count]) => sum + count, 0);
  let left = fraction * (total - 1);
  for (const [value, count] of counted) {
    left -= count;
    if (left < 0) return value;
  }
  return counted[counted.length - 1][0];
}

/** Limits that show the noise and what stands out of it, as corontools.display.scale.default_limits. */
function automaticLimits(counted, symmetric) {
  const spread = (about) => counted.map(([v, n]) => [Math.abs(v - about), n]).sort((a, b) => a[0] - b[0]);
  const median = quantile(counted, 0.5);
  const sigma = 1.4826 * quantile(spread(median), 0.5);
  if (symmetric) {
    const top = Math.max(quantile(spread(0), 0.99), 5 * sigma) || 1;
    return [-top, top];
  }
  const [low, high] = [quantile(counted, 0.001), quantile(counted, 0.9995)];
  return sigma > 0 ? [Math.max(low, median - 3 * sigma), Math.max(high, median + 8 * sigma)] : [low, high];
}

/** Says so when the kernel doesn't answer; what has been loaded works without it. */
class Kernel {
  constructor(model, tell) {
    Object.assign(this, { model, tell, timer: 0, heard: Date.now() });
    this.alone = model.get("_kernel") === false; // a page without a kernel
  }

  /** Send a message that is answered. */
  ask(message) {
    this.post(message);
    if (!this.alone && !this.timer) this.timer = setTimeout(() => this.tell(true), PATIENCE);
  }

  post(message) {
    this.attempt(() => this.model.send(message));
  }

  save() {
    this.attempt(() => this.model.save_changes());
  }

  attempt(action) {
    try {
      action();
    } catch {
      this.tell(true); // Jupyter closes the channel of a kernel that has gone
    }
  }

  hear() {
    this.heard = Date.now();
    this.stop();
    this.tell(false);
  }

  /** Ask now and then whether anyone still listens, as a restarted kernel doesn't say that it left. */
  ping() {
    if (this.alone || this.timer || Date.now() - this.heard < 2 * PATIENCE) return;
    this.ask({ type: "ping" });
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = 0;
  }
}

// ----------------------------------------------------------------------------------------------------------- the sky

/** How pixels lie on the sky; the same rules as corontools.display.overlay.Sky. */
class Sky {
  constructor(state) {
    const { shape, pixel_scale: scale, origin, star, pa_y: paY, parity, north_up: northUp } = state;
    Object.assign(this, { shape, scale, origin, star, paY, parity, northUp });
    this.unit = scale ? "\u2033" : " px";
    this.perPixel = scale || 1;
    this.whole = [-0.5, shape[1] - 0.5, -0.5, shape[0] - 0.5];
  }

  /** Unit vector (x, y) of a position angle in degrees. */
  direction(pa) {
    const turn = radians(pa - (this.paY || 0));
    return [this.parity * Math.sin(turn), Math.cos(turn)];
  }

  /** Position angle of an offset in px, degrees east of north; of +y where north is not known. */
  pa(dx, dy) {
    return ((((Math.atan2(this.parity * dx, dy) * 180) / Math.PI + (this.paY || 0)) % 360) + 360) % 360;
  }

  /** Separation from the star in px. */
  radius(x, y) {
    return Math.hypot(x - this.origin[0], y - this.origin[1]);
  }

  /** Axis labels, and what turns a pixel into the value of an axis. */
  axes() {
    if (!this.scale) return { words: ["x (px)", "y (px)"], toX: (x) => x, toY: (y) => y };
    const flip = this.northUp ? this.parity : 1;
    return {
      words: this.northUp ? ["\u0394RA (arcsec)", "\u0394Dec (arcsec)"] : ["\u0394x (arcsec)", "\u0394y (arcsec)"],
      toX: (x) => flip * (x - this.origin[0]) * this.scale,
      toY: (y) => (y - this.origin[1]) * this.scale,
    };
  }

  /** Points of an arc about (x, y), px, from one position angle eastwards to another. */
  arc(x, y, radius, from, sweep) {
    const n = Math.max(2, Math.ceil(sweep / 4));
    return range(n + 1).map((i) => {
      const [u, v] = this.direction(from + (sweep * i) / n);
      return [x + radius * u, y + radius * v];
    });
  }
}

/** A rectangle of the screen that shows a part of the image: pixels of one into pixels of the other. */
class Plane {
  constructor(box, view) {
    Object.assign(this, { box, view, zoom: box.width / (view[1] - view[0]) });
  }

  at(x, y) {
    return [this.box.left + (x - this.view[0]) * this.zoom, this.box.top + (this.view[3] - y) * this.zoom];
  }

  /** Pixel of the image at a place on the screen. */
  pixel(left, top) {
    return [this.view[0] + (left - this.box.left) / this.zoom, this.view[3] - (top - this.box.top) / this.zoom];
  }
}

// ------------------------------------------------------------------------------------ what is drawn over the image

const overlaps = (a, b) =>
  a.left < b.left + b.width && b.left < a.left + a.width && a.top < b.top + b.height && b.top < a.top + a.height;
const within = (a, box) =>
  a.left >= box.left &&
  a.top >= box.top &&
  a.left + a.width <= box.left + box.width &&
  a.top + a.height <= box.top + box.height;

/** What is drawn on: the plane, the ink, and the places that are taken so far, so that no words lie on others. */
class Sheet {
  constructor(plane, sky, ink, layer) {
    Object.assign(this, { plane, sky, ink, layer, taken: [] });
  }

  find(wanted) {
    const spot = wanted.find((box) => within(box, this.plane.box) && !this.taken.some((other) => overlaps(box, other)));
    if (spot) this.taken.push(spot);
    return spot;
  }

  /** The first free corner, those at the bottom first. */
  corner(width, height, right) {
    const { left, top, width: w, height: h } = this.plane.box;
    const lefts = [left + 6, left + w - width - 6];
    if (right) lefts.reverse();
    const tops = [top + h - height - 6, top + 6];
    return this.find(tops.flatMap((y) => lefts.map((x) => ({ left: x, top: y, width, height }))));
  }

  /** A line with a halo, so that it shows on dark and on bright. */
  line(d, { color = this.ink.line, width = 1.6, dash = null, opacity = 1, into = this.layer } = {}) {
    const shared = { d, fill: "none", "stroke-dasharray": dash };
    into.append(
      svg("path", { ...shared, stroke: this.ink.halo, "stroke-width": width + 2, "stroke-opacity": 0.5 * opacity }),
      svg("path", { ...shared, stroke: color, "stroke-width": width, "stroke-opacity": opacity }),
    );
  }

  words(text, spot, { color = this.ink.line, size = 12, into = this.layer } = {}) {
    const [x, y] = [spot.left + spot.width / 2, spot.top + spot.height / 2 + 0.35 * size];
    const style = {
      x,
      y,
      fill: color,
      stroke: this.ink.halo,
      "font-size": size,
      class: "ctp-over",
      "text-anchor": "middle",
    };
    const element = svg("text", style);
    element.textContent = text;
    into.append(element);
  }
}

/** Round radii, about four within what is shown. */
function roundRings({ plane, sky }) {
  const [x0, x1, y0, y1] = plane.view;
  const [x, y] = sky.origin;
  const nearest = Math.hypot(x - clamp(x, x0, x1), y - clamp(y, y0, y1));
  const farthest =
    nearest > 0
      ? Math.max(sky.radius(x0, y0), sky.radius(x1, y1), sky.radius(x0, y1), sky.radius(x1, y0))
      : Math.max(x - x0, x1 - x, y - y0, y1 - y);
  return linearTicks(nearest * sky.perPixel, farthest * sky.perPixel, 4).major.filter((radius) => radius > 0);
}

function drawRings(sheet, radii) {
  const { plane, sky } = sheet;
  const [x, y] = plane.at(...sky.origin);
  for (const radius of radii.length ? radii : roundRings(sheet)) {
    const r = (radius / sky.perPixel) * plane.zoom;
    if (!(r > 0 && r < 1e5)) continue;
    sheet.line(`M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`, { dash: "4 4", opacity: 0.75 });
    const text = number(radius) + sky.unit;
    const width = textWidth(text, 11) + 4;
    const angles = [90, 60, 120, 45, 135, 30, 150, 270, 240, 300, 0, 180, 225, 315].map(radians);
    const middles = angles.map((a) => [x + r * Math.cos(a), y - r * Math.sin(a)]);
    const spot = sheet.find(middles.map(([u, v]) => ({ left: u - width / 2, top: v - 7, width, height: 14 })));
    if (spot) sheet.words(text, spot, { size: 11 });
  }
}

function drawStar(sheet) {
  const [x, y] = sheet.plane.at(...sheet.sky.origin);
  if (sheet.sky.star) sheet.line(`M${x - 5} ${y}h10M${x} ${y - 5}v10`);
}

/** Arrows to north and east, in a corner that is free. */
function drawCompass(sheet) {
  const spot = sheet.sky.paY === null ? null : sheet.corner(78, 78, true);
  if (!spot) return;
  const arrows = [
    ["N", ...sheet.sky.direction(0)],
    ["E", ...sheet.sky.direction(90)],
  ];
  // The arrows start off the middle, so that the pair as a whole is centred.
  const x = spot.left + 39 - 12 * (arrows[0][1] + arrows[1][1]);
  const y = spot.top + 39 + 12 * (arrows[0][2] + arrows[1][2]);
  for (const [name, u, v] of arrows) {
    const tip = [x + 26 * u, y - 26 * v];
    const barbs = [1, -1].map((side) => path([[x + 20 * u + side * 3.5 * v, y - 20 * v + side * 3.5 * u], tip]));
    sheet.line(path([[x, y], tip]) + barbs.join(""));
    sheet.words(name, { left: x + 36 * u - ROW / 2, top: y - 36 * v - ROW / 2, width: ROW, height: ROW });
  }
}

/** Bar of the longest round length within 0.3 of the width. */
function drawScaleBar(sheet) {
  const { plane, sky } = sheet;
  const longest = 0.3 * (plane.view[1] - plane.view[0]) * sky.perPixel;
  const power = Math.floor(Math.log10(longest));
  const length = Number(`${[5, 2, 1].find((digit) => Number(`${digit}e${power}`) <= longest) || 1}e${power}`);
  const pixels = (length / sky.perPixel) * plane.zoom;
  const text = number(length) + sky.unit;
  const spot = sheet.corner(Math.max(pixels, textWidth(text)) + 12, 30, false);
  if (!spot) return;
  const [x, y] = [spot.left + spot.width / 2, spot.top + 23];
  sheet.line(`M${x - pixels / 2} ${y - 4}v8m0 -4h${pixels}m0 -4v8`);
  sheet.words(text, { ...spot, top: y - 20, height: ROW });
}

/** The chosen point, or the pointer of another pane: lines that leave the pixel itself free. */
function drawCross(sheet, [x, y], faint) {
  const [u, v] = sheet.plane.at(x, y);
  const arms = `M${u - 14} ${v}h9M${u + 5} ${v}h9M${u} ${v - 14}v9M${u} ${v + 5}v9`;
  sheet.line(arms, { color: faint ? sheet.ink.line : sheet.ink.mark, opacity: faint ? 0.7 : 1 });
}

/** Words beside a place, on the side that is free. */
function wordsBeside(sheet, text, x, y, gap, { above = false, ...options }) {
  const { left, width: room } = sheet.plane.box;
  let shown = text;
  while (shown.length > 3 && textWidth(shown) > Math.min(220, room - 12))
    shown = `${shown.replace(/\u2026$/, "").slice(0, -1)}\u2026`;
  const width = textWidth(shown) + 8;
  const sides = [
    [gap, -ROW / 2],
    [-gap - width, -ROW / 2],
    [-width / 2, -gap - ROW],
    [-width / 2, gap],
  ];
  if (above) sides.unshift(...sides.splice(2, 2));
  const wanted = sides.map(([dx, dy]) => ({ left: x + dx, top: y + dy, width, height: ROW }));
  const inside = { ...wanted[0], left: clamp(x + gap, left, left + room - width) };
  sheet.words(shown, sheet.find(wanted) || inside, options);
}

/** A mark; one that may be dragged can be reached by the keyboard too. */
function drawMark(sheet, mark, index) {
  const { plane, ink } = sheet;
  if (!Number.isFinite(mark.x) || !Number.isFinite(mark.y)) return;
  const [x, y] = plane.at(mark.x, mark.y);
  const { left, top, width, height } = plane.box;
  if (x < left || x > left + width || y < top || y > top + height) return;
  const name = String(mark.name || "");
  const group = svg("g", mark.draggable ? movable(`mark ${name}`, `mark:${index}`) : {});
  sheet.layer.append(group);
  const r = mark.kind === "text" ? 0 : Math.max(mark.radius ? mark.radius * plane.zoom : 10, 6);
  const cross = `M${x - 5} ${y}h10M${x} ${y - 5}v10`;
  const circle = `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;
  if (mark.kind !== "text") sheet.line(mark.kind === "star" ? cross : circle, { color: ink.mark, into: group });
  if (mark.draggable) group.append(svg("path", { d: circle, class: "ctp-grip" }));
  sheet.taken.push({ left: x - r, top: y - r, width: 2 * r, height: 2 * r });
  if (name) wordsBeside(sheet, name, x, y, r + 4, { color: ink.mark, into: group });
}

/** Attributes of something that the mouse and the keyboard can move. */
const movable = (label, key) => ({
  tabindex: 0,
  role: "button",
  "aria-label": `${label}; arrow keys move it`,
  "data-key": key,
  class: "ctp-movable",
});

// ----------------------------------------------------------------------------------------------------------- regions

const shiftAll = (region, names, by) => Object.fromEntries(names.map((name) => [name, region[name] + by]));
const sweepOf = ({ pa0 = 0, pa1 = 360 }) => (((pa1 - pa0) % 360) + 360) % 360 || 360;
const centerOf = (region, sky) => [region.x ?? sky.origin[0], region.y ?? sky.origin[1]];
const along = (sky, [x, y], radius, pa) => sky.arc(x, y, radius, pa, 0)[0];

/**
 * What each kind of region can do. outline: lists of points, px; handles: name and place of what can be pulled; pull:
 * the region with a handle at another place; made: a region drawn from one place to another. A region that is `fixed`
 * keeps its centre: pulling its outline pulls the `nearest` handle, and arrow keys change its size, `grown`.
 */
const REGIONS = {
  point: {
    outline: () => [],
    handles: () => [],
    pull: (region) => region,
    made: (_, [x, y]) => ({ x, y }),
  },
  circle: {
    outline: ({ x, y, r }, sky) => [sky.arc(x, y, r, 0, 360)],
    handles: ({ x, y, r }) => [["r", x + r, y]],
    pull: (region, _, [x, y]) => ({ ...region, r: Math.max(0.5, Math.hypot(x - region.x, y - region.y)) }),
    made: ([x, y], [u, v]) => ({ x, y, r: Math.max(0.5, Math.hypot(u - x, v - y)) }),
  },
  annulus: {
    outline: (region, sky) => annulusOutline(region, sky),
    handles: (region, sky) => {
      const { r0, r1, pa0 = 0 } = region;
      const [center, sweep] = [centerOf(region, sky), sweepOf(region)];
      const middle = pa0 + sweep / 2;
      const edges = [
        ["pa0", pa0],
        ["pa1", pa0 + sweep],
      ].map(([name, pa]) => [name, ...along(sky, center, (r0 + r1) / 2, pa)]);
      return [["r0", ...along(sky, center, r0, middle)], ["r1", ...along(sky, center, r1, middle)], ...edges];
    },
    pull: (region, name, [x, y], sky) => {
      const [cx, cy] = centerOf(region, sky);
      const radius = Math.hypot(x - cx, y - cy);
      if (name === "r0") return { ...region, r0: Math.min(radius, region.r1 - 0.5) };
      if (name === "r1") return { ...region, r1: Math.max(radius, region.r0 + 0.5) };
      return { pa0: 0, pa1: 360, ...region, [name]: sky.pa(x - cx, y - cy) };
    },
    grown: (region, dx, dy) => {
      const r1 = Math.max(region.r1 + dy, region.r0 + 1);
      return { ...region, r0: clamp(region.r0 + dx, 0, r1 - 1), r1 };
    },
    nearest: (region, [x, y], sky) => {
      const [cx, cy] = centerOf(region, sky);
      const [radius, sweep, { pa0 = 0 }] = [Math.hypot(x - cx, y - cy), sweepOf(region), region];
      const turn = (pa) => (radius * Math.PI * Math.abs(((sky.pa(x - cx, y - cy) - pa + 540) % 360) - 180)) / 180;
      const sides = sweep === 360 ? {} : { pa0: turn(pa0), pa1: turn(pa0 + sweep) };
      const away = { r0: Math.abs(radius - region.r0), r1: Math.abs(radius - region.r1), ...sides };
      return Object.keys(away).reduce((best, name) => (away[name] < away[best] ? name : best));
    },
    made: (from, to, sky) => {
      const [r0, r1] = [sky.radius(...from), sky.radius(...to)].sort((a, b) => a - b);
      return { x: sky.origin[0], y: sky.origin[1], r0, r1: Math.max(r1, r0 + 1), pa0: 0, pa1: 360 };
    },
  },
  rectangle: {
    outline: ({ x0, y0, x1, y1 }) => [
      [
        [x0, y0],
        [x1, y0],
        [x1, y1],
        [x0, y1],
      ],
    ],
    handles: ({ x0, y0, x1, y1 }) => [
      ["x0 y0", x0, y0],
      ["x1 y0", x1, y0],
      ["x1 y1", x1, y1],
      ["x0 y1", x0, y1],
    ],
    pull: (region, name, [x, y]) => {
      const [across, up] = name.split(" ");
      return { ...region, [across]: x, [up]: y };
    },
    made: ([x0, y0], [x1, y1]) => ({
      x0: Math.min(x0, x1),
      y0: Math.min(y0, y1),
      x1: Math.max(x0, x1),
      y1: Math.max(y0, y1),
    }),
  },
  polygon: {
    outline: ({ points }) => [points],
    handles: ({ points }) => points.map(([x, y], i) => [String(i), x, y]),
    pull: (region, name, place) => ({
      ...region,
      points: region.points.map((p, i) => (String(i) === name ? place : p)),
    }),
    made: ([x, y], [u, v]) => ({
      points: [
        [x, y],
        [u, y],
        [u, v],
      ],
    }),
  },
};

/** Two circles, or the one line round a sector. */
function annulusOutline(region, sky) {
  const { r0, r1, pa0 = 0 } = region;
  const [x, y] = centerOf(region, sky);
  const sweep = sweepOf(region);
  const [outer, inner] = [r1, r0].map((r) => sky.arc(x, y, r, pa0, sweep));
  return sweep === 360 ? [outer, inner] : [[...outer, ...inner.reverse()]];
}

/** The region moved by so many pixels. */
function moved(region, dx, dy) {
  if (region.kind === "polygon") return { ...region, points: region.points.map(([x, y]) => [x + dx, y + dy]) };
  const [xs, ys] =
    region.kind === "rectangle"
      ? [
          ["x0", "x1"],
          ["y0", "y1"],
        ]
      : [["x"], ["y"]];
  return { ...region, ...shiftAll(region, xs, dx), ...shiftAll(region, ys, dy) };
}

const shapeOf = (region) => REGIONS[region.kind];
const isFixed = (region) => Boolean(region.fixed && shapeOf(region).grown);

/** Outline of a region on the screen. */
function regionPath(region, { plane, sky }) {
  if (region.kind !== "point") {
    return shapeOf(region)
      .outline(region, sky)
      .map((points) =>
        path(
          points.map((p) => plane.at(...p)),
          true,
        ),
      )
      .join("");
  }
  const [x, y] = plane.at(region.x, region.y);
  return `M${x - 6} ${y}h12M${x} ${y - 6}v12M${x} ${y - 6}L${x + 6} ${y}L${x} ${y + 6}L${x - 6} ${y}Z`;
}

/** Middle of the upper edge of a region on the screen. */
function topOf(region, { plane, sky }) {
  const points = region.kind === "point" ? [[region.x, region.y]] : shapeOf(region).outline(region, sky).flat();
  const places = points.map((p) => plane.at(...p));
  const xs = places.map(([x]) => x);
  return [
    (Math.min(...xs) + Math.max(...xs)) / 2,
    Math.min(...places.map(([, y]) => y)) - (region.kind === "point" ? 6 : 0),
  ];
}

function drawRegion(sheet, region, index, chosen) {
  if (!shapeOf(region) || region.visible === false) return;
  const name = String(region.name || "");
  const attributes = region.locked ? {} : movable(`${region.kind} ${name}`, `region:${index}`);
  const group = svg("g", attributes);
  const d = regionPath(region, sheet);
  sheet.layer.append(group);
  sheet.line(d, { color: sheet.ink.region, width: chosen ? 2.4 : 1.6, into: group });
  if (!region.locked) group.append(svg("path", { d, class: "ctp-grip" }));
  if (name) wordsBeside(sheet, name, ...topOf(region, sheet), 3, { color: sheet.ink.region, into: group, above: true });
  if (!chosen || region.locked) return;
  for (const [handle, u, v] of shapeOf(region).handles(region, sheet.sky)) {
    const [left, top] = sheet.plane.at(u, v);
    const look = { x: left - 4.5, y: top - 4.5, width: 9, height: 9, fill: sheet.ink.region, stroke: sheet.ink.halo };
    sheet.layer.append(svg("rect", { ...look, class: "ctp-handle", "data-key": `handle:${index}:${handle}` }));
  }
}

// -------------------------------------------------------------------------------------------------------- the figure

const READOUT = [
  ["pixel", "pixel", 8],
  ["sep", "sep", 7],
  ["pa", "PA", 6],
  ["value", "value", 13],
  ["snr", "S/N", 5],
  ["limit", "", 9],
];

/** What is under the pointer, or else at the chosen point, in columns that stay where they are. */
class Readout {
  constructor(pane) {
    this.pane = pane;
    this.cells = READOUT.map(([key, name, width]) => {
      const words = html("span", { class: "ctp-what", text: name });
      const value = html("span", { class: "ctp-value", style: `min-width: ${width}ch` });
      return { key, words, value, root: html("span", { class: "ctp-cell" }, words, value) };
    });
    this.root = html("div", { class: "ctp-readout", "aria-live": "off" }, ...this.cells.map((cell) => cell.root));
    this.said = html("div", { class: "ctp-said", "aria-live": "polite" });
  }

  followWords() {
    const { noise, sky } = this.pane;
    for (const { key, words, root } of this.cells) {
      if (key === "limit") words.textContent = noise ? noise.limitName : "";
      root.hidden =
        (key === "snr" && !noise) ||
        (key === "limit" && !(noise && noise.limitName)) ||
        (key === "pa" && sky.paY === null);
    }
  }

  show(place, frame) {
    const values = place ? this.values(place, frame) : {};
    for (const { key, value } of this.cells) value.textContent = values[key] || "";
  }

  /** The chosen point in words, for a screen reader. */
  say(place, frame) {
    const values = place ? this.values(place, frame) : {};
    const parts = this.cells.filter(({ key, root }) => values[key] && !root.hidden);
    this.said.textContent = parts.map(({ key, words }) => `${words.textContent} ${values[key]}`).join(", ");
  }

  values([x, y], frame) {
    const { sky, noise } = this.pane;
    const value = this.pane.value(x, y, frame);
    const radius = sky.radius(x, y);
    const unit = this.pane.get("unit");
    const at = (table) => (noise ? between(noise.radius, table(frame), radius) : NaN);
    const snr = value / at((i) => noise.noise(i));
    return {
      pixel: `${Math.round(x)}, ${Math.round(y)}`,
      sep: `${(radius * sky.perPixel).toFixed(sky.scale ? 3 : 1)}${sky.unit}`,
      pa: `${sky.pa(x - sky.origin[0], y - sky.origin[1]).toFixed(1)}\u00b0`,
      value: Number.isFinite(value) ? `${number(value)} ${unit}` : "no data",
      snr: Number.isFinite(snr) ? snr.toFixed(1).replace("-", MINUS) : "",
      limit:
        noise && noise.limitName
          ? number(
              at((i) => noise.limit(i)),
              3,
            )
          : "",
    };
  }
}

/** Value of a curve between its points; NaN beyond its ends. */
function between(xs, ys, x) {
  const right = xs.findIndex((value) => value >= x);
  if (right < 0 || (right === 0 && xs[0] > x)) return NaN;
  if (right === 0) return ys[0];
  const part = (x - xs[right - 1]) / (xs[right] - xs[right - 1]);
  return ys[right - 1] + part * (ys[right] - ys[right - 1]);
}

const [LEFT, TOP, BOTTOM, GAP, BAR] = [64, 20, 40, 12, 13]; // px about the image
const BETWEEN = 28; // px between two images: the last label of an axis and the first of the next

/** Image, axes, colour bar and what lies over them. */
class Figure {
  constructor(pane) {
    Object.assign(this, { pane, sketch: null, chosen: null, frozen: null, pointer: null, due: 0, table: {} });
    this.panels = range(2).map(() => {
      const canvas = html("canvas", { "aria-hidden": "true" });
      const spot = html(
        "div",
        { class: "ctp-image", tabindex: 0, role: "application", "aria-roledescription": "image" },
        canvas,
      );
      return { canvas, spot, raster: document.createElement("canvas"), plane: null, drawn: "" };
    });
    this.ramp = html("canvas", { class: "ctp-ramp", width: 1, height: LEVELS, "aria-hidden": "true" });
    this.layer = svg("svg", { class: "ctp-layer" });
    this.pointerLayer = svg("svg", { class: "ctp-layer", "aria-hidden": "true" });
    const spots = this.panels.map((panel) => panel.spot);
    this.root = html("div", { class: "ctp-figure" }, ...spots, this.ramp, this.layer, this.pointerLayer);
  }

  /** Draw before the next frame of the screen; the overlay only where it changes, as it costs more than the pixels. */
  refresh(overlay = true) {
    this.stale = this.stale || overlay;
    this.due = this.due || requestAnimationFrame(() => this.draw());
  }

  /** Frames have other pixels than when they were drawn. */
  forget() {
    for (const panel of this.panels) panel.drawn = "";
  }

  close() {
    cancelAnimationFrame(this.due);
  }

  draw() {
    this.due = 0;
    const { pane } = this;
    const width = pane.root.clientWidth;
    if (!pane.frames.cube || !width) return;
    if (this.stale || width !== this.width) this.arrange(width);
    this.panels.slice(0, pane.sides()).forEach((panel, i) => this.paint(panel, pane.shown(i)));
    if (this.stale || pane.sides() > 1 || pane.get("blink")) this.drawOverlay();
    this.stale = false;
    this.follow();
    pane.lead();
  }

  // ---- where things are

  get scale() {
    return this.frozen || new Stretch(this.pane.get("limits"), this.pane.get("stretch"));
  }

  /** What is shown, in the shape of the whole image. */
  get view() {
    const { whole } = this.pane.sky;
    const view = this.pane.get("view") || [];
    if (view.length !== 4 || !(view[0] < view[1] && view[2] < view[3])) return whole;
    const zoom = Math.min((whole[1] - whole[0]) / (view[1] - view[0]), (whole[3] - whole[2]) / (view[3] - view[2]));
    return around(whole, [(view[0] + view[1]) / 2, (view[2] + view[3]) / 2], zoom);
  }

  /** Boxes of the panels, beside each other where there is room, and of the colour bar. */
  arrange(width) {
    this.width = width;
    const sides = this.pane.sides();
    const [rows, columns] = this.pane.sky.shape;
    const right = this.barRoom();
    const beside = sides > 1 && width >= 520 && columns < 3 * rows; // strips would be too low to be seen
    const room = beside ? (width - LEFT - right - BETWEEN) / 2 : width - LEFT - right;
    const boxWidth = Math.max(60, Math.min(room, (MOST_HEIGHT * columns) / rows));
    const [boxHeight, view] = [(boxWidth * rows) / columns, this.view];
    const box = (i) => ({
      left: LEFT + (beside ? i * (boxWidth + BETWEEN) : 0),
      top: TOP + (beside ? 0 : i * (boxHeight + BOTTOM + GAP)),
      width: boxWidth,
      height: boxHeight,
    });
    this.panels.forEach((panel, i) => this.put(panel, i < sides ? new Plane(box(i), view) : null));
    this.beside = beside;
    this.height = TOP + (beside || sides === 1 ? boxHeight : 2 * boxHeight + BOTTOM + GAP) + BOTTOM;
    this.bar = {
      ...box(beside ? 1 : 0),
      left: box(beside ? 1 : 0).left + boxWidth + GAP,
      width: BAR,
      height: Math.max(boxHeight, 40),
    };
    this.root.style.height = `${Math.max(this.height, this.bar.top + this.bar.height + 8)}px`;
    place(this.ramp, this.bar);
  }

  put(panel, plane) {
    panel.plane = plane;
    panel.spot.hidden = !plane;
    if (plane) place(panel.spot, plane.box);
  }

  barRoom() {
    const { labels } = colorTicks(this.scale, 300);
    const words = Math.max(24, ...labels.map((text) => textWidth(text, 11)));
    return GAP + BAR + 8 + words + (this.pane.get("unit") ? 22 : 4);
  }

  /** Panel under a place of the figure, or null. */
  panelAt(left, top) {
    return this.panels.find(({ plane }) => plane && within({ left, top, width: 0, height: 0 }, plane.box)) || null;
  }

  // ---- pixels

  colorsOf(code) {
    const { pane } = this;
    const key = JSON.stringify([code.step, pane.get("limits"), pane.get("stretch"), pane.get("colors")]);
    if (this.table.key === key) return this.table;
    const index = Math.max(0, pane.get("_palette_names").indexOf(pane.get("colors")));
    const palette = bytesOf(pane.get("_palettes")).subarray(768 * index, 768 * (index + 1));
    const stretch = new Stretch(pane.get("limits"), pane.get("stretch"));
    this.table = { key, palette, table: colorTable(code, stretch, palette) };
    this.paintRamp(palette);
    return this.table;
  }

  paintRamp(palette) {
    const image = new ImageData(1, LEVELS);
    range(LEVELS).forEach((i) => image.data.set([...palette.subarray(3 * i, 3 * i + 3), 255], 4 * (LEVELS - 1 - i)));
    this.ramp.getContext("2d").putImageData(image, 0, 0);
  }

  paint(panel, frame) {
    const { key, table } = this.colorsOf(this.pane.frames.code);
    const drawn = `${frame} ${key} ${this.pane.get("overlays").mask}`;
    if (panel.drawn !== drawn) this.fillRaster(panel.raster, frame, table);
    panel.drawn = drawn;
    this.show(panel);
  }

  /** Pixels of a frame in their colours, the last row first: a canvas has its first row at the top. */
  fillRaster(raster, frame, table) {
    const [, rows, columns] = this.pane.frames.cube.shape;
    const codes = this.pane.frames.get(frame);
    if (raster.width !== columns || raster.height !== rows) Object.assign(raster, { width: columns, height: rows });
    const image = new ImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const tinted = this.pane.get("overlays").mask !== false ? this.pane.masked(frame) : null;
    for (let row = 0; row < rows; row++) {
      const [from, to] = [row * columns, (rows - 1 - row) * columns];
      for (let x = 0; x < columns; x++) pixels[to + x] = table[codes[from + x]];
      if (tinted) for (let x = 0; x < columns; x++) if (tinted(from + x)) pixels[to + x] = tint(pixels[to + x]);
    }
    raster.getContext("2d").putImageData(image, 0, 0);
  }

  /** The part of the raster that is in view, one canvas pixel to each pixel of the screen. */
  show({ canvas, raster, plane }) {
    const { block } = this.pane.frames.cube;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [plane.box.width, plane.box.height].map((size) => Math.max(1, Math.round(size * ratio)));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const zoom = width / (plane.view[1] - plane.view[0]);
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = zoom * block < 1; // a larger image is averaged, a smaller one keeps its pixels sharp
    const [left, top] = [(-0.5 - plane.view[0]) * zoom, (plane.view[3] - (raster.height * block - 0.5)) * zoom];
    context.drawImage(raster, left, top, raster.width * block * zoom, raster.height * block * zoom);
  }

  // ---- lines and words

  drawOverlay() {
    const focused = this.layer.contains(document.activeElement)
      ? document.activeElement.getAttribute("data-key")
      : null;
    for (const layer of [this.layer, this.pointerLayer]) setSize(layer, this.width, this.root.clientHeight);
    this.layer.replaceChildren();
    this.panels.forEach((panel, i) => panel.plane && this.drawPanel(panel, i));
    this.drawBar();
    const again = focused && this.layer.querySelector(`[data-key="${CSS.escape(focused)}"]`);
    if (again) again.focus({ preventScroll: true });
  }

  drawPanel({ plane }, index) {
    const { pane } = this;
    this.drawAxes(plane, index);
    const { left, top, width, height } = plane.box;
    const inside = svg("svg", {
      x: left,
      y: top,
      width,
      height,
      viewBox: `${left} ${top} ${width} ${height}`,
      overflow: "hidden",
    });
    this.layer.append(inside);
    const sheet = new Sheet(plane, pane.sky, this.ink(), inside);
    const on = pane.get("overlays");
    const roomy = Math.min(width, height) >= 120;
    if (pane.get("compare") >= 0) this.nameFrame(sheet, pane.shown(index));
    if (on.regions !== false)
      pane.get("regions").forEach((region, i) => drawRegion(sheet, region, i, this.chosen === i));
    if (on.marks !== false) pane.get("marks").forEach((mark, i) => drawMark(sheet, mark, i));
    if (on.compass !== false && roomy) drawCompass(sheet);
    if (on.bar !== false && roomy) drawScaleBar(sheet);
    if (on.rings !== false) drawRings(sheet, pane.get("rings"));
    if (on.star !== false) drawStar(sheet);
    if (pane.get("cursor").length === 2) drawCross(sheet, pane.get("cursor"), false);
    if (this.sketch) this.drawSketch(sheet);
  }

  /** Colours that stand out where zero, or else the middle of the palette, is dark or bright. */
  ink() {
    const zero = new Stretch(this.pane.get("limits"), this.pane.get("stretch")).place(0);
    const level = Math.round((zero > 0 && zero < 1 ? zero : 0.5) * (LEVELS - 1));
    const [r, g, b] = this.table.palette.subarray(3 * level, 3 * level + 3);
    return r + g + b > 510
      ? { line: "#111111", mark: "#004c99", region: "#006b3c", halo: "#ffffff" }
      : { line: "#ffffff", mark: "#8fdcff", region: "#7dffb0", halo: "#000000" };
  }

  nameFrame(sheet, frame) {
    const { left, top, width } = sheet.plane.box;
    const name = this.pane.get("names")[frame];
    const whole = `${this.pane.get("name")} ${name}`;
    const text = textWidth(whole) < width - 16 ? whole : shortened(name, width - 16);
    const spot = { left: left + 6, top: top + 6, width: textWidth(text) + 4, height: ROW };
    sheet.taken.push(spot);
    sheet.words(text, spot);
  }

  drawSketch(sheet) {
    const { kind, points } = this.sketch;
    const places = (points || []).map((p) => sheet.plane.at(...p));
    if (kind === "stroke") {
      const width = 2 * this.sketch.radius * sheet.plane.zoom;
      const look = {
        fill: "none",
        stroke: sheet.ink.mark,
        "stroke-width": width,
        "stroke-opacity": 0.6,
        "stroke-linecap": "round",
        "stroke-linejoin": "round",
      };
      sheet.layer.append(svg("path", { d: path(places.length > 1 ? places : [places[0], places[0]]), ...look }));
      return;
    }
    const d = kind === "polygon" && this.sketch.open ? path(places) : regionPath(this.sketch, sheet);
    sheet.line(d, { color: sheet.ink.region, dash: "5 3" });
  }

  drawAxes({ box, view }, index) {
    const { words, toX, toY } = this.pane.sky.axes();
    const bottom = box.top + box.height;
    const x = axisTicks(toX(view[0]), toX(view[1]), box.width, (text) => textWidth(text, 11) + 14);
    const y = axisTicks(toY(view[2]), toY(view[3]), box.height, () => 32);
    const across = (value) => box.left + x.place(value) * box.width;
    const up = (value) => bottom - y.place(value) * box.height;
    const marks = [
      ...x.major.map((v) => `M${across(v)} ${bottom}v6`),
      ...x.minor.map((v) => `M${across(v)} ${bottom}v3`),
      ...y.major.map((v) => `M${box.left} ${up(v)}h-6`),
      ...y.minor.map((v) => `M${box.left} ${up(v)}h-3`),
    ];
    this.layer.append(
      svg("rect", { x: box.left, y: box.top, width: box.width, height: box.height, class: "ctp-line" }),
      svg("path", { d: marks.join(""), class: "ctp-line" }),
      ...x.major.map((v, i) => label(x.labels[i], across(v), bottom + 18, "middle")),
      label(`${words[0]} ${x.factor}`, box.left + box.width / 2, bottom + 34, "middle", 12),
    );
    if (index && this.beside) return; // the neighbour has the same axis
    const middle = box.top + box.height / 2;
    const turned = label(`${words[1]} ${y.factor}`, 13, middle, "middle", 12);
    turned.setAttribute("transform", `rotate(-90 13 ${middle})`);
    this.layer.append(turned, ...y.major.map((v, i) => label(y.labels[i], box.left - 9, up(v) + 4, "end")));
  }

  drawBar() {
    const { left, top, width, height } = this.bar;
    const ticks = colorTicks(this.scale, height);
    const at = (value) => top + height * (1 - this.scale.place(value));
    const edge = left + width;
    const unit = this.pane.get("unit");
    const words = Math.max(0, ...ticks.labels.map((text) => textWidth(text, 11)));
    this.layer.append(
      svg("rect", { x: left, y: top, width, height, class: "ctp-line" }),
      svg("path", { d: ticks.major.map((v) => `M${edge} ${at(v)}h4`).join(""), class: "ctp-line" }),
      ...ticks.major.map((v, i) => label(ticks.labels[i], edge + 7, at(v) + 4, "start")),
    );
    if (ticks.factor) this.layer.append(label(ticks.factor, left, top - 7, "start"));
    if (unit) {
      const [x, y] = [edge + words + 20, top + height / 2];
      const turned = label(shortened(unit, height), x, y, "middle", 12);
      turned.setAttribute("transform", `rotate(-90 ${x} ${y})`);
      this.layer.append(turned);
    }
    this.pane.get("limits").forEach((value, i) => this.drawHandle(value, i));
  }

  /** End of the colour bar that can be pulled; while it is, the bar keeps its values and the end moves on it. */
  drawHandle(value, index) {
    const { left, top, width, height } = this.bar;
    const place = this.frozen ? this.frozen.freePlace(value) : index;
    const y = clamp(top + height * (1 - place), 4, this.root.clientHeight - 4);
    const name = ["lower limit", "upper limit"][index];
    const spoken = {
      "aria-valuenow": value,
      "aria-valuetext": `${number(value)} ${this.pane.get("unit")}`,
      "aria-orientation": "vertical",
    };
    const grip = svg("g", {
      tabindex: 0,
      role: "slider",
      "aria-label": name,
      ...spoken,
      "data-key": `limit:${index}`,
      class: "ctp-end",
    });
    grip.append(svg("path", { d: `M${left} ${y}l-8 -5v10ZM${left} ${y}h${width}`, class: "ctp-knob" }));
    grip.append(svg("rect", { x: left - 10, y: y - 8, width: width + 12, height: 16, class: "ctp-grip" }));
    const title = svg("title");
    title.textContent = `${name}: pull to change`;
    grip.append(title);
    this.layer.append(grip);
  }

  // ---- the pointer

  /** What follows the pointer and the frame: read-out, the cross of a pointer in another pane. */
  follow() {
    const { pane, pointer } = this;
    const cursor = pane.get("cursor");
    const at = pointer || (cursor.length === 2 ? cursor : null);
    pane.readout.show(at, pane.shown(pointer ? pointer.panel || 0 : 0));
    this.pointerLayer.replaceChildren();
    if (!pointer) return;
    this.panels.forEach(({ plane }, i) => {
      if (!plane || (pointer.panel === i && !pointer.from)) return;
      const { left, top, width, height } = plane.box;
      const inside = svg("svg", { x: left, y: top, width, height, viewBox: `${left} ${top} ${width} ${height}` });
      this.pointerLayer.append(inside);
      drawCross(new Sheet(plane, pane.sky, this.ink(), inside), pointer, true);
    });
  }
}

/** Rectangle in the shape of another about a point, so many times smaller, that doesn't reach beyond it. */
function around(whole, [x, y], zoom) {
  const least = Math.min(whole[1] - whole[0], whole[3] - whole[2]);
  const times = clamp(zoom, 1, Math.max(1, least / LEAST_VIEW));
  const [width, height] = [(whole[1] - whole[0]) / times, (whole[3] - whole[2]) / times];
  const [left, bottom] = [
    clamp(x - width / 2, whole[0], whole[1] - width),
    clamp(y - height / 2, whole[2], whole[3] - height),
  ];
  return [left, left + width, bottom, bottom + height];
}

/** Ticks from one end to the other, which may be the smaller, as many as their labels leave room for. */
function axisTicks(start, stop, length, room) {
  const [low, high] = [Math.min(start, stop), Math.max(start, stop)];
  const most = Math.max(2, Math.floor(length / 32));
  const fits = ({ major, labels }) =>
    major.length < 2 || ((major[1] - major[0]) / (high - low)) * length >= Math.max(...labels.map(room));
  const ticks =
    range(most - 1)
      .map((i) => linearTicks(low, high, most - i))
      .find(fits) || linearTicks(low, high, 1);
  return { ...ticks, place: (value) => (value - start) / (stop - start) };
}

function label(text, x, y, anchor, size = 11) {
  const element = svg("text", { x, y, "text-anchor": anchor, "font-size": size, class: "ctp-label" });
  element.textContent = text.trim();
  return element;
}

function shortened(text, room) {
  if (textWidth(text) <= room) return text;
  let shown = text;
  while (shown && textWidth(`${shown}\u2026`) > room) shown = shown.slice(0, -1);
  return `${shown}\u2026`;
}

function place({ style }, { left, top, width, height }) {
  Object.assign(style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
}

function setSize(layer, width, height) {
  layer.setAttribute("width", width);
  layer.setAttribute("height", height);
}

/** A colour half way to the colour of masks; no data too, so that a masked pixel without data shows. */
function tint(color) {
  const channel = (shift, to) => (((color >>> shift) & 0xff) + to) >> 1;
  return ((255 << 24) | (channel(16, 140) << 16) | (channel(8, 220) << 8) | channel(0, 0)) >>> 0;
}

// ------------------------------------------------------------------------------------------------ mouse and keyboard

/** What the user does with mouse, fingers and keys on the figure. */
class Hands {
  constructor(pane, figure) {
    Object.assign(this, { pane, figure, fingers: new Map(), action: null, armed: false });
    const { signal } = pane.stop;
    const on = (name, action, extra = {}) => figure.root.addEventListener(name, action, { signal, ...extra });
    on("pointerdown", (event) => this.press(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.release(event));
    on("pointercancel", (event) => this.release(event));
    on("pointerleave", () => this.leave());
    on("dblclick", (event) => this.doubleClick(event));
    on("wheel", (event) => this.wheel(event), { passive: false });
    on("keydown", (event) => this.key(event));
  }

  /** Place of an event in the figure, the panel there, and the pixel of its image. */
  where(event, panel = null) {
    const { left, top } = this.figure.root.getBoundingClientRect();
    const spot = [event.clientX - left, event.clientY - top];
    const inside = panel || this.figure.panelAt(...spot);
    return { spot, panel: inside, pixel: inside ? inside.plane.pixel(...spot) : null };
  }

  // ---- pressing, pulling, letting go

  press(event) {
    if (event.button !== 0) return;
    this.fingers.set(event.pointerId, event);
    if (this.fingers.size === 2) {
      if (this.figure.sketch && !this.figure.sketch.open) this.sketch(null); // the first finger was not to draw
      this.figure.frozen = null;
      this.action = this.pinch();
      return;
    }
    const key = event.target.closest("[data-key]");
    const { panel, pixel, spot } = this.where(event);
    const start = { panel, pixel, spot };
    this.action = key ? this.grab(key.getAttribute("data-key"), start) : panel && this.onImage(start, event);
    if (!this.action) return;
    this.figure.root.setPointerCapture(event.pointerId);
    (key || panel.spot).focus({ preventScroll: true });
    event.preventDefault(); // no selection of text on the way
  }

  move(event) {
    if (event.movementX || event.movementY) this.armed = true;
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, event);
    const { action } = this;
    const { panel, pixel, spot } = this.where(event, action && action.start.panel);
    this.pointAt(pixel && [clampTo(pixel, this.pane.sky.whole), this.figure.panels.indexOf(panel)]);
    if (!action) return;
    const far = Math.hypot(spot[0] - action.start.spot[0], spot[1] - action.start.spot[1]);
    action.far = action.far || far > 3;
    if (action.far && action.pull) action.pull(pixel, spot);
  }

  release(event) {
    this.fingers.delete(event.pointerId);
    const { action } = this;
    this.action = null;
    if (!action) return;
    const { pixel, spot } = this.where(event, action.start.panel);
    if (action.far && action.done) action.done(pixel, spot);
    if (!action.far && action.click) action.click(action.start.pixel);
    this.figure.refresh();
  }

  leave() {
    this.armed = false;
    this.pointAt(null);
  }

  /** The pointer is over a pixel: told to the read-out, the panes of the group and the page. */
  pointAt(at) {
    const pointer = at ? Object.assign([...at[0]], { panel: at[1] }) : null;
    this.figure.pointer = pointer;
    this.figure.refresh(false);
    for (const { figure } of this.pane.others()) {
      figure.pointer = pointer && Object.assign([...pointer], { panel: 0, from: this });
      figure.refresh(false);
    }
    const { sky } = this.pane;
    const detail = pointer && { x: pointer[0], y: pointer[1], sep: sky.radius(...pointer) * sky.perPixel };
    this.pane.root.dispatchEvent(new CustomEvent("corontools:pointer", { detail, bubbles: true }));
  }

  // ---- on the image itself

  onImage(start, event) {
    const tool = this.pane.get("tool");
    this.figure.chosen = null;
    if (tool === "paint") return this.paint(start);
    if (tool === "polygon")
      return { start, click: (pixel) => this.addCorner(pixel, event), pull: (...at) => this.sketchTo(...at) };
    if (tool !== "look") return this.draw(tool, start);
    return this.pan(start);
  }

  pan(start) {
    const { view } = this.figure;
    const { zoom } = start.panel.plane;
    const pull = (_, [left, top]) => {
      const [dx, dy] = [(start.spot[0] - left) / zoom, (top - start.spot[1]) / zoom];
      this.look([view[0] + dx, view[1] + dx, view[2] + dy, view[3] + dy]);
    };
    const click = ([x, y]) => this.choosePoint(x, y);
    return { start, pull, click };
  }

  draw(kind, start) {
    const made = (to) => ({ kind, ...REGIONS[kind].made(start.pixel, to, this.pane.sky) });
    const step = (this.figure.view[1] - this.figure.view[0]) / 16;
    const pull = (pixel) => this.sketch(made(pixel));
    const done = (pixel) => this.addRegion(made(pixel));
    return { start, pull, done, click: ([x, y]) => done([x + step, y + step]) };
  }

  sketch(region) {
    this.figure.sketch = region;
    this.figure.refresh();
  }

  addCorner(pixel, event) {
    const { sketch } = this.figure;
    const points = sketch && sketch.kind === "polygon" ? sketch.points : [];
    const { plane } = this.where(event).panel;
    const close = points.length > 2 && Math.hypot(points[0][0] - pixel[0], points[0][1] - pixel[1]) * plane.zoom < 8;
    if (close) this.closePolygon();
    else this.sketch({ kind: "polygon", open: true, points: [...points, pixel] });
  }

  /** A pull instead of clicks draws the outline by hand. */
  sketchTo(pixel) {
    const { sketch } = this.figure;
    const points = sketch ? sketch.points : [];
    const last = points[points.length - 1];
    const step = (this.figure.view[1] - this.figure.view[0]) / 80;
    if (!last || Math.hypot(last[0] - pixel[0], last[1] - pixel[1]) > step)
      this.sketch({ kind: "polygon", open: true, points: [...points, pixel] });
  }

  closePolygon() {
    const { sketch } = this.figure;
    if (sketch && sketch.kind === "polygon" && sketch.points.length > 2)
      this.addRegion({ kind: "polygon", points: sketch.points });
  }

  addRegion(region) {
    const { pane } = this;
    const known = pane.get("regions");
    const ids = new Set(known.map(({ id }) => id));
    let n = known.length + 1;
    while (ids.has(`region-${n}`)) n += 1;
    this.figure.sketch = null;
    this.figure.chosen = known.length;
    pane.publish("regions", [
      ...known,
      { id: `region-${n}`, name: "", locked: false, visible: true, done: true, ...region },
    ]);
    pane.publish("tool", "look");
  }

  paint(start) {
    const { pane } = this;
    const stroke = { kind: "stroke", points: [start.pixel], radius: Math.max(0.5, Number(pane.brush.value) || 1) };
    this.sketch(stroke);
    const send = () => {
      const [frame, erase] = [pane.get("frame"), pane.eraser.checked];
      pane.kernel.post({ type: "paint", frame, erase, radius: stroke.radius, points: stroke.points });
    };
    const pull = (pixel) => {
      stroke.points.push(pixel);
      this.sketch(stroke);
    };
    return { start, pull, done: send, click: send };
  }

  choosePoint(x, y) {
    const rounded = clampTo([x, y], this.pane.sky.whole).map((v) => Math.round(v * 100) / 100);
    this.pane.publish("cursor", rounded);
    this.pane.readout.say(rounded, this.pane.shown(0));
  }

  // ---- what lies over it

  grab(key, start) {
    const [kind, index, name] = key.split(":");
    const i = Number(index);
    if (kind === "limit") return this.pullLimit(i, start);
    if (kind === "mark")
      return this.pullItem("marks", i, start, (mark, [dx, dy]) => ({ ...mark, x: mark.x + dx, y: mark.y + dy }));
    this.figure.chosen = i;
    const { sky } = this.pane;
    const region = this.pane.get("regions")[i];
    if (kind === "region" && !isFixed(region))
      return this.pullItem("regions", i, start, (from, [dx, dy]) => moved(withCenter(from, sky), dx, dy));
    const handle = kind === "region" ? shapeOf(region).nearest(region, start.pixel, sky) : name;
    const pulled = (from, _, pixel) => shapeOf(from).pull(from, handle, pixel, sky);
    return this.pullItem("regions", i, start, pulled);
  }

  /** Pull a mark or a region; `done` of it is false until it is let go. */
  pullItem(trait, index, start, changed) {
    const from = this.pane.get(trait)[index];
    const put = (pixel, done) => {
      const by = [pixel[0] - start.pixel[0], pixel[1] - start.pixel[1]];
      this.replace(trait, index, { ...changed(from, by, pixel), done });
    };
    const click = ([x, y]) => trait === "marks" && this.choosePoint(from.x ?? x, from.y ?? y);
    return start.panel && { start, pull: (pixel) => put(pixel, false), done: (pixel) => put(pixel, true), click };
  }

  replace(trait, index, item) {
    this.pane.publish(
      trait,
      this.pane.get(trait).map((known, i) => (i === index ? item : known)),
    );
  }

  pullLimit(index, start) {
    const { figure } = this;
    figure.frozen = figure.scale;
    const pull = (_, [, top]) => {
      const { bar, frozen } = figure;
      this.setLimit(index, frozen.value(clamp(1 - (top - bar.top) / bar.height, -1, 2)));
    };
    const done = () => {
      figure.frozen = null;
    };
    return { start, pull, done, click: done };
  }

  /** The limits stay in order, a hundredth of their distance apart at least. */
  setLimit(index, value) {
    const limits = [...this.pane.get("limits")];
    const least = 0.01 * (limits[1] - limits[0]);
    limits[index] = index ? Math.max(value, limits[0] + least) : Math.min(value, limits[1] - least);
    this.pane.publish("limits", limits);
  }

  // ---- zoom

  look(view) {
    const { whole } = this.pane.sky;
    const zoom = (whole[1] - whole[0]) / (view[1] - view[0]);
    const inside = around(whole, [(view[0] + view[1]) / 2, (view[2] + view[3]) / 2], zoom);
    this.pane.publish("view", zoom <= 1.001 ? [] : inside.map((v) => Math.round(v * 1000) / 1000));
  }

  /** The pixel (x, y) stays where it is. */
  zoomAt(factor, [x, y]) {
    const { whole } = this.pane.sky;
    const [x0, x1, y0, y1] = this.figure.view;
    const most = Math.min(whole[1] - whole[0], whole[3] - whole[2]) / LEAST_VIEW;
    const now = (whole[1] - whole[0]) / (x1 - x0);
    const times = clamp(factor * now, 1, Math.max(1, most)) / now;
    this.look([x - (x - x0) / times, x + (x1 - x) / times, y - (y - y0) / times, y + (y1 - y) / times]);
  }

  wheel(event) {
    const { panel, pixel } = this.where(event);
    // A page that scrolls past under a resting pointer goes on scrolling; so it does at the whole image.
    const out = event.deltaY > 0 && !this.pane.get("view").length;
    if (!panel || ((!this.armed || out) && !event.ctrlKey)) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 20 : 1;
    this.zoomAt(Math.exp(-clamp(event.deltaY * lines, -200, 200) * (event.ctrlKey ? 0.01 : 0.002)), pixel);
  }

  pinch() {
    const [a, b] = [...this.fingers.values()];
    const at = this.where({ clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 });
    if (!at.panel) return null;
    const apart = () => {
      const [p, q] = [...this.fingers.values()];
      return q ? Math.hypot(p.clientX - q.clientX, p.clientY - q.clientY) : 0;
    };
    let before = apart();
    const pull = () => {
      const now = apart();
      if (now && before) this.zoomAt(now / before, at.pixel);
      before = now || before;
    };
    return { start: at, far: true, pull };
  }

  doubleClick(event) {
    if (this.pane.get("tool") === "polygon") this.closePolygon();
    else if (this.where(event).panel && !event.target.closest("[data-key]")) this.pane.publish("view", []);
  }

  // ---- keys

  key(event) {
    if (event.ctrlKey || event.metaKey) return;
    const target = event.target.closest("[data-key]");
    const handled = target ? this.keyOnThing(event, target.getAttribute("data-key")) : this.keyOnImage(event);
    if (handled) event.preventDefault();
  }

  keyOnThing(event, key) {
    const [kind, index] = key.split(":");
    const by = arrow(event);
    const i = Number(index);
    if (kind === "limit" && by) {
      const { scale } = this.figure;
      this.setLimit(i, scale.value(i + 0.02 * (by[1] || by[0])));
      return true;
    }
    if (kind === "region" && ["Delete", "Backspace"].includes(event.key)) return this.removeRegion(i);
    if (kind === "region" && event.key === "Enter") return this.chooseRegion(i);
    if (!by) return this.keyOnImage(event);
    const item = this.pane.get(`${kind}s`)[i];
    const there =
      kind === "mark"
        ? { ...item, x: item.x + by[0], y: item.y + by[1] }
        : isFixed(item)
          ? shapeOf(item).grown(item, ...by)
          : moved(withCenter(item, this.pane.sky), ...by);
    this.replace(`${kind}s`, i, { ...there, done: true });
    return true;
  }

  keyOnImage(event) {
    const by = arrow(event);
    const [x, y] = this.pane.get("cursor").length ? this.pane.get("cursor") : this.pane.sky.origin;
    if (by) {
      this.choosePoint(x + by[0], y + by[1]);
      return true;
    }
    const { pane } = this;
    const actions = {
      "+": () => this.zoomAt(1.25, [x, y]),
      "=": () => this.zoomAt(1.25, [x, y]),
      "-": () => this.zoomAt(0.8, [x, y]),
      0: () => pane.publish("view", []),
      "[": () => pane.step(-1),
      "]": () => pane.step(1),
      b: () => pane.toggleBlink(),
      Enter: () => this.enter([x, y]),
      Escape: () => this.cancel(),
      Delete: () => this.removeRegion(this.figure.chosen),
      Backspace: () => this.removeRegion(this.figure.chosen),
    };
    if (!actions[event.key]) return false;
    actions[event.key]();
    return true;
  }

  /** Close a polygon, or draw a region of the chosen tool at the chosen point. */
  enter(pixel) {
    const tool = this.pane.get("tool");
    if (this.figure.sketch) this.closePolygon();
    else if (REGIONS[tool]) this.draw(tool, { pixel }).click(pixel);
  }

  cancel() {
    this.figure.sketch = null;
    this.figure.chosen = null;
    this.pane.publish("tool", "look");
    this.figure.refresh();
  }

  chooseRegion(index) {
    this.figure.chosen = index;
    this.figure.refresh();
    return true;
  }

  removeRegion(index) {
    const regions = this.pane.get("regions");
    if (index === null || !regions[index] || regions[index].locked || isFixed(regions[index])) return false;
    this.figure.chosen = null;
    this.pane.publish(
      "regions",
      regions.filter((_, i) => i !== index),
    );
    return true;
  }
}

/** Step of an arrow key, px; ten times as far with Shift. */
function arrow({ key, shiftKey }) {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  return steps[key] && steps[key].map((step) => step * (shiftKey ? 10 : 1));
}

const clampTo = ([x, y], [x0, x1, y0, y1]) => [clamp(x, x0, x1), clamp(y, y0, y1)];
const withCenter = (region, sky) =>
  region.kind === "annulus" ? { ...region, x: region.x ?? sky.origin[0], y: region.y ?? sky.origin[1] } : region;

// ---------------------------------------------------------------------------------------------------------- the pane

/** Panes of one group, in this browser tab; each widget gets a module of its own, so they meet on globalThis. */
const groups = (globalThis[Symbol.for("corontools.image_pane.groups")] ||= new Map());

class Pane {
  constructor(model, el) {
    Object.assign(this, {
      model,
      el,
      stop: new AbortController(),
      listening: [],
      flip: false,
      mask: null,
      noise: null,
    });
    this.kernel = new Kernel(model, (silent) => this.tellSilence(silent));
    this.frames = new Frames(model, this.kernel, (fresh, index) => this.arrived(fresh, index));
    this.sky = new Sky(this.get("_sky"));
    this.figure = new Figure(this);
    this.readout = new Readout(this);
    this.build();
    this.hands = new Hands(this, this.figure);
    this.listen();
    this.takeNoise();
    this.takeMask();
    this.compareChanged();
    this.takeCube();
  }

  get(name) {
    return this.model.get(name);
  }

  /** A choice of the user: known to the browser at once, to Python as fast as messages may follow each other. */
  publish(name, value) {
    if (same(this.get(name), value)) return;
    this.model.set(name, value);
    this.save(name === "frame" ? LEAD_EVERY : SAVE_EVERY); // the browser has the frames; what else moves, Python draws
    this.kernel.ping();
  }

  save(every) {
    if (this.saving) return;
    const wait = every - (Date.now() - (this.saved || 0));
    const now = () => {
      this.saving = 0;
      this.saved = Date.now();
      this.kernel.save();
    };
    // Not before the next frame is painted: the pixels come first.
    this.saving = setTimeout(now, Math.max(0, wait));
  }

  // ---- parts of the page

  build() {
    this.root = html("div", { class: "ctp" });
    this.title = html("span", { class: "ctp-title" });
    this.status = html("span", { class: "ctp-status", role: "status" });
    this.note = html("div", { class: "ctp-note", role: "status" });
    this.silence = html("div", { class: "ctp-note ctp-silence", role: "status" });
    this.silence.hidden = true;
    const head = html("div", { class: "ctp-head" }, this.title, this.status);
    this.root.append(head, this.frameControls(), this.lookControls(), this.figure.root, this.readout.root);
    this.root.append(this.readout.said, this.note, this.silence);
    this.el.append(this.root);
    this.followWords();
  }

  frameControls() {
    const step = (by) => () => this.step(by);
    const chosen = () => this.publish("frame", Number(this.slider.value));
    this.slider = html("input", { type: "range", min: 0, step: 1, class: "ctp-slider", oninput: chosen });
    this.slider.addEventListener("keydown", (event) => this.sliderKey(event));
    this.sliderName = html("label", { class: "ctp-name" });
    this.shownName = html("output", { class: "ctp-shown" });
    this.player = button("\u25b6\ufe0e", "play", () => this.play());
    const previous = button("\u2039", "previous frame", step(-1));
    const next = button("\u203a", "next frame", step(1));
    this.frameRow = html(
      "div",
      { class: "ctp-row ctp-frames" },
      this.sliderName,
      previous,
      this.slider,
      next,
      this.shownName,
      this.player,
    );
    return this.frameRow;
  }

  lookControls() {
    const setter = (name) => (value) => this.publish(name, value);
    this.stretch = choice("stretch", STRETCHES, setter("stretch"));
    this.colors = choice("colours", this.get("_palette_names"), (value) => this.chooseColors(value));
    this.limits = choice("limits", ["as set", "automatic", ...Object.keys(PERCENTILES)], (value) =>
      this.chooseLimits(value),
    );
    this.limitBoxes = ["lower limit", "upper limit"].map((name) => this.limitBox(name));
    this.compare = choice("compare with", ["\u2013"], (_, index) => this.publish("compare", index - 1));
    this.blinker = button("blink", "blink: show the two frames in turn", () => this.toggleBlink());
    this.tool = choice("mouse", [], (_, index) => this.publish("tool", this.offeredTools()[index]));
    this.brush = html("input", { type: "number", min: 0.5, step: 0.5, value: 2, class: "ctp-box" });
    this.eraser = html("input", { type: "checkbox" });
    this.painting = html(
      "span",
      {},
      html("label", {}, "brush (px) ", this.brush),
      html("label", {}, this.eraser, " erase"),
    );
    const whole = button("whole image", "show the whole image", () => this.publish("view", []));
    this.wholeButton = whole;
    this.compareRow = html("span", { class: "ctp-item" }, this.compare.label, this.blinker);
    const items = [
      this.stretch.label,
      this.colors.label,
      html("span", { class: "ctp-item" }, this.limits.label, ...this.limitBoxes),
      this.compareRow,
      this.tool.label,
      this.painting,
    ];
    return html("div", { class: "ctp-row" }, ...items, this.overlayMenu(), whole);
  }

  /** Box for a limit; Enter or leaving it applies what was typed. */
  limitBox(name) {
    const box = html("input", { type: "number", step: "any", class: "ctp-box ctp-limit", "aria-label": name });
    box.title = `${name}; Enter applies it`;
    box.addEventListener("change", () => this.typedLimits());
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.typedLimits();
      if (event.key === "Escape") this.followLimits();
    });
    return box;
  }

  /** What was typed, where it is two numbers in order; else the boxes show the limits as they are. */
  typedLimits() {
    const typed = this.limitBoxes.map((box) => box.value.trim());
    if (same(typed, this.shownLimits)) return;
    const before = this.get("limits");
    // the box that was left alone may show fewer digits than its limit has
    const read = (text) => (text === "" ? NaN : Number(text));
    const limits = typed.map((text, i) => (text === this.shownLimits[i] ? before[i] : read(text)));
    if (limits.every(Number.isFinite) && limits[0] < limits[1]) this.publish("limits", limits);
    else this.readout.said.textContent = "the limits should be two numbers, the lower one first";
    this.followLimits();
  }

  followLimits() {
    this.shownLimits = this.get("limits").map(typeable);
    this.limitBoxes.forEach((box, i) => (box.value = this.shownLimits[i]));
  }

  overlayMenu() {
    this.boxes = {};
    const lines = Object.keys(OVERLAY_NAMES).map((name) => {
      const change = () => this.publish("overlays", { ...this.get("overlays"), [name]: this.boxes[name].checked });
      this.boxes[name] = html("input", { type: "checkbox", onchange: change });
      return html("label", {}, this.boxes[name], html("span", { text: OVERLAY_NAMES[name] }));
    });
    this.maskName = lines[lines.length - 1].lastChild;
    return html("details", { class: "ctp-menu" }, html("summary", { text: "overlays" }), html("div", {}, ...lines));
  }

  // ---- what changes, and what follows

  listen() {
    const follow = (names, action) => names.split(" ").forEach((name) => this.on(`change:${name}`, action));
    follow("frame", () => this.frameChanged());
    follow("stretch limits colors rings overlays marks regions cursor view", () => this.refresh());
    follow("compare blink", () => this.compareChanged());
    follow("names name title unit tool tools", () => this.followWords());
    follow("status", () => this.followStatus());
    follow("_cube", () => this.takeCube());
    follow("_sky", () => this.takeSky());
    follow("_noise _noise_of", () => this.takeNoise());
    follow("_mask _mask_of", () => this.takeMask());
    follow("view cursor", () => this.share());
    follow("view", () => this.followView());
    follow("stretch colors limits automatic", () => this.followLook());
    follow("overlays", () => this.followOverlays());
    follow("group", () => this.joinGroup());
    this.on("msg:custom", (message, buffers) => this.hear(message, buffers));
    this.on("comm_live_update", () => this.kernel.ping());
    this.joinGroup();
    const { signal } = this.stop;
    // Keys pressed here are no commands to the notebook, which asks for this of the very element that has the focus.
    const keep = (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true");
    this.root.addEventListener("focusin", keep, { signal });
    this.root.addEventListener("keydown", (event) => event.stopPropagation(), { signal });
    window.addEventListener("resize", () => this.refresh(), { signal }); // the zoom of the page
    this.sizes = new ResizeObserver(() => this.refresh());
    this.sizes.observe(this.root);
  }

  refresh(overlay = true) {
    this.figure.refresh(overlay);
  }

  /** What follows the frame in the browser is drawn after it, and not each time while it is dragged. */
  lead() {
    const shown = this.get("shown");
    if (this.leading || !shown.length || same(shown, [this.get("frame")])) return;
    const now = () => {
      this.leading = 0;
      this.led = Date.now();
      this.model.set("shown", [this.get("frame")]);
      this.kernel.save(); // at once: an echo of the one before would bring that back
    };
    this.leading = setTimeout(now, Math.max(0, LEAD_EVERY - (Date.now() - (this.led || 0))));
  }

  /** Value of a pixel in a frame; NaN where there is none. */
  value(x, y, frame) {
    const { block, shape } = this.frames.cube;
    const [column, row] = [x, y].map((v) => Math.floor(Math.round(v) / block));
    const known = column >= 0 && row >= 0 && column < shape[2] && row < shape[1];
    return known ? this.frames.value(frame, column, row) : NaN;
  }

  /** Function that tells whether a pixel of a frame is masked, by its index; null where there is no mask. */
  masked(frame) {
    if (!this.mask) return null;
    const { shape } = this.frames.cube;
    const start = this.mask.each ? frame * shape[1] * shape[2] : 0;
    return (index) => (this.mask.bits[(start + index) >> 3] >> ((start + index) & 7)) & 1;
  }

  /** Frame that a panel shows. */
  shown(panel) {
    const [frame, compare] = [this.get("frame"), this.get("compare")];
    const wanted = panel === 1 || (this.flip && compare >= 0) ? compare : frame;
    if (!this.frames.get(wanted)) this.frames.want(wanted);
    return this.frames.nearest(wanted);
  }

  /** Frames side by side: two, or one where nothing is compared or the two take turns. */
  sides() {
    return this.get("compare") >= 0 && !this.get("blink") ? 2 : 1;
  }

  close() {
    this.stop.abort();
    this.sizes.disconnect();
    this.kernel.stop();
    clearTimeout(this.frames.timer);
    clearTimeout(this.saving);
    clearTimeout(this.leading);
    clearInterval(this.blinking);
    clearInterval(this.playing);
    this.figure.close();
    this.leaveGroup();
    for (const [name, callback] of this.listening) this.model.off(name, callback);
    this.root.remove();
  }

  on(name, callback) {
    this.listening.push([name, callback]);
    this.model.on(name, callback);
  }

  hear(message, buffers) {
    this.kernel.hear();
    if (message.type === "frames" || message.type === "frame") this.frames.receive(message, buffers);
    if (message.type === "painted") this.takeMask(); // the stroke goes, even where it has not changed the mask
  }

  arrived(fresh, index) {
    if (fresh) {
      this.root.dataset.ready = "true";
      this.followWords();
    }
    this.note.textContent = this.frames.cube ? this.frames.cube.note : "";
    if (fresh || index !== undefined) this.figure.forget(); // else it is one of those that were missing
    this.refresh(fresh);
  }

  frameChanged() {
    this.figure.sketch = null;
    this.flip = false;
    this.followFrame();
    this.refresh(false);
  }

  compareChanged() {
    clearInterval(this.blinking);
    this.flip = false;
    const [blink, compare] = [this.get("blink"), this.get("compare")];
    if (blink && compare >= 0) this.blinking = setInterval(() => this.turn(), 500);
    this.blinker.setAttribute("aria-pressed", String(blink));
    this.compare.select.selectedIndex = compare + 1;
    this.refresh();
  }

  turn() {
    this.flip = !this.flip;
    this.refresh();
  }

  async takeCube() {
    try {
      await this.frames.reset();
    } catch (error) {
      this.note.textContent = `The image can't be read by this browser: ${error.message}`;
    }
  }

  async takeMask() {
    const packed = this.get("_mask");
    const bits = bytesOf(packed).length ? await inflate(packed) : null;
    if (packed !== this.get("_mask")) return; // another one has come meanwhile
    this.mask = bits && { bits, ...this.get("_mask_of") };
    this.figure.sketch = null;
    this.figure.forget();
    this.followWords();
  }

  takeNoise() {
    const { n_ring: n, limit_name: limitName } = this.get("_noise_of") || {};
    const numbers = floatsOf(this.get("_noise"));
    const rows = (numbers.length / n - 1) / (limitName ? 2 : 1);
    const row = (i) => numbers.subarray((1 + i) * n, (2 + i) * n);
    this.noise = n ? { radius: numbers.subarray(0, n), limitName, noise: row, limit: (i) => row(rows + i) } : null;
    this.readout.followWords();
    this.refresh();
  }

  takeSky() {
    this.sky = new Sky(this.get("_sky"));
    this.refresh();
  }

  tellSilence(silent) {
    this.silence.hidden = !silent;
    this.silence.textContent = silent
      ? "The kernel does not answer: it is busy, or was restarted. What has been loaded works without it; after a restart run the cell again."
      : "";
  }

  // ---- groups

  joinGroup() {
    this.leaveGroup();
    const name = this.get("group");
    if (!name) return;
    if (!groups.has(name)) groups.set(name, new Set());
    this.peers = groups.get(name).add(this);
    this.groupName = name;
  }

  leaveGroup() {
    if (!this.peers) return;
    this.peers.delete(this);
    if (!this.peers.size) groups.delete(this.groupName);
    this.peers = null;
  }

  others() {
    return [...(this.peers || [])].filter((pane) => pane !== this);
  }

  share() {
    for (const pane of this.others()) {
      pane.publish("view", this.get("view"));
      pane.publish("cursor", this.get("cursor"));
    }
  }

  // ---- words and controls

  followWords() {
    const names = this.get("names") || [];
    this.title.textContent = this.title.title = this.get("title");
    this.title.hidden = !this.get("title");
    this.sliderName.textContent = this.sliderName.title = this.get("name");
    this.slider.setAttribute("aria-label", this.get("name") || "frame");
    this.slider.max = String(Math.max(0, names.length - 1));
    this.frameRow.hidden = this.compareRow.hidden = names.length < 2;
    this.shownName.style.minWidth = `${Math.min(24, Math.max(0, ...names.map((name) => name.length)))}ch`;
    fill(this.compare.select, ["\u2013", ...names]);
    this.compare.select.selectedIndex = this.get("compare") + 1;
    this.readout.followWords();
    this.followStatus();
    this.boxes.mask.parentNode.hidden = !this.mask;
    this.maskName.textContent = this.mask ? this.mask.name : "";
    this.followTool();
    this.followLook();
    this.followOverlays();
    this.followView();
    this.followFrame();
    this.refresh();
  }

  followStatus() {
    this.status.textContent = this.get("status");
  }

  offeredTools() {
    const tools = this.get("tools") || [];
    const known = (name) => name in TOOL_NAMES && !(name === "paint" && this.kernel.alone); // Python fills the mask
    return ["look", ...tools.filter((name) => name !== "look" && known(name))];
  }

  followTool() {
    const tools = this.offeredTools();
    fill(
      this.tool.select,
      tools.map((name) => TOOL_NAMES[name]),
    );
    this.tool.select.selectedIndex = Math.max(0, tools.indexOf(this.get("tool")));
    this.tool.label.hidden = tools.length < 2;
    this.painting.hidden = this.get("tool") !== "paint";
    this.figure.root.dataset.tool = this.get("tool");
    this.figure.sketch = null;
  }

  followLook() {
    this.stretch.select.value = this.get("stretch");
    this.colors.select.value = this.get("colors");
    const { name, limits } = this.chosenLimits || {};
    const now = this.get("limits");
    const given = same(this.get("automatic"), now) ? "automatic" : "as set";
    this.limits.select.value = same(limits, now) ? name : given;
    this.followLimits();
  }

  followOverlays() {
    for (const [name, box] of Object.entries(this.boxes)) box.checked = this.get("overlays")[name] !== false;
  }

  followView() {
    this.wholeButton.disabled = !this.get("view").length;
  }

  followFrame() {
    const frame = this.get("frame");
    const name = (this.get("names") || [])[frame] || "";
    this.slider.value = String(frame);
    this.slider.setAttribute("aria-valuetext", name);
    this.shownName.textContent = this.shownName.title = name;
    const label = [this.get("title") || "image", this.get("name"), name].filter(Boolean).join(", ");
    const keys = "Arrow keys move the chosen point, plus and minus zoom, brackets change the frame, b blinks.";
    for (const { spot } of this.figure.panels) spot.setAttribute("aria-label", `${label}. ${keys}`);
  }

  step(by) {
    const n = (this.get("names") || []).length;
    this.publish("frame", clamp(this.get("frame") + by, 0, n - 1));
  }

  /** Keys of the slider; a notebook that has no use for an arrow may still keep it from the browser. */
  sliderKey(event) {
    const all = Number(this.slider.max);
    const ten = Math.max(1, Math.round(all / 10));
    const steps = {
      ArrowLeft: -1,
      ArrowDown: -1,
      ArrowRight: 1,
      ArrowUp: 1,
      PageDown: -ten,
      PageUp: ten,
      Home: -all,
      End: all,
    };
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.step(steps[event.key]);
  }

  play() {
    const n = (this.get("names") || []).length;
    clearInterval(this.playing);
    this.playing = this.playing ? 0 : setInterval(() => this.publish("frame", (this.get("frame") + 1) % n), 250);
    this.player.textContent = this.playing ? "\u2016" : "\u25b6\ufe0e";
    this.player.setAttribute("aria-label", this.playing ? "stop" : "play");
  }

  toggleBlink() {
    if (this.get("compare") < 0) {
      const frame = this.get("frame");
      this.publish("compare", frame > 0 ? frame - 1 : Math.min(1, this.get("names").length - 1));
    }
    this.publish("blink", !this.get("blink"));
  }

  chooseLimits(name) {
    const counted = this.frames.cube ? this.frames.histogram(this.shown(0)) : [];
    if (!counted.length || name === "as set") return;
    const tail = (100 - (PERCENTILES[name] || 100)) / 200;
    const symmetric = this.get("colors") === DIVERGING;
    let limits =
      name === "automatic"
        ? automaticLimits(counted, symmetric)
        : [quantile(counted, tail), quantile(counted, 1 - tail)];
    if (!(limits[0] < limits[1])) limits = [limits[0] - 0.5, limits[0] + 0.5];
    this.chosenLimits = { name, limits };
    this.publish("limits", limits);
    this.followLook();
  }

  /** Zero is in the middle of a diverging palette, so its limits are others. */
  chooseColors(name) {
    const before = this.get("colors");
    this.publish("colors", name);
    if ((before === DIVERGING) !== (name === DIVERGING)) this.chooseLimits("automatic");
  }
}

/** Button with a name for those who can't see its sign. */
function button(sign, label, onclick) {
  return html("button", { type: "button", text: sign, "aria-label": label, title: label, onclick });
}

/** Drop-down list with its label. */
function choice(name, options, chosen) {
  const select = html("select", { "aria-label": name, onchange: () => chosen(select.value, select.selectedIndex) });
  fill(select, options);
  return { select, label: html("label", { class: "ctp-item" }, html("span", { text: name }), select) };
}

/** Options of a drop-down list, which are left alone where they are the same: an open list would close. */
function fill(select, names) {
  if (
    same(
      [...select.options].map((option) => option.textContent),
      names,
    )
  )
    return;
  const index = select.selectedIndex;
  select.replaceChildren(...names.map((name) => html("option", { text: name })));
  select.selectedIndex = Math.max(0, Math.min(index, names.length - 1));
}

function render({ model, el }) {
  const pane = new Pane(model, el);
  return () => pane.close();
}

export default { render };
