// Curves beside an image: one curve for each of its frames (`family`), one value for each frame (`trend`), or curves
// of their own, side by side (`several`).
//
// SVG without dependencies. Words that come with the data are only ever put in as text, never as markup.
// A `host` tells what is shown and takes the user's choice: {frame(), compare(), choose(index),
// visit(x, pane), names, name}.

import { axis, drawAxes, drawGrid, html, layOut, path, reach, span, svg, usable } from "./axes.js";
import { number, raised } from "./ticks.js";

const SERIES = 7; // colours in the style sheet

// ---- what both kinds of panes share: heading, drawing that follows the width, switches of the axes ----

class Pane {
  constructor(el, spec, host) {
    Object.assign(this, { spec, host, log: { x: Boolean(spec.log_x), y: Boolean(spec.log_y) }, plan: null });
    this.root = html("section", "ct-curves", el);
    const head = html("div", "ct-head", this.root);
    html("h2", "ct-title", head, raised(spec.title || spec.y_label || ""));
    this.front = html("span", "ct-front", head);
    this.other = html("span", "ct-other", head);
    this.switches = html("span", "ct-switches", head);
    this.svg = svg("svg", { class: "ct-plot", "data-kind": spec.kind, tabindex: 0, role: "slider" }, this.root);
    this.note = html("div", "ct-note", this.root);
    this.listen();
    this.sizes = new ResizeObserver(() => this.draw());
    this.sizes.observe(this.root);
  }

  listen() {
    this.svg.addEventListener("pointermove", (event) => {
      if (this.plan) this.point(this.place(event), event.buttons === 1);
    });
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.svg.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.key(event.key)) return;
      event.preventDefault();
      event.stopPropagation(); // a notebook has other uses for these keys
    });
  }

  // A button for each axis that can be logarithmic.
  offerLog(which, values) {
    if (!values.some((v) => v > 0)) return;
    const button = html("button", "ct-switch", this.switches, `log ${which}`);
    button.type = "button";
    button.setAttribute("aria-pressed", this.log[which]);
    button.setAttribute("aria-label", `logarithmic ${which} axis`);
    button.addEventListener("click", () => {
      this.log[which] = !this.log[which];
      button.setAttribute("aria-pressed", this.log[which]);
      this.plan = null;
      this.draw();
    });
  }

  // x and y of an event in SVG pixels.
  place(event) {
    const frame = this.svg.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  draw() {
    const width = Math.round(this.root.clientWidth);
    if (width < 60 || (this.plan && this.plan.width === width)) return;
    const height = Math.round(Math.min(340, Math.max(210, 0.58 * width)));
    this.plan = layOut(width, height, ...this.axes());
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    this.svg.replaceChildren();
    drawGrid(this.svg, this.plan);
    const { left, top, width: w, height: h } = this.plan.box;
    // A nested svg clips without an id, which would clash where several figures share a page.
    const view = { x: left, y: top, width: w, height: h, viewBox: `${left} ${top} ${w} ${h}`, overflow: "hidden" };
    this.data = svg("svg", view, this.svg);
    drawAxes(this.svg, this.plan, this.spec.x_label || "", this.spec.y_label || "");
    this.over = svg("g", {}, this.svg);
    this.fill();
    this.update();
  }

  say(text) {
    this.note.textContent = raised(text);
  }

  // For screen readers a plot is a slider: along the curve in front, or over the frames.
  slider(label, now, last, text) {
    const words = { label, valuemin: 0, valuenow: now, valuemax: last, valuetext: raised(text) };
    for (const [name, value] of Object.entries(words)) this.svg.setAttribute(`aria-${name}`, value);
  }

  // Vertical line at x; whether that is in view.
  ruled(x) {
    const { left, top, width, height } = this.plan.box;
    const place = x === null ? NaN : this.plan.px(x);
    const inside = place >= left && place <= left + width;
    this.rule.setAttribute("d", inside ? `M${place.toFixed(1)} ${top}v${height}` : "");
    return inside;
  }

  close() {
    this.sizes.disconnect();
    this.root.remove();
  }
}

const nameOf = (host, index) => [host.name, host.names[index]].filter(Boolean).join(" ");

function nearest(values, wanted, allowed) {
  let best = -1;
  values.forEach((v, i) => {
    if (allowed(i) && (best < 0 || Math.abs(v - wanted) < Math.abs(values[best] - wanted))) best = i;
  });
  return best;
}

// ---- one curve for each frame, that of the frame shown in front ----

class Family extends Pane {
  constructor(el, spec, host) {
    super(el, spec, host);
    this.curves = spec.y.map((y, i) => ({ x: Array.isArray(spec.x[0]) ? spec.x[i] : spec.x, y }));
    this.cursor = null; // x of the vertical line
    this.offerLog("x", this.curves.flatMap((c) => c.x));
    this.offerLog("y", this.curves.flatMap((c) => c.y));
    this.svg.setAttribute("aria-roledescription", "curve");
  }

  axes() {
    const x = span(this.curves.flatMap(({ x, y }) => x.filter((_, i) => usable(this.log.y)(y[i]))), this.log.x, 0.02);
    return [axis(x, this.log.x), axis(span(this.curves.flatMap((c) => c.y), this.log.y, 0.05), this.log.y)];
  }

  fill() {
    this.paths = this.curves.map((c) => path(c.x, c.y, this.plan));
    this.family = svg("path", { class: "ct-family", d: this.paths.join("") }, this.data);
    this.second = svg("path", { class: "ct-second" }, this.data);
    this.halo = svg("path", { class: "ct-halo" }, this.data);
    this.line = svg("path", { class: "ct-line" }, this.data);
    this.rule = svg("path", { class: "ct-rule" }, this.over);
    this.dot = svg("circle", { class: "ct-dot", r: 4 }, this.over);
  }

  update() {
    if (!this.plan) return;
    const index = this.host.frame();
    const shown = this.paths[index] || "";
    this.line.setAttribute("d", shown);
    this.halo.setAttribute("d", shown);
    const compare = this.host.compare();
    this.second.setAttribute("d", this.paths[compare] || "");
    this.other.textContent = this.paths[compare] ? `compared with ${this.host.names[compare]}` : "";
    this.front.textContent = nameOf(this.host, index) + (shown ? "" : ": no values");
    this.at(this.cursor);
  }

  describe(index) {
    const { title, x_label: x, y_label: y } = this.spec;
    const head = raised(`${title || y}: ${y} against ${x}, ${this.curves.length} curves. `);
    const known = this.known(index);
    if (!known.length) return `${head}No values for ${nameOf(this.host, index)}.`;
    const curve = this.curves[index];
    const [a, b] = [known[0], known[known.length - 1]];
    const end = (i) => `${number(curve.y[i], 3)} at ${number(curve.x[i], 3)}`;
    return head + raised(`In front ${nameOf(this.host, index)}: from ${end(a)} to ${end(b)}.`);
  }

  known(index) {
    const curve = this.curves[index];
    if (!curve) return [];
    return curve.y.map((_, i) => i).filter((i) => usable(this.log.y)(curve.y[i]) && usable(this.log.x)(curve.x[i]));
  }

  // Vertical line at x, dot and read-out at the nearest value of the curve in front; null takes them away.
  at(x) {
    this.cursor = x;
    if (!this.plan) return;
    const index = this.host.frame();
    const curve = this.curves[index];
    const known = this.known(index);
    const inside = this.ruled(x);
    const found = inside && known.length ? known[nearest(known.map((i) => curve.x[i]), x, () => true)] : -1;
    this.dot.setAttribute("visibility", found < 0 ? "hidden" : "visible");
    if (found >= 0) {
      this.dot.setAttribute("cx", this.plan.px(curve.x[found]));
      this.dot.setAttribute("cy", this.plan.py(curve.y[found]));
    }
    const nothing = x === null ? "" : `${number(x)} ${this.spec.x_unit || ""}: no value`;
    this.say(found < 0 ? nothing : this.value(curve.x[found], curve.y[found], index));
    this.slider(this.describe(index), Math.max(0, known.indexOf(found)), known.length - 1, this.note.textContent);
  }

  value(x, y, index) {
    const { x_name: across = "", x_unit: xu = "", y_name: up = "", y_unit: yu = "" } = this.spec;
    const text = `${across} ${number(x)}${xu && !"″°".includes(xu) ? " " : ""}${xu}: ${up} ${number(y, 3)} ${yu}`;
    return `${text} (${nameOf(this.host, index)})`.replace(/ +/g, " ").trim();
  }

  // Where the pointer is, for an image that the curves are linked to.
  tell(x) {
    if (this.spec.linked) this.host.visit(x, this);
  }

  point([across]) {
    const { left, width } = this.plan.box;
    if (across < left || across > left + width) return this.leave();
    const x = this.plan.back(across);
    this.at(x);
    return this.tell(x);
  }

  leave() {
    this.at(null);
    this.tell(null);
  }

  key(name) {
    const known = this.known(this.host.frame());
    const curve = this.curves[this.host.frame()];
    if (name === "[" || name === "]") return this.step(name === "[" ? -1 : 1);
    if (!known.length || !["ArrowLeft", "ArrowRight", "Home", "End", "Escape"].includes(name)) return false;
    if (name === "Escape") return this.leave() || true;
    const here = this.cursor === null ? 0 : nearest(known.map((i) => curve.x[i]), this.cursor, () => true);
    const last = known.length - 1;
    const move = { ArrowLeft: here - 1, ArrowRight: here + (this.cursor === null ? 0 : 1), Home: 0, End: last }[name];
    this.at(curve.x[known[Math.min(last, Math.max(0, move))]]);
    this.tell(this.cursor);
    return true;
  }

  step(by) {
    this.host.choose(Math.min(this.curves.length - 1, Math.max(0, this.host.frame() + by)));
    return true;
  }
}

// ---- one value for each frame, such as S/N against the number of modes; a click chooses the frame ----

class Trend extends Pane {
  constructor(el, spec, host) {
    super(el, spec, host);
    this.offerLog("y", spec.lines.flatMap((line) => line.y));
    this.legend = html("div", "ct-legend", null);
    this.root.insertBefore(this.legend, this.note);
    this.entries = spec.lines.map((line, i) => this.entry(line, i));
    this.say(spec.hint || "");
    this.svg.addEventListener("pointerdown", (event) => this.press(event));
  }

  entry(line, index) {
    const item = html("span", `ct-entry ct-s${index % SERIES}`, this.legend);
    html("span", "ct-swatch", item);
    html("span", "", item, line.name);
    return html("b", "ct-value", item);
  }

  axes() {
    const all = this.spec.lines.flatMap((line) => line.y);
    const levels = (this.spec.levels || []).filter(usable(this.log.y));
    const whole = this.spec.x.every(Number.isInteger);
    const up = span([...all, ...levels], this.log.y, 0.08);
    return [axis(span(this.spec.x, false, 0.03), false, whole), axis(up, this.log.y)];
  }

  fill() {
    const { px, py, box } = this.plan;
    for (const level of this.spec.levels || []) {
      svg("path", { class: "ct-level", d: `M${box.left} ${py(level)}h${box.width}` }, this.data);
    }
    this.rule = svg("path", { class: "ct-rule ct-now" }, this.data);
    this.ghost = svg("path", { class: "ct-rule" }, this.data);
    const { x, lines } = this.spec;
    const dot = (a, b) => (Number.isFinite(b) ? `M${a.toFixed(1)} ${b.toFixed(1)}h.01` : "");
    lines.forEach((line, i) => {
      const beads = x.map((place, k) => dot(px(place), py(line.y[k]))).join("");
      svg("path", { class: `ct-line ct-s${i % SERIES}`, d: path(x, line.y, this.plan) }, this.data);
      svg("path", { class: `ct-beads ct-s${i % SERIES}`, d: beads }, this.data);
    });
    this.dots = lines.map((_, i) => svg("circle", { class: `ct-dot ct-s${i % SERIES}`, r: 5 }, this.over));
  }

  update() {
    if (!this.plan) return;
    const index = this.host.frame();
    const { px, py, box } = this.plan;
    const { x, lines } = this.spec;
    this.rule.setAttribute("d", index in x ? `M${px(x[index]).toFixed(1)} ${box.top}v${box.height}` : "");
    lines.forEach((line, i) => {
      const known = usable(this.log.y)(line.y[index]);
      this.dots[i].setAttribute("visibility", known ? "visible" : "hidden");
      if (known) this.dots[i].setAttribute("cx", px(x[index]));
      if (known) this.dots[i].setAttribute("cy", py(line.y[index]));
      this.entries[i].textContent = raised(number(line.y[index], 3));
    });
    this.front.textContent = nameOf(this.host, index);
    const label = raised(`${this.spec.title || this.spec.y_label}, against ${this.spec.x_label}`);
    this.slider(label, index, x.length - 1, this.values(index));
  }

  values(index) {
    const values = this.spec.lines.map((line) => `${line.name} ${number(line.y[index], 3)}`);
    return `${nameOf(this.host, index)}: ${values.join(", ")}`;
  }

  choice([across]) {
    return nearest(this.spec.x, this.plan.back(across), () => true);
  }

  press(event) {
    if (!this.plan || event.button) return;
    event.preventDefault();
    this.svg.focus({ preventScroll: true });
    this.svg.setPointerCapture(event.pointerId);
    this.host.choose(this.choice(this.place(event)));
  }

  point(place, held) {
    const index = this.choice(place);
    const { px, box } = this.plan;
    this.ghost.setAttribute("d", `M${px(this.spec.x[index]).toFixed(1)} ${box.top}v${box.height}`);
    this.say(this.values(index));
    if (held && index !== this.host.frame()) this.host.choose(index);
  }

  leave() {
    if (this.ghost) this.ghost.setAttribute("d", "");
    this.say(this.spec.hint || "");
  }

  at() {}

  key(name) {
    const last = this.spec.x.length - 1;
    const here = this.host.frame();
    const down = { ArrowLeft: here - 1, ArrowDown: here - 1, "[": here - 1, PageDown: here - 5, Home: 0 };
    const up = { ArrowRight: here + 1, ArrowUp: here + 1, "]": here + 1, PageUp: here + 5, End: last };
    const wanted = { ...down, ...up }[name];
    if (wanted === undefined) return false;
    this.host.choose(Math.min(last, Math.max(0, wanted)));
    return true;
  }
}

// ---- curves of their own, each with a colour, which the legend shows and hides ----

class Several extends Pane {
  constructor(el, spec, host) {
    super(el, spec, host);
    this.hidden = new Set();
    this.cursor = null;
    this.offerLog("x", spec.lines.flatMap((line) => line.x));
    if (!spec.down_y) this.offerLog("y", spec.lines.flatMap((line) => line.y)); // magnitudes are logarithms
    this.legend = html("div", "ct-legend", null);
    this.root.insertBefore(this.legend, this.note);
    this.entries = spec.lines.map((line, i) => this.entry(line, i));
    this.svg.setAttribute("aria-roledescription", "curves");
  }

  entry(line, index) {
    const item = html("button", `ct-entry ct-s${index % SERIES} ct-d${Math.floor(index / SERIES) % 3}`, this.legend);
    item.type = "button";
    item.setAttribute("aria-pressed", true);
    html("span", "ct-swatch", item);
    html("span", "", item, line.name);
    item.addEventListener("click", () => {
      if (!this.hidden.delete(index)) this.hidden.add(index);
      item.setAttribute("aria-pressed", !this.hidden.has(index));
      this.plan = null;
      this.draw();
    });
    return html("b", "ct-value", item);
  }

  shown() {
    return this.spec.lines.map((line, i) => ({ ...line, i })).filter(({ i }) => !this.hidden.has(i));
  }

  axes() {
    const lines = this.shown();
    const x = lines.flatMap((line) => line.x.filter((_, i) => usable(this.log.y)(line.y[i])));
    const y = lines.flatMap((line) => line.y);
    const { x_limits: across, y_limits: up, down_x: left, down_y: down } = this.spec;
    return [
      axis(reach(across, x, this.log.x, 0.02), this.log.x, false, left),
      axis(reach(up, y, this.log.y, 0.05), this.log.y, false, down),
    ];
  }

  fill() {
    for (const { x, y, i } of this.shown()) {
      const dash = Math.floor(i / SERIES) % 3;
      svg("path", { class: `ct-line ct-s${i % SERIES} ct-d${dash}`, d: path(x, y, this.plan) }, this.data);
    }
    this.rule = svg("path", { class: "ct-rule" }, this.over);
    this.dots = this.entries.map((_, i) => svg("circle", { class: `ct-dot ct-s${i % SERIES}`, r: 4 }, this.over));
  }

  update() {
    this.at(this.cursor);
  }

  describe() {
    const { title, x_label: x, y_label: y, lines } = this.spec;
    const ends = lines.map((line) => {
      const known = line.y.map((_, i) => i).filter((i) => line.y[i] !== null && line.x[i] !== null);
      const end = (i) => `${number(line.y[i], 3)} at ${number(line.x[i], 3)}`;
      return `${line.name}: ${known.length ? `from ${end(known[0])} to ${end(known[known.length - 1])}` : "no values"}`;
    });
    return raised(`${title || y}: ${y} against ${x}. ${ends.join("; ")}.`);
  }

  // Vertical line at x, and the value of each curve nearest to it in the legend.
  at(x) {
    this.cursor = x;
    if (!this.plan) return;
    const inside = this.ruled(x);
    const found = this.spec.lines.map((line, i) => (inside && !this.hidden.has(i) ? this.valueAt(line, x) : -1));
    found.forEach((k, i) => this.mark(this.spec.lines[i], i, k));
    this.say(inside ? `${this.spec.x_name} ${number(x)} ${this.spec.x_unit}` : "");
    const values = found.map((k, i) => [this.spec.lines[i], k]).filter(([, k]) => k >= 0);
    const text = values.map(([line, k]) => `${line.name} ${number(line.y[k], 3)}`).join(", ");
    const stops = this.stops();
    this.slider(this.describe(), nearest(stops, x, () => true), stops.length - 1, `${this.note.textContent}: ${text}`);
  }

  mark(line, index, found) {
    this.entries[index].textContent = found < 0 ? "" : raised(number(line.y[found], 3));
    this.dots[index].setAttribute("visibility", found < 0 ? "hidden" : "visible");
    if (found < 0) return;
    this.dots[index].setAttribute("cx", this.plan.px(line.x[found]));
    this.dots[index].setAttribute("cy", this.plan.py(line.y[found]));
  }

  // Index of the value nearest to x, where the curve reaches so far; else -1.
  valueAt(line, x) {
    const known = (i) => usable(this.log.y)(line.y[i]) && usable(this.log.x)(line.x[i]);
    const found = nearest(line.x, x, known);
    if (found < 0) return -1;
    const near = Math.abs(this.plan.px(line.x[found]) - this.plan.px(x)) <= 12;
    const between = line.x.some((v, i) => known(i) && i !== found && (v - x) * (line.x[found] - x) <= 0);
    return near || between ? found : -1;
  }

  // Where the arrow keys stop: wherever any curve has a value.
  stops() {
    const known = ({ y }) => (v, i) => Number.isFinite(this.plan.px(v)) && Number.isFinite(this.plan.py(y[i]));
    const all = this.shown().flatMap((line) => line.x.filter(known(line)));
    return [...new Set(all)].sort((a, b) => a - b);
  }

  point([across]) {
    const { left, width } = this.plan.box;
    if (across < left || across > left + width) return this.leave();
    return this.at(this.plan.back(across));
  }

  leave() {
    this.at(null);
  }

  key(name) {
    const all = this.stops();
    if (!all.length || !["ArrowLeft", "ArrowRight", "Home", "End", "Escape"].includes(name)) return false;
    if (name === "Escape") return this.leave() || true;
    const here = this.cursor === null ? -1 : nearest(all, this.cursor, () => true);
    const last = all.length - 1;
    const move = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last }[name];
    this.at(all[Math.min(last, Math.max(0, move))]);
    return true;
  }
}

const KINDS = { family: Family, trend: Trend, several: Several };

export function curvePane(el, spec, host) {
  const pane = new KINDS[spec.kind](el, spec, host);
  pane.draw(); // the first paint isn't blank
  return pane;
}
