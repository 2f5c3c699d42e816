({figure, data, make, canvas, row, named, range, choice, said, place, keys}) => {
  const {pixels, presets} = data, h = pixels.length, w = pixels[0].length;

  // Sums over the windows, as every framework computes them: the kernel is not turned round.
  // kernel: 3 rows of 3 -> rows of sums; none where the window does not fit.
  function convolve(kernel, stride, padding, dilation) {
    const places = size => Math.floor((size + 2 * padding - 2 * dilation - 1) / stride) + 1;
    const at = (y, x) => (pixels[y] || [])[x] || 0;  // zeros outside
    return Array.from({length: Math.max(places(h), 0)}, (_, v) =>
      Array.from({length: Math.max(places(w), 0)}, (_, u) => {
        let sum = 0;
        for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++)
          sum += kernel[i][j] * at(v * stride - padding + i * dilation, u * stride - padding + j * dilation);
        return sum;
      }));
  }
  figure.convolve = convolve;

  const numbers = presets[0][1].flat().map((value, n) => make("input", {
    type: "number", step: "any", value, oninput: () => { preset.value = -1; update(); }, ariaLabel: `weight in row ${Math.floor(n / 3)}, column ${n % 3}`,
  }));
  for (const number of numbers) number.onkeydown = event => event.stopPropagation();
  const preset = choice([...presets.map(([name], n) => [n, name]), [-1, "your own"]], () => {
    (presets[+preset.value] || [0, []])[1].flat().forEach((value, n) => { numbers[n].value = value; });
    update();
  });
  const stride = range("stride", 1, 4, 1, update), padding = range("padding", 0, 4, 0, update);
  const dilation = range("dilation", 1, 4, 1, update);
  const left = canvas(w, h, "The picture, with the window of the pointer's output."), right = canvas(1, 1, "The output. Point at it, or move a mark with the arrow keys.");
  figure.append(make("div", {className: "both"}, left, right),
    row(named("kernel", preset), make("div", {className: "kernel"}, ...numbers)),
    row(stride.label, padding.label, dilation.label), said);

  let output = [], most = 1;
  function update() {
    const kernel = [0, 1, 2].map(i => [0, 1, 2].map(j => +numbers[3 * i + j].value || 0));
    output = convolve(kernel, stride.value, padding.value, dilation.value);
    most = Math.max(1e-9, ...output.flat().map(Math.abs));
    const rows = output.length, columns = rows ? output[0].length : 0;
    right.width = Math.max(columns, 1);
    right.height = Math.max(rows, 1);
    if (rows && columns) paint(right, output, value => {
      const share = Math.abs(value) / most, far = value > 0 ? [230, 97, 1] : [94, 60, 153];
      return far.map(level => Math.round(247 + share * (level - 247)));
    });
    paint(left, pixels, value => Array(3).fill(Math.round(255 * value)));
    const one = (size, places) => `⌊(${size} + 2·${padding.value} − ${dilation.value}·2 − 1) / ${stride.value}⌋ + 1 = ${places}`;
    said.textContent = `Rows: ${one(h, rows)}. Columns: ${one(w, columns)}. `
      + `Orange is positive, violet negative, white zero; the strongest is ${most.toFixed(2)}.`;
  }
  function paint(where, rows, colour) {
    const ink = where.getContext("2d"), image = ink.createImageData(rows[0].length, rows.length);
    rows.flat().forEach((value, t) => image.data.set([...colour(value), 255], 4 * t));
    ink.putImageData(image, 0, 0);
  }
  right.onpointerdown = right.onpointermove = event => {
    if (!output.length || !output[0].length) return;
    update();
    const {x, y} = place(right, event), ink = left.getContext("2d");
    const terms = numbers.map((number, n) => {
      const row = y * stride.value - padding.value + Math.floor(n / 3) * dilation.value;
      const column = x * stride.value - padding.value + (n % 3) * dilation.value;
      ink.strokeStyle = "#d55e00";
      ink.strokeRect(column + 0.5, row + 0.5, 0.01, 0.01);
      return `${+number.value || 0}·${((pixels[row] || [])[column] || 0).toFixed(2)}`;
    });
    said.textContent = `Row ${y}, column ${x}: ${terms.join(" + ")} = ${output[y][x].toFixed(3)}`;
  };
  keys(right, () => 1);
  update();
}
