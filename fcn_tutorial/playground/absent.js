({figure, data, make, row, said}) => {
  const {classes, matrix} = data, C = classes.length, kept = classes.map(() => true);
  const sum = list => list.reduce((a, b) => a + b, 0);

  // A class that is not there has no pixel in the truth: its row of the matrix is empty.
  function means(there) {
    const n = matrix.map((line, i) => line.map(count => there[i] ? count : 0));
    const t = n.map(sum), called = classes.map((_, j) => sum(n.map(line => line[j])));
    const iu = n.map((line, i) => line[i] / (t[i] + called[i] - line[i]));  // nan: 0 of 0
    const mean = list => sum(list) / list.length;
    return {
      "classes in the truth": mean(iu.filter((_, i) => t[i])),
      "in truth or prediction": mean(iu.filter(value => !Number.isNaN(value))),
      "all classes, nan as 0": mean(iu.map(value => Number.isNaN(value) ? 0 : value)),
      "all classes, nan kept": mean(iu),
    };
  }
  figure.means = means;

  const bars = Object.keys(means(kept)).map(name => {
    const bar = make("b"), value = make("span");
    return {name, bar, value, whole: make("div", {className: "mean"}, make("span", {}, name), make("div", {}, bar), value)};
  });
  const boxes = classes.map((name, k) => {
    const box = make("input", {type: "checkbox", checked: true, autocomplete: "off"});
    box.onchange = () => { kept[k] = box.checked; update(); };
    return make("label", {}, box, name);
  });
  figure.append(make("style", {textContent: `
    .fcn-playground .mean{display:grid;grid-template-columns:11em minmax(4em,1fr) 4.5em;gap:.6em;align-items:center;margin:.3em 0}
    .fcn-playground .mean div{background:#8883;height:1.1em}
    .fcn-playground .mean b{display:block;height:100%;background:#0072b2}
    .fcn-playground .mean span:last-child{text-align:right;font-variant-numeric:tabular-nums}
    @media (max-width:480px){.fcn-playground .mean{grid-template-columns:1fr 4.5em}
      .fcn-playground .mean span:first-child{grid-column:1/3}}`}),
    row(...boxes), ...bars.map(({whole}) => whole), said);
  function update() {
    const now = means(kept), known = Object.values(now).filter(value => !Number.isNaN(value));
    for (const {name, bar, value} of bars) {
      bar.style.width = `${100 * (now[name] || 0)}%`;
      value.textContent = Number.isNaN(now[name]) ? "no number" : `${(100 * now[name]).toFixed(1)}%`;
    }
    const apart = known.length ? 100 * (Math.max(...known) - Math.min(...known)) : 0;
    said.textContent = `${kept.filter(Boolean).length} of ${C} classes in the truth. ` +
      `From the lowest mean to the highest: ${apart.toFixed(1)} points.`;
  }
  update();
}
