({figure, data, make, canvas, row, range, said, legend, hold, drag}) => {
  const {scores, truth, factor, classes, palette, ignore} = data;
  const C = scores.length, h = scores[0].length, w = scores[0][0].length, H = truth.length, W = truth[0].length;

  // The pixel's place in the coarse map, half-pixel aligned, when the map lies `shift` pixels off.
  function places(size, coarse, shift) {
    return Array.from({length: size}, (_, n) => {
      const at = Math.min(Math.max((n + 0.5 - shift) / factor - 0.5, 0), coarse - 1);
      const low = Math.min(Math.floor(at), Math.max(coarse - 2, 0));
      return [low, Math.min(low + 1, coarse - 1), at - low];
    });
  }
  function labels(right, down) {
    const rows = places(H, h, down), columns = places(W, w, right);
    return rows.map(([top, bottom, dy]) => columns.map(([left, next, dx]) => {
      let best = 0, most = -Infinity;
      for (let k = 0; k < C; k++) {
        const m = scores[k];
        const upper = m[top][left] + dx * (m[top][next] - m[top][left]);
        const lower = m[bottom][left] + dx * (m[bottom][next] - m[bottom][left]);
        const value = upper + dy * (lower - upper);
        if (value > most) { most = value; best = k; }
      }
      return best;
    }));
  }
  function meanIu(found) {
    const both = new Array(C).fill(0), one = new Array(C).fill(0), other = new Array(C).fill(0);
    truth.forEach((line, y) => line.forEach((label, x) => {
      if (label === ignore) return;
      one[label]++;
      other[found[y][x]]++;
      if (label === found[y][x]) both[label]++;
    }));
    const all = both.map((n, k) => n / (one[k] + other[k] - n)).filter(value => !Number.isNaN(value));
    return all.reduce((a, b) => a + b, 0) / all.length;
  }
  Object.assign(figure, {labels, meanIu});

  const right = range("to the right, pixels", -8, 8, 0, update, 0.25);
  const down = range("down, pixels", -8, 8, 0, update, 0.25);
  const left = canvas(W, H, "The true labels."), answer = canvas(W, H, "The coarse map, enlarged. Drag it, or move the sliders below.");
  figure.append(make("div", {className: "both"}, left, answer), legend(classes, palette),
    row(right.label, down.label), said);

  function show(where, rows) {
    const ink = where.getContext("2d"), image = ink.createImageData(W, H);
    rows.flat().forEach((label, t) => image.data.set([...(palette[label] || [128, 128, 128]), 255], 4 * t));
    ink.putImageData(image, 0, 0);
  }
  show(left, truth);
  const aligned = meanIu(labels(0, 0));
  function update() {
    const found = labels(right.value, down.value), score = meanIu(found);
    show(answer, found);
    said.textContent = `Mean IU ${(100 * score).toFixed(1)}, ${(100 * (score - aligned)).toFixed(1)} points `
      + `against the aligned map's ${(100 * aligned).toFixed(1)}.`;
  }
  let from = null;
  answer.onpointerdown = event => {
    hold(answer, event);
    from = {x: event.clientX, y: event.clientY, right: right.value, down: down.value};
  };
  answer.onpointermove = event => {
    if (!from) return;
    const scale = W / answer.getBoundingClientRect().width;
    const set = (slider, value) => {
      slider.control.value = value;
      slider.label.lastChild.textContent = slider.control.value;
    };
    set(right, from.right + (event.clientX - from.x) * scale);
    set(down, from.down + (event.clientY - from.y) * scale);
    update();
  };
  answer.onpointerup = answer.onpointercancel = () => { from = null; };
  drag(answer);
  update();
}
