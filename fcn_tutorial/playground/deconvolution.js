({figure, data, make, canvas, row, named, range, choice, said, place, hold, drag, keys}) => {
  const n = data.size, CELL = 48;  // pixels of the left canvas to a cell, two of them a line

  // Every value of the input stamps the kernel, times itself, `stride` further on.
  function stamp(input, kernel, stride) {
    const k = kernel.length, m = (input.length - 1) * stride + k;
    const out = Array.from({length: m}, () => new Array(m).fill(0));
    input.forEach((line, y) => line.forEach((value, x) => {
      for (let i = 0; i < k; i++) for (let j = 0; j < k; j++)
        out[y * stride + i][x * stride + j] += value * kernel[i][j];
    }));
    return out;
  }
  const kernels = {
    "all ones": k => Array.from({length: k}, () => new Array(k).fill(1)),
    "a tent": k => {  // bilinear where k = 2 · stride, or 2 · stride − 1
      const half = Math.ceil(k / 2), centre = (k - 1) / 2;
      const line = Array.from({length: k}, (_, i) => 1 - Math.abs(i - centre) / half);
      return line.map(a => line.map(b => a * b));
    },
  };
  Object.assign(figure, {stamp, kernels});

  const input = Array.from({length: n}, () => new Array(n).fill(1));
  const size = range("kernel", 1, 8, 3, update), stride = range("stride", 1, 4, 2, update);
  const form = choice(Object.keys(kernels).map(name => [name, name]), update);
  const fill = value => make("button", {type: "button", onclick: () => {
    input.forEach(line => line.fill(value));
    update();
  }}, value ? "all on" : "all off");
  const left = canvas(n * CELL, n * CELL, "The input. Paint cells on and off; arrow keys move a mark, Space turns its cell."), right = canvas(1, 1, "The output.");
  left.style.imageRendering = "auto";  // larger than it is shown on a phone: keep the lines
  figure.append(make("div", {className: "both"}, left, right),
    row(size.label, stride.label, named("weights", form), fill(1), fill(0)), said);

  function show(where, rows, most) {
    where.width = rows[0].length;
    where.height = rows.length;
    const ink = where.getContext("2d"), image = ink.createImageData(rows[0].length, rows.length);
    rows.flat().forEach((value, t) =>
      image.data.set([...Array(3).fill(Math.round(255 * value / most)), 255], 4 * t));
    ink.putImageData(image, 0, 0);
  }
  // Lines between the cells: all of them are on at first, and white on a white page.
  function cells() {
    const ink = left.getContext("2d");
    ink.fillStyle = "#888";
    ink.fillRect(0, 0, n * CELL, n * CELL);
    input.forEach((line, y) => line.forEach((value, x) => {
      ink.fillStyle = value ? "#fff" : "#000";
      ink.fillRect(x * CELL + 1, y * CELL + 1, CELL - 2, CELL - 2);
    }));
  }
  const under = event => {
    const {x, y} = place(left, event);
    return {x: Math.floor(x / CELL), y: Math.floor(y / CELL)};
  };
  function update() {
    const k = size.value, s = stride.value, out = stamp(input, kernels[form.value](k), s);
    const most = Math.max(1e-9, ...out.flat());
    cells();
    show(right, out, most);
    // Where all of the kernel's neighbours reach: there a constant input should stay constant.
    const inner = out.slice(k - 1, (n - 1) * s + 1).map(line => line.slice(k - 1, (n - 1) * s + 1)).flat();
    const low = Math.min(...inner), high = Math.max(...inner);
    const even = Math.abs(high - low) < 1e-9;
    said.textContent = `${n}×${n} → ${out.length}×${out.length}: (${n} − 1)·${s} + ${k}. `
      + (inner.length ? `Away from the border the output runs from ${low.toFixed(2)} to ${high.toFixed(2)}`
        + (even ? ": even." : ": a pattern.") : "");
  }
  let pen = null;
  left.onpointerdown = event => {
    const {x, y} = under(event);
    hold(left, event);
    pen = input[y][x] ? 0 : 1;
    input[y][x] = pen;
    update();
  };
  left.onpointermove = event => {
    if (pen === null) return;
    const {x, y} = under(event);
    input[y][x] = pen;
    update();
  };
  left.onpointerup = left.onpointercancel = () => { pen = null; };
  drag(left);
  keys(left, () => CELL);
  update();
}
