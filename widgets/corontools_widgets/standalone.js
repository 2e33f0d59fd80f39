// The page without a kernel: a stand-in for the notebook's model, and what joins the image and the curves.
// `standalone.page` puts the modules before this script.

import { curvePane } from "./curve_pane.js";
import imagePane from "./image_pane.js";
import { number, raised } from "./ticks.js";

// What a widget's JavaScript asks of its model; frames that the kernel would send come out of the page.
class PageModel {
  constructor({ state, buffers, frames }) {
    this.state = { ...state };
    for (const [name, text] of Object.entries(buffers || {})) this.state[name] = bytes(text);
    this.frames = frames || [];
    this.listeners = new Map();
  }

  get(name) {
    return this.state[name];
  }

  set(name, value) {
    if (typeof name === "object") return Object.entries(name).forEach(([key, item]) => this.set(key, item));
    if (JSON.stringify(this.state[name]) === JSON.stringify(value)) return undefined;
    this.state[name] = value;
    return this.emit(`change:${name}`, this, value) || this.emit("change", this);
  }

  save_changes() {}

  on(names, callback) {
    for (const name of names.split(" ")) this.listeners.set(name, [...(this.listeners.get(name) || []), callback]);
  }

  off(names, callback) {
    for (const name of names ? names.split(" ") : [...this.listeners.keys()]) {
      const kept = callback ? (this.listeners.get(name) || []).filter((known) => known !== callback) : [];
      this.listeners.set(name, kept);
    }
  }

  emit(name, ...values) {
    for (const callback of this.listeners.get(name) || []) callback(...values);
  }

  send(message) {
    if (message.type !== "need") return;
    const known = message.frames.filter((index) => index in this.frames);
    const reply = { type: "frames", serial: message.serial, frames: known };
    setTimeout(() => this.emit("msg:custom", reply, known.map((index) => bytes(this.frames[index]))), 0);
  }
}

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%:()*+-;,=.?@^_`{|}~";
const VALUES = new Uint8Array(128);
[...DIGITS].forEach((digit, i) => (VALUES[digit.charCodeAt(0)] = i));

// Five digits of base 85 are four bytes; at the end n + 1 digits are n bytes.
function bytes(text) {
  const size = Math.floor((text.length * 4) / 5);
  const view = new DataView(new ArrayBuffer(4 * Math.ceil(text.length / 5)));
  for (let from = 0, to = 0; from < text.length; from += 5, to += 4) {
    let word = 0;
    for (let i = from; i < from + 5; i++) word = 85 * word + (i < text.length ? VALUES[text.charCodeAt(i)] : 84);
    view.setUint32(to, word);
  }
  return new DataView(view.buffer.slice(0, size));
}

// ---- the parts of the page ----

const part = (id) => document.getElementById(id);

function hostOf(model) {
  return {
    names: model.get("names") || [],
    name: model.get("name") || "",
    frame: () => model.get("frame") || 0,
    compare: () => (model.get("compare") === undefined ? -1 : model.get("compare")),
    choose: (index) => {
      model.set("frame", index);
      model.save_changes();
    },
    visit: () => {},
  };
}

// The words of the frame shown, or the last.
const of = (words, host) => words[Math.min(host.frame(), words.length - 1)];

// A slider for a page of curves alone; beside an image the slider is the image's.
function chooser(model, host, el) {
  const label = document.createElement("label");
  const slider = document.createElement("input");
  const shown = document.createElement("output");
  Object.assign(slider, { type: "range", min: 0, max: Math.max(0, host.names.length - 1), step: 1 });
  label.append(host.name || "curve", slider, shown);
  const follow = () => {
    slider.value = host.frame();
    shown.textContent = host.names[host.frame()] || "";
    slider.setAttribute("aria-valuetext", shown.textContent);
  };
  slider.addEventListener("input", () => host.choose(Number(slider.value)));
  model.on("change:frame", follow);
  follow();
  el.append(label);
  el.hidden = host.names.length < 2;
}

// The code that gives what is shown, with a button that copies it.
function codeLine(model, host, codes) {
  const [box, button, said] = [part("ct-code-text"), part("ct-copy"), part("ct-copied")];
  if (!box) return;
  const follow = () => {
    box.textContent = of(codes, host);
    said.textContent = "";
  };
  const select = () => {
    const range = document.createRange();
    range.selectNodeContents(box);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  };
  button.addEventListener("click", async () => {
    let copied = true;
    try {
      await navigator.clipboard.writeText(box.textContent);
    } catch {
      select(); // where the browser keeps its clipboard from pages, the older way or the user's own Ctrl-C
      copied = document.execCommand("copy");
    }
    said.textContent = copied ? "copied" : "selected: copy with Ctrl-C";
  });
  button.hidden = false;
  model.on("change:frame", follow);
  follow();
}

// The picture in words, where there are some for each frame.
function frameWords(model, host, words) {
  const box = part("ct-words");
  if (!box || !words.length) return;
  const follow = () => {
    box.textContent = of(words, host);
  };
  model.on("change:frame", follow);
  follow();
}

// The numbers of the curve in front, for those who can't see it; written when unfolded.
function table(model, host, spec, fold) {
  const row = (cells, tag) => {
    const line = document.createElement("tr");
    for (const cell of cells) line.append(Object.assign(document.createElement(tag), { textContent: raised(cell) }));
    return line;
  };
  const body = document.createElement("table");
  const fill = () => {
    if (!fold.open) return;
    const index = host.frame();
    const x = Array.isArray(spec.x[0]) ? spec.x[index] : spec.x;
    const caption = document.createElement("caption");
    caption.textContent = [host.name, host.names[index]].filter(Boolean).join(" ");
    const known = x.map((value, i) => [value, spec.y[index][i]]).filter(([, y]) => y !== null);
    const lines = known.map(([a, b]) => row([number(a), number(b)], "td"));
    body.replaceChildren(caption, row([spec.x_label, spec.y_label], "th"), ...lines);
  };
  fold.append(body);
  fold.addEventListener("toggle", fill);
  model.on("change:frame", fill);
}

// ---- the link between image and curves: a separation from the star ----

const PIXELS = /^(px|pix|pixels?)$/;

// Separation of a pixel in the unit of a curve.
function separation(sky, [x, y], unit) {
  const pixels = Math.hypot(x - sky.origin[0], y - sky.origin[1]);
  return sky.pixel_scale && !PIXELS.test(unit) ? pixels * sky.pixel_scale : pixels;
}

// The pointer on the image, or else the point chosen there, shows in the curves; one on a curve is a ring in the image.
function joinImage(model, el, shown) {
  const sky = model.get("_sky");
  const linked = () => shown.filter((pane) => pane.spec.linked);
  const show = (point) => linked().forEach((pane) => pane.at(point ? separation(sky, point, pane.spec.x_unit) : null));
  const chosen = () => (model.get("cursor").length === 2 ? model.get("cursor") : null);
  model.on("change:cursor", () => show(chosen()));
  el.addEventListener("corontools:pointer", ({ detail }) => show(detail ? [detail.x, detail.y] : chosen()));
  imagePane.render({ model, el });
  const rings = model.get("rings");
  return (x, from) => {
    const { x_unit: unit } = from.spec;
    model.set("rings", x === null ? rings : [sky.pixel_scale && PIXELS.test(unit) ? x * sky.pixel_scale : x]);
    if (x === null) show(chosen());
    else linked().filter((pane) => pane !== from && pane.spec.x_unit === unit).forEach((pane) => pane.at(x));
  };
}

function start() {
  const data = JSON.parse(part("ct-data").textContent);
  const model = new PageModel(data.pane);
  const shown = [];
  const host = hostOf(model);
  if (data.image) {
    host.visit = joinImage(model, part("ct-image"), shown);
  } else {
    chooser(model, host, part("ct-image"));
  }
  for (const spec of data.curves) shown.push(curvePane(part("ct-curves"), spec, host));
  model.on("change:frame", () => shown.forEach((pane) => pane.update()));
  model.on("change:compare", () => shown.forEach((pane) => pane.update()));
  codeLine(model, host, data.code);
  frameWords(model, host, data.words);
  for (const fold of document.querySelectorAll("details[data-curve]")) {
    table(model, host, data.curves[fold.dataset.curve], fold);
  }
}
