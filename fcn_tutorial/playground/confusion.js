({figure, data, make, canvas, row, named, range, choice, said, place, legend, hold, drag, keys}) => {
  const {truth, answer, classes, palette, ignore} = data, C = classes.length, H = truth.length, W = truth[0].length;

  // n[i][j]: pixels of class i that are called j. Void pixels are not counted.
  function count(found) {
    const n = classes.map(() => new Array(C).fill(0));
    truth.forEach((line, y) => line.forEach((label, x) => { if (label !== ignore) n[label][found[y][x]]++; }));
    return n;
  }
  function scores(n) {
    const sum = list => list.reduce((a, b) => a + b, 0), mean = list => sum(list) / list.length;
    const t = n.map(sum), called = classes.map((_, j) => sum(n.map(line => line[j]))), all = sum(t);
    const known = list => list.filter(value => !Number.isNaN(value));
    const iu = n.map((line, i) => line[i] / (t[i] + called[i] - line[i]));
    return {
      "pixel accuracy": sum(n.map((line, i) => line[i])) / all,
      "mean accuracy": mean(known(n.map((line, i) => line[i] / t[i]))),
      "mean IU": mean(known(iu)),
      "frequency weighted IU": sum(iu.map((value, i) => t[i] ? t[i] * value : 0)) / all,
    };
  }
  Object.assign(figure, {count, scores});

  let found = answer.map(line => [...line]), before = scores(count(found));
  const left = canvas(W, H, "The true labels."), right = canvas(W, H, "The prediction. Paint over it; arrow keys move a mark, Space paints there.");
  const brush = choice(classes.map((name, k) => [k, name])), size = range("brush", 1, 15, 5, () => {}, 2);
  const again = make("button", {type: "button", onclick: () => { found = answer.map(line => [...line]); update(); }}, "as it was");
  const whole = make("button", {type: "button", onclick: () => {
    found.forEach(line => line.fill(+brush.value));
    update();
  }}, "all of it");
  const table = make("table", {className: "counts upright"}), box = make("div", {}, table);
  box.className = "scroll";
  figure.append(make("div", {className: "both"}, left, right), legend(classes, palette),
    row(named("paint", brush), size.label, whole, again), said, box);
  // The names of columns stand upright, so that a column is as wide as its numbers.
  figure.append(make("style", {textContent: `
    .fcn-playground table.upright{font-size:.8em;font-variant-numeric:tabular-nums}
    .fcn-playground table.upright td,.fcn-playground table.upright th{padding:.1em .25em}
    .fcn-playground table.upright tr:first-child th:not(:first-child){writing-mode:vertical-rl;transform:rotate(180deg);text-align:left}
    .fcn-playground table.upright th:first-child{text-align:left;vertical-align:bottom}`}));

  function show(where, rows) {
    const ink = where.getContext("2d"), image = ink.createImageData(W, H);
    rows.flat().forEach((label, t) => image.data.set([...(palette[label] || [128, 128, 128]), 255], 4 * t));
    ink.putImageData(image, 0, 0);
  }
  show(left, truth);
  function update() {
    const n = count(found), now = scores(n);
    show(right, found);
    const change = (value, old) => value === old ? "" :
      ` (${value > old ? "+" : "−"}${(100 * Math.abs(value - old)).toFixed(1)})`;
    said.textContent = Object.entries(now).map(([name, value]) =>
      `${name} ${(100 * value).toFixed(1)}%${change(value, before[name])}`).join("; ");
    const cells = (kind, list) => make("tr", {}, ...list.map((text, k) => make(k ? kind : "th", {}, text)));
    table.replaceChildren(cells("th", ["true ↓ called →", ...classes]),
      ...n.map((line, i) => cells("td", [classes[i], ...line.map(value => value.toLocaleString("en"))])));
  }
  let painting = false;
  function paint(event) {
    const at = place(right, event), reach = (size.value - 1) / 2;
    for (let y = Math.max(at.y - reach, 0); y <= Math.min(at.y + reach, H - 1); y++)
      for (let x = Math.max(at.x - reach, 0); x <= Math.min(at.x + reach, W - 1); x++) found[y][x] = +brush.value;
    update();
  }
  right.onpointerdown = event => { painting = true; hold(right, event); paint(event); };
  right.onpointermove = event => { if (painting) paint(event); };
  right.onpointerup = right.onpointercancel = () => { painting = false; };
  drag(right);
  keys(right);
  update();
}
