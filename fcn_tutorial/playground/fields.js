({figure, data, make, row, range, said}) => {
  const names = ["kernel", "stride", "padding", "dilation"], MOST = 16;

  // Numbers here are whole or halves; twice their value is kept, so that they stay exact.
  // What each output of the layers so far is: the pixels it looks at, from one to the next, the
  // middle of output 0 (in pixels, the first being 0), and how many outputs `size` pixels give.
  function follow(layers, size) {
    let field = 1, step = 1, centre2 = 0, outputs = size;
    return layers.map(([k, s, p, d]) => {
      const extent = d * (k - 1) + 1;
      centre2 += step * (extent - 1 - 2 * p);
      field += step * (extent - 1);
      outputs = outputs > 0 && outputs + 2 * p >= extent ? Math.floor((outputs + 2 * p - extent) / s) + 1 : 0;
      step *= s;
      return {field, step, centre2, outputs};
    });
  }
  figure.follow = follow;

  let layers = data.layers.map(layer => [...layer]);
  const size = range("pixels", 8, 64, data.pixels, update), at = range("output", 0, 63, 0, update);
  const table = make("table", {className: "counts"}), box = make("div", {}, table);
  box.className = "scroll";
  const drawing = make("canvas", {className: "wide", width: 640, height: 60, role: "img", ariaLabel: "The pixels, and the field of one output of the last layer."});
  const button = (text, act) => make("button", {type: "button", onclick: () => { act(); build(); }}, text);
  figure.append(box, row(button("add a layer", () => layers.push([3, 1, 1, 1])),
    button("take one away", () => { if (layers.length > 1) layers.pop(); }),
    button("as it was", () => { layers = data.layers.map(layer => [...layer]); }), size.label, at.label), drawing, said);

  const signed = text => `${text}`.replace("-", "−");
  const half = twice => signed(twice % 2 ? (twice / 2).toFixed(1) : twice / 2);
  function build() {
    const head = make("tr", {}, ...["layer", ...names, "field", "stride so far", "middle of output 0", "outputs"].map(t => make("th", {}, t)));
    table.replaceChildren(head, ...layers.map((layer, n) => make("tr", {}, make("td", {}, `${n + 1}`),
      ...layer.map((value, which) => {
        const control = make("input", {type: "number", min: which === 2 ? 0 : 1, max: MOST, value, ariaLabel: `${names[which]} of layer ${n + 1}`});
        control.onkeydown = event => event.stopPropagation();
        control.oninput = () => {
          layer[which] = Math.min(Math.max(Math.floor(+control.value) || 0, which === 2 ? 0 : 1), MOST);
          update();
        };
        control.onchange = () => { control.value = layer[which]; };  // what was taken for it
        return make("td", {}, control);
      }), ...[0, 1, 2, 3].map(() => make("td", {})))));
    update();
  }
  function update() {
    const found = follow(layers, size.value);
    [...table.rows].slice(1).forEach((line, n) => {
      const {field, step, centre2, outputs} = found[n];
      [field, step, half(centre2), outputs || "none"].forEach((text, k) => { line.cells[5 + k].textContent = text; });
    });
    const {field, step, centre2, outputs} = found[found.length - 1];
    at.control.max = Math.max(outputs - 1, 0);
    const which = Math.min(at.value, Math.max(outputs - 1, 0));
    at.label.lastChild.textContent = which;
    const middle = centre2 / 2 + which * step, first = middle - (field - 1) / 2, last = middle + (field - 1) / 2;
    const ink = drawing.getContext("2d"), n = size.value, wide = drawing.width / (n + 16);
    ink.clearRect(0, 0, drawing.width, drawing.height);
    for (let x = -8; x < n + 8; x++) {
      const inside = x >= 0 && x < n, seen = x >= first && x <= last;
      ink.fillStyle = seen ? (inside ? "#0072b2" : "#56b4e9") : inside ? "#757575" : "transparent";
      ink.fillRect((x + 8) * wide + 1, 20, wide - 2, 30);
    }
    ink.fillStyle = "#d55e00";
    for (let v = 0; v < outputs; v++) {
      const x = (centre2 / 2 + v * step + 8.5) * wide;
      ink.fillRect(x - 2, v === which ? 2 : 8, 4, v === which ? 16 : 8);
    }
    said.textContent = outputs ? `Output ${which} looks at pixels ${signed(first)} to ${signed(last)}, ${field} of them, around ${half(Math.round(2 * middle))}. `
      + "Blue: the field; light blue: the part of it beyond the picture; orange: where the outputs lie." : "The picture is too small for these layers.";
  }
  build();
}
