({figure, data, make, canvas, row, choice, named, said, place, legend, hold, drag, keys}) => {
  const {stride, size, classes, palette, rows, columns} = data;
  const C = classes.length, still = figure.querySelector(".still");
  const shares = Uint8Array.from(atob(data.shares), letter => letter.charCodeAt(0));
  // What the classifier says of the crop whose first row is y and first column x: a share a class.
  const answer = (y, x) => Array.from(shares.subarray((y * columns + x) * C, (y * columns + x + 1) * C), n => n / 255);
  const h = Math.floor((rows - 1) / stride) + 1, w = Math.floor((columns - 1) / stride) + 1;
  const H = rows + size - 1, W = columns + size - 1;
  // The map's cell whose window begins there; null between two cells.
  const cell = (y, x) => y % stride || x % stride ? null : [y / stride, x / stride];
  Object.assign(figure, {answer, cell});

  let x = data.start[1], y = data.start[0], from = null;
  const scene = canvas(W, H, "The scene. Drag the window, or move it with the arrow keys.");
  const side = 12;  // pixels of a cell
  const map = canvas(side * w, side * h, "The map of one class. Touch a cell to move the window there, or choose it with the arrow keys and Space.");
  const cropped = canvas(size, size, "What the classifier is given.");
  const most = shares => shares.indexOf(Math.max(...shares));
  const shown = choice([["all", "most probable class"], ...classes.map((name, k) => [k, name])], update);
  shown.value = data.shown;
  const snap = make("input", {type: "checkbox", onchange: () => move(y, x)});
  const bars = make("div", {className: "scroll"});
  figure.append(make("div", {className: "both"}, scene, map), legend(classes, palette), row(named("map of", shown), named("only the map's windows", snap)),
    make("div", {className: "both"}, cropped, bars), said);
  cropped.style.flex = "0 0 6em";
  bars.style.flex = "1 1 12em";

  function move(down, right) {
    const step = snap.checked ? stride : 1;
    const within = (n, last) => Math.min(Math.max(Math.round(n / step), 0), Math.floor(last / step)) * step;
    y = within(down, rows - 1);
    x = within(right, columns - 1);
    update();
  }
  function update() {
    const ink = scene.getContext("2d");
    ink.drawImage(still, 0, 0);
    cropped.getContext("2d").drawImage(still, x, y, size, size, 0, 0, size, size);
    ink.strokeStyle = "#d55e00";
    ink.lineWidth = 2;
    ink.strokeRect(x + 1, y + 1, size - 2, size - 2);
    ink.fillStyle = "#d55e00";
    ink.fillRect(x + size / 2 - 1, y + size / 2 - 1, 2, 2);
    const paint = map.getContext("2d"), own = shown.value === "all";
    for (let v = 0; v < h; v++) for (let u = 0; u < w; u++) {
      const all = answer(v * stride, u * stride), grey = Math.round(255 * all[own ? 0 : +shown.value]);
      paint.fillStyle = `rgb(${own ? palette[most(all)] : [grey, grey, grey]})`;
      paint.fillRect(side * u, side * v, side, side);
    }
    const here = cell(y, x);
    for (const [colour, inset] of here ? [["#fff", 1], ["#000", 3]] : []) {
      paint.strokeStyle = colour;
      paint.lineWidth = 2;
      paint.strokeRect(side * here[1] + inset, side * here[0] + inset, side - 2 * inset, side - 2 * inset);
    }
    const all = answer(y, x), order = all.map((share, k) => k).sort((a, b) => all[b] - all[a]).slice(0, 3);
    bars.replaceChildren(...order.map(k => {
      const bar = make("i"), line = make("div", {}, bar, `${classes[k]} ${all[k].toFixed(2)}`);
      bar.style.cssText = `background:rgb(${palette[k]});width:${(7 * all[k]).toFixed(2)}em`;
      return line;
    }));
    const best = order[0], one = `The crop from row ${y}, column ${x}: ${classes[best]}, ${all[best].toFixed(2)}. `;
    said.textContent = one + (here ? `It is cell (${here[0]}, ${here[1]}) of the map, which says the same.`
      : "It lies between the windows of the map's cells: the one pass does not answer there.");
  }
  scene.onpointerdown = event => {
    hold(scene, event);
    const at = scene.getBoundingClientRect(), scale = W / at.width;
    const down = (event.clientY - at.top) * scale, right = (event.clientX - at.left) * scale;
    const inside = down >= y && down < y + size && right >= x && right < x + size;
    from = inside ? {y: down - y, x: right - x} : {y: size / 2, x: size / 2};
    scene.onpointermove(event);
  };
  scene.onpointermove = event => {
    if (!from) return;
    const at = scene.getBoundingClientRect(), scale = W / at.width;
    move((event.clientY - at.top) * scale - from.y, (event.clientX - at.left) * scale - from.x);
  };
  scene.onpointerup = scene.onpointercancel = () => { from = null; };
  scene.onkeydown = event => {
    const step = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const by = snap.checked ? stride : 1;
    move(y + by * step[0], x + by * step[1]);
  };
  drag(scene);
  scene.tabIndex = 0;
  keys(map, () => side);
  map.onpointerdown = event => {
    const touched = place(map, event);
    move(stride * Math.floor(touched.y / side), stride * Math.floor(touched.x / side));
  };
  return still.decode().then(update);
}
