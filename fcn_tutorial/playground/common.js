// What all scripts share: they start once, and are given the element, its data and some tools.
function (key, start) {
  "use strict";
  const figure = document.getElementById(key);
  if (!figure || figure.dataset.running) return;
  figure.dataset.running = "yes";
  const data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
  const make = (name, attributes = {}, ...inside) => {
    const element = Object.assign(document.createElement(name), attributes);
    element.append(...inside);
    return element;
  };
  const canvas = (width, height, label) =>
    make("canvas", {width, height, role: "img", ariaLabel: label});
  const row = (...inside) => make("div", {className: "controls"}, ...inside);
  const named = (name, control) => make("label", {}, name, control);
  const range = (name, min, max, value, changed, step = 1) => {
    const control = make("input", {type: "range", min, max, step, value}), shown = make("b", {textContent: value});
    control.oninput = () => { shown.textContent = control.value; changed(); };
    control.onkeydown = event => event.stopPropagation();
    return {control, get value() { return +control.value; }, label: make("label", {}, name, control, shown)};
  };
  const choice = (options, changed) => {  // [[value, text], …]
    return make("select", {onchange: changed}, ...options.map(([value, text]) => make("option", {value}, text)));
  };
  const said = make("output");
  said.setAttribute("aria-live", "polite");
  // Which cell of a canvas a pointer is on.
  const place = (canvas, event) => {
    const box = canvas.getBoundingClientRect();
    const at = (value, size) => Math.min(Math.max(Math.floor(value * size), 0), size - 1);
    return {
      x: at((event.clientX - box.left) / box.width, canvas.width),
      y: at((event.clientY - box.top) / box.height, canvas.height),
    };
  };
  const hold = (canvas, event) => {  // of what keys send there is no pointer to hold
    if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
  };
  // A canvas whose own events a finger sends: over the others it moves the page.
  const drag = canvas => { canvas.style.touchAction = "none"; };
  // What a pointer does on a canvas, with keys: arrows move a mark over it by `step` pixels, with
  // Shift by one; Space or Enter presses there. Only while `when()` holds.
  const mark = make("i", {className: "fcn-mark", hidden: true});
  const keys = (canvas, step = () => Math.max(1, Math.round(canvas.width / 32)), when = () => true) => {
    let at = null;
    canvas.tabIndex = 0;
    const send = type => {
      const box = canvas.getBoundingClientRect(), all = figure.getBoundingClientRect(), by = step();
      const wide = box.width / canvas.width, high = box.height / canvas.height;
      Object.assign(mark.style, {
        left: `${box.left - all.left + Math.floor(at.x / by) * by * wide}px`, width: `${by * wide}px`,
        top: `${box.top - all.top + Math.floor(at.y / by) * by * high}px`, height: `${by * high}px`,
      });
      mark.hidden = false;
      canvas.dispatchEvent(new PointerEvent(type, {
        clientX: box.left + (at.x + 0.5) * wide, clientY: box.top + (at.y + 0.5) * high,
      }));
    };
    canvas.addEventListener("keydown", event => {
      const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
      if (!when() || !way && event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      event.stopPropagation();
      const by = event.shiftKey ? 1 : step(), last = {x: canvas.width - 1, y: canvas.height - 1};
      at = at || {x: last.x / 2 | 0, y: last.y / 2 | 0};
      const moved = (value, most, n) => Math.min(Math.max(value + by * n, 0), most);
      at = {x: moved(Math.min(at.x, last.x), last.x, way ? way[0] : 0), y: moved(Math.min(at.y, last.y), last.y, way ? way[1] : 0)};
      if (way) send("pointermove");
      else ["pointerdown", "pointerup"].forEach(send);
    });
    canvas.addEventListener("blur", () => { mark.hidden = true; });
  };
  const legend = (classes, palette) => row(...classes.map((name, k) => {
    const chip = make("i");
    chip.style.background = `rgb(${palette[k]})`;
    return make("span", {}, chip, name);
  }));
  figure.append(make("style", {textContent: `
    .fcn-playground{margin:1em 0;color:inherit;position:relative}
    .fcn-playground .fcn-mark{position:absolute;margin:0;border:0;outline:2px solid #fff;box-shadow:0 0 0 4px #000;pointer-events:none}
    .fcn-playground [hidden]{display:none}
    .fcn-playground .both{display:flex;flex-wrap:wrap;gap:.5em;align-items:flex-start}
    .fcn-playground canvas{flex:1 1 14em;width:14em;max-width:100%;image-rendering:pixelated;
      cursor:crosshair;border-radius:4px;outline:1px solid #8888}
    .fcn-playground canvas.wide{display:block;width:100%}
    .fcn-playground .scroll{overflow-x:auto}
    .fcn-playground canvas:focus-visible{outline:2px solid currentColor}
    .fcn-playground .controls{display:flex;flex-wrap:wrap;gap:.2em 1em;align-items:center;margin:.4em 0}
    .fcn-playground label,.fcn-playground button{min-height:32px;max-width:100%;display:inline-flex;flex-wrap:wrap;align-items:center;gap:.35em}
    .fcn-playground select,.fcn-playground input[type=file]{max-width:100%;min-width:0}
    .fcn-playground input[type=number]{width:4em;min-height:32px}
    .fcn-playground .kernel{display:grid;grid-template-columns:repeat(3,4.2em);gap:.2em}
    .fcn-playground table.counts td,.fcn-playground table.counts th{padding:.1em .4em;text-align:right}
    .fcn-playground i{display:inline-block;width:1em;height:1em;margin-right:.3em;vertical-align:-.1em;border:1px solid}
    .fcn-playground output{display:block;min-height:3em;font-variant-numeric:tabular-nums}`}));
  figure.ready = Promise.resolve(start({
    figure, data, make, canvas, row, named, range, choice, said, place, legend, hold, drag, keys,
  })).then(() => {
    figure.querySelector(".still").style.display = "none";
    figure.append(mark);
  });
}
