({figure, data: net, make, canvas, row, named, choice, said, place, legend, hold, drag, keys}) => {
  const [H, W] = net.size, C = net.classes.length;

  // ---- The network ----
  // Maps are {c, h, w, v}: v holds c × h × w numbers.
  const blank = (c, h, w) => ({c, h, w, v: new Float32Array(c * h * w)});

  function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed.values), letter => letter.charCodeAt(0));
    if (packed.kind === "int8") return Float32Array.from(new Int8Array(bytes.buffer));
    return new Float32Array(bytes.buffer);
  }
  for (const step of net.steps) if (step.weight) step.weights = unpack(step.weight);

  // 3×3, padding 1; then the batch norm as gain and bias, and the ReLU.
  function conv(x, step) {
    const {c, h, w} = x, wide = w + 2, padded = new Float32Array(c * (h + 2) * wide);
    for (let k = 0; k < c; k++) for (let y = 0; y < h; y++)
      padded.set(x.v.subarray((k * h + y) * w, (k * h + y + 1) * w), (k * (h + 2) + y + 1) * wide + 1);
    const out = blank(step.out, h, w), K = step.weights, n = h * w;
    for (let o = 0; o < step.out; o += 2) {  // two outputs at a time share what they read
      const one = out.v.subarray(o * n, (o + 1) * n), two = out.v.subarray((o + 1) * n, (o + 2) * n);
      for (let k = 0; k < c; k++) {
        const q = (o * c + k) * 9, z = q + c * 9;
        const a = K[q], b = K[q + 1], d = K[q + 2], e = K[q + 3], f = K[q + 4], g = K[q + 5],
          i = K[q + 6], j = K[q + 7], l = K[q + 8];
        const A = K[z], B = K[z + 1], D = K[z + 2], E = K[z + 3], F = K[z + 4], G = K[z + 5],
          I = K[z + 6], J = K[z + 7], L = K[z + 8];
        for (let y = 0; y < h; y++) {
          let p = (k * (h + 2) + y) * wide, r = p + wide, s = r + wide, t = y * w;
          let p0 = padded[p], p1 = padded[p + 1], r0 = padded[r], r1 = padded[r + 1], s0 = padded[s], s1 = padded[s + 1];
          for (const end = t + w; t < end; t++) {
            const p2 = padded[++p + 1], r2 = padded[++r + 1], s2 = padded[++s + 1];
            one[t] += a * p0 + b * p1 + d * p2 + e * r0 + f * r1 + g * r2 + i * s0 + j * s1 + l * s2;
            two[t] += A * p0 + B * p1 + D * p2 + E * r0 + F * r1 + G * r2 + I * s0 + J * s1 + L * s2;
            p0 = p1; p1 = p2; r0 = r1; r1 = r2; s0 = s1; s1 = s2;
          }
        }
      }
    }
    for (let o = 0, t = 0; o < step.out; o++) for (const end = t + n; t < end; t++)
      out.v[t] = Math.max(out.v[t] * step.gain[o] + step.bias[o], 0);
    return out;
  }

  function pool(x) {
    const out = blank(x.c, x.h >> 1, x.w >> 1);
    for (let k = 0, t = 0; k < x.c; k++) for (let y = 0; y < out.h; y++) {
      let p = (k * x.h + 2 * y) * x.w;
      for (let n = 0; n < out.w; n++, p += 2, t++)
        out.v[t] = Math.max(x.v[p], x.v[p + 1], x.v[p + x.w], x.v[p + x.w + 1]);
    }
    return out;
  }

  function score(x, step) {
    const out = blank(step.out, x.h, x.w), n = x.h * x.w;
    for (let o = 0; o < step.out; o++) {
      const to = out.v.subarray(o * n, (o + 1) * n).fill(step.bias[o]);
      for (let k = 0; k < x.c; k++) {
        const weight = step.weights[o * x.c + k], start = k * n;
        for (let t = 0; t < n; t++) to[t] += weight * x.v[start + t];
      }
    }
    return out;
  }

  // Where pixel n of the finer map lies between two of the coarser: half-pixel aligned, borders repeated.
  function places(size, factor) {
    return Array.from({length: size * factor}, (_, n) => {
      const at = (n + 0.5) / factor - 0.5, low = Math.floor(at);
      return [Math.max(low, 0), Math.min(low + 1, size - 1), at - low];
    });
  }

  function enlarge(x, factor) {
    const out = blank(x.c, x.h * factor, x.w * factor);
    const rows = places(x.h, factor), columns = places(x.w, factor);
    for (let k = 0, t = 0; k < x.c; k++) for (const [top, bottom, dy] of rows) {
      const one = (k * x.h + top) * x.w, two = (k * x.h + bottom) * x.w;
      for (const [left, right, dx] of columns) {
        const upper = x.v[one + left] + dx * (x.v[one + right] - x.v[one + left]);
        const lower = x.v[two + left] + dx * (x.v[two + right] - x.v[two + left]);
        out.v[t++] = upper + dy * (lower - upper);
      }
    }
    return out;
  }

  function add(x, y) {
    for (let t = 0; t < x.v.length; t++) x.v[t] += y.v[t];
    return x;
  }

  // RGBA bytes of the picture -> scores of every pixel. `skips` says which finer layers may speak.
  function run(rgba, skips) {
    let x = blank(3, H, W);
    for (let k = 0; k < 3; k++) for (let t = 0; t < H * W; t++)
      x.v[k * H * W + t] = (rgba[4 * t + k] * net.scale - net.mean[k]) / net.std[k];
    const scores = {};
    for (const step of net.steps) {
      if (step.op === "conv") x = conv(x, step);
      else if (step.op === "pool") x = pool(x);
      else scores[step.stride] = score(x, step);
    }
    let fused = scores[32];
    for (const stride of [16, 8]) {
      fused = enlarge(fused, 2);
      if (skips[stride]) fused = add(fused, scores[stride]);
    }
    return enlarge(fused, 8);
  }

  function best(scores) {
    const n = H * W, labels = new Uint8Array(n);
    for (let t = 0; t < n; t++) {
      let top = 0;
      for (let k = 1; k < C; k++) if (scores.v[k * n + t] > scores.v[top * n + t]) top = k;
      labels[t] = top;
    }
    return labels;
  }

  function probabilities(scores, t) {
    const n = H * W, all = net.classes.map((_, k) => scores.v[k * n + t]);
    const most = Math.max(...all), powers = all.map(s => Math.exp(s - most));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map(p => p / sum);
  }
  figure.network = {run, best, probabilities};

  // ---- The page ----
  const left = canvas(W, H, "The picture. Drag a thing through it, or paint. Arrow keys move a thing, Space takes the next; to paint they move a mark, and Space paints.");
  const right = canvas(W, H, "What the network answers. Point at it, or move a mark with the arrow keys.");
  const skips = {16: true, 8: true};
  const boxes = [16, 8].map(stride => {
    const box = make("input", {type: "checkbox", checked: true});
    box.onchange = () => { skips[stride] = box.checked; answer(); };
    return make("label", {}, box, `skip at stride ${stride}`);
  });
  const shows = choice([[-1, "the best class"],
    ...net.classes.map((name, k) => [k, `probability of ${name}`])], () => draw());
  const brush = choice([["", "drag things"],
    ...net.classes.map((name, k) => [net.palette[k].join(), `paint in the colour of ${name}`])]);
  const file = make("input", {type: "file", accept: "image/*"});
  const again = make("button", {type: "button"}, "start again");
  figure.append(make("div", {className: "both"}, left, right), legend(net.classes, net.palette),
    row(...boxes, named("show", shows), named("pointer", brush), named("your picture", file), again), said);

  const ink = left.getContext("2d", {willReadFrequently: true}), answerInk = right.getContext("2d");
  const ground = make("canvas", {width: W, height: H}), groundInk = ground.getContext("2d");
  const picture = address => new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = failed;
    image.src = address;
  });
  let things = [], held = null, last = null, scores = null, pixels = null, pointer = null;

  function compose() {
    ink.drawImage(ground, 0, 0);
    for (const thing of things) ink.drawImage(thing.image, thing.x, thing.y);
    pixels = ink.getImageData(0, 0, W, H);
  }
  function answer() {
    compose();
    scores = run(pixels.data, skips);
    draw();
  }
  let waiting = false;
  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; answer(); });
  }

  function draw() {
    const shown = answerInk.createImageData(W, H), which = +shows.value, labels = best(scores);
    for (let t = 0; t < H * W; t++) {
      const colour = which < 0 ? net.palette[labels[t]]
        : Array(3).fill(Math.round(255 * probabilities(scores, t)[which]));
      shown.data.set([...colour, 255], 4 * t);
    }
    answerInk.putImageData(shown, 0, 0);
    if (pixels) ink.putImageData(pixels, 0, 0);
    if (pointer) tell();
  }
  function tell() {
    const {x, y} = pointer, found = probabilities(scores, y * W + x);
    const order = found.map((p, k) => [p, k]).sort((a, b) => b[0] - a[0]).slice(0, 3);
    const words = order.map(([p, k]) => `${net.classes[k]} ${p.toFixed(2)}`).join(", ");
    const speaking = [32, ...[16, 8].filter(stride => skips[stride])];
    said.textContent = `Pixel ${x}, ${y}: ${words}. The frames are what its scores at stride `
      + `${speaking.join(", ")} look at: ${speaking.map(s => `${net.fields[s]}²`).join(", ")} pixels.`;
    ink.strokeStyle = "#fff";
    for (const stride of speaking) {
      const field = net.fields[stride], middle = n => (Math.floor(n / stride) + 0.5) * stride;
      ink.strokeRect(middle(x) - field / 2, middle(y) - field / 2, field, field);
    }
  }

  function paint(at) {
    groundInk.fillStyle = `rgb(${brush.value})`;
    groundInk.fillRect(at.x - 3, at.y - 3, 7, 7);
    soon();
  }
  left.onpointerdown = event => {
    const at = place(left, event);
    hold(left, event);
    if (brush.value) { held = {}; paint(at); return; }
    const hit = [...things].reverse().find(thing => {
      const x = at.x - thing.x, y = at.y - thing.y;
      return x >= 0 && y >= 0 && x < thing.image.width && y < thing.image.height;
    });
    if (hit) held = {thing: last = hit, x: at.x - hit.x, y: at.y - hit.y};
  };
  const moved = canvas => event => {
    const at = pointer = place(canvas, event);
    if (held && canvas === left) {
      if (held.thing) { held.thing.x = at.x - held.x; held.thing.y = at.y - held.y; soon(); } else paint(at);
    } else if (scores) draw();
  };
  for (const canvas of [left, right]) canvas.onpointermove = moved(canvas);
  right.onpointerdown = moved(right);  // a finger only taps
  left.onpointerup = left.onpointercancel = () => { held = null; };
  left.onpointerleave = right.onpointerleave = () => { if (!held) { pointer = null; if (scores) draw(); } };
  drag(left);
  keys(left, undefined, () => brush.value);
  keys(right);
  left.addEventListener("keydown", event => {  // to drag with keys; Space or Enter takes the next thing
    const step = {ArrowLeft: [-2, 0], ArrowRight: [2, 0], ArrowUp: [0, -2], ArrowDown: [0, 2]}[event.key];
    if (brush.value || !last || !step && event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
    if (step) [last.x, last.y] = [last.x + step[0], last.y + step[1]];
    else last = things[(things.indexOf(last) + 1) % things.length];
    const middle = (from, side, whole) => Math.min(Math.max(Math.round(from + side / 2), 0), whole - 1);
    pointer = {x: middle(last.x, last.image.width, W), y: middle(last.y, last.image.height, H)};
    soon();
  });
  left.onblur = right.onblur = () => { pointer = null; if (scores) draw(); };

  async function own(chosen) {
    if (!chosen) return;
    const address = URL.createObjectURL(chosen);
    try {
      const image = await picture(address), scale = Math.max(W / image.width, H / image.height);
      const w = image.width * scale, h = image.height * scale;
      groundInk.fillStyle = "#fff";  // below what is transparent
      groundInk.fillRect(0, 0, W, H);
      groundInk.drawImage(image, (W - w) / 2, (H - h) / 2, w, h);
      [things, last, held, pointer, said.textContent] = [[], null, null, null, ""];
      answer();
    } catch { said.textContent = `${chosen.name} is no picture that this browser reads.`; }
    URL.revokeObjectURL(address);
  }
  file.onclick = () => { file.value = ""; };  // so that the same one can be chosen again
  file.onchange = () => own(file.files[0]);
  figure.onpaste = event => own(event.clipboardData.files[0]);
  figure.ondragover = event => event.preventDefault();
  figure.ondrop = event => { event.preventDefault(); own(event.dataTransfer.files[0]); };

  async function begin() {
    groundInk.drawImage(await picture(net.image), 0, 0);
    const images = await Promise.all(net.things.map(picture));
    let x = 4;
    things = images.map(image => {
      const thing = {image, x, y: Math.round(0.86 * H) - image.height};
      x += image.width + 6;
      return thing;
    });
    last = things[0] || null;
    answer();
  }
  again.onclick = () => {
    boxes.forEach((label, n) => { label.firstChild.checked = skips[[16, 8][n]] = true; });
    file.value = said.textContent = "";
    pointer = null;
    return begin();
  };
  return begin();
}
