// Thumbnails of a stack: a click or the arrow keys choose one, its box or the space bar ticks it.
// Captions come from headers: they are set as text, never as markup.

const SHOWN = ["chosen", "kept", "flagged", "label"];

/** Make an element with attributes and children. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** One frame: picture, box and captions. */
function frame(model, index, url, actions) {
  const picture = make("div", { class: "ct-strip-picture" });
  picture.style.backgroundImage = `url(${url})`;
  picture.style.backgroundPosition = `${-64 * index}px 0`;
  const item = make("div", { role: "option", tabindex: -1, class: "ct-strip-item" }, picture);
  if (model.get("tickable")) {
    const box = make("input", { type: "checkbox", tabindex: -1, "aria-hidden": "true" });
    box.addEventListener("click", (event) => event.stopPropagation());
    box.addEventListener("change", () => actions.tick(index));
    item.prepend(box);
  }
  item.addEventListener("click", () => actions.choose(index));
  return item;
}

/** Put the captions under a frame, in place of those that are there. */
function caption(item, texts) {
  const lines = texts.map((text) => {
    const line = make("span");
    line.textContent = text;
    line.title = text;
    return line;
  });
  for (const old of item.querySelectorAll("span")) old.remove();
  item.append(...lines);
}

function render({ model, el }) {
  const url = URL.createObjectURL(new Blob([model.get("_sprite")], { type: "image/png" }));
  const list = make("div", { role: "listbox", "aria-multiselectable": "true", class: "ct-strip" });
  const words = make("div", { class: "ct-strip-words", "aria-live": "polite" });
  const count = model.get("captions").length;

  const choose = (index, focus = true) => {
    model.set("chosen", Math.max(0, Math.min(count - 1, index)));
    model.save_changes();
    if (focus) items[model.get("chosen")].focus({ preventScroll: false });
  };
  const tick = (index) => {
    const kept = [...model.get("kept")];
    kept[index] = !kept[index];
    model.set("kept", kept);
    model.save_changes();
  };
  const items = Array.from({ length: count }, (_, index) => frame(model, index, url, { choose, tick }));
  list.append(...items);

  const name = () => {
    const captions = model.get("captions");
    items.forEach((item, index) => caption(item, captions[index] || []));
  };

  const show = () => {
    const [chosen, kept, flagged] = ["chosen", "kept", "flagged"].map((name) => model.get(name));
    items.forEach((item, index) => {
      item.setAttribute("aria-selected", String(kept[index]));
      item.setAttribute("tabindex", index === chosen ? "0" : "-1");
      item.classList.toggle("ct-chosen", index === chosen);
      item.classList.toggle("ct-left-out", !kept[index]);
      item.classList.toggle("ct-flagged", flagged.includes(index));
      item.setAttribute("aria-description", flagged.includes(index) ? "doubtful" : "");
      const box = item.querySelector("input");
      if (box) box.checked = kept[index];
    });
    const ticked = kept.filter(Boolean).length;
    words.textContent = model.get("tickable") ? `${ticked} of ${count} ${model.get("label")} used` : "";
    list.setAttribute("aria-label", model.get("label"));
  };

  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1, Home: -count, End: count };
  list.addEventListener("keydown", (event) => {
    const chosen = model.get("chosen");
    if (event.key in steps) choose(chosen + steps[event.key]);
    else if (event.key === " " && model.get("tickable")) tick(chosen);
    else return;
    // the notebook has meanings of its own for these keys
    event.preventDefault();
    event.stopPropagation();
  });

  for (const trait of SHOWN) model.on(`change:${trait}`, show);
  model.on("change:captions", name);
  name();
  show();
  el.append(words, list);
  return () => {
    for (const trait of SHOWN) model.off(`change:${trait}`, show);
    model.off("change:captions", name);
    list.remove(); // first: a picture that isn't drawn yet would still ask for the address
    words.remove();
    URL.revokeObjectURL(url);
  };
}

export default { render };
