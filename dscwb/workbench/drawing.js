// How a study is read and drawn on HTML canvas: no library, no network. canvas.js listens.
//
// Python has decided everything; it sends a scene (words, colours, envelopes), the candidates' cost
// lines and the gains once per study, and then only the state. Of the lines this file evaluates
// T = a + s/r at the rate under the hand, and nothing else.

const BAR_GAP = 10, BAR_PX = 14; // between a map and its colour bar, and the bar itself
const TICK = 11, SMALL = 9.5; // font sizes in pixels
const SAMPLES = 120; // points of a cost line
const LINES = ["head", "tail", "link", "bits", "intercept", "slope"];
const UNDECIDED = 1, FRAGILE = 2; // as in scene.py
const IMPOSSIBLE = "rgba(140, 140, 140, 0.85)";

// --- numbers for people, as in units.py ----------------------------------------------------------

const PREFIXES = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];

function digits(value) {
  if (!value) return "0";
  const places = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)) + 1e-9));
  const text = value.toFixed(Math.min(places, 10));
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function prefixed(value, unit, largest = 1e9, smallest = 1e-9) {
  if (!value || !isFinite(value)) return `${value} ${unit}`;
  const fitting = PREFIXES.filter(([scale]) => scale <= largest && scale >= smallest);
  const found = fitting.find(([scale]) => Math.abs(value) >= scale * 0.9995);
  const [scale, name] = found ?? fitting[fitting.length - 1];
  return `${digits(value / scale)} ${name}${unit}`;
}

const cost = (value, unit) => prefixed(value, unit, 1);
const bytes = (value) => prefixed(value, "B", 1e9, 1);
const rateWords = (bps) => `${prefixed(bps, "bit/s", 1e9, 1)} (${prefixed(bps / 8, "B/s", 1e9, 1)})`;

function percent(share) {
  if (share > 0 && share < 0.0005) return "<0.1 %";
  return `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;
}

// --- the study in the browser --------------------------------------------------------------------

function numbers(view, Kind) {
  // A copy: the buffer of a message need not begin where an array may.
  return new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

class Study {
  constructor(model) {
    Object.assign(this, model.get("scene"));
    this.cells = numbers(model.get("gain"), Float32Array);
    this.probability = numbers(model.get("probability"), Float32Array);
    this.doubt = numbers(model.get("doubt"), Uint8Array);
    const lines = numbers(model.get("lines"), Float32Array);
    const size = this.rows.length * this.candidates.length;
    LINES.forEach((name, k) => { this[name] = lines.subarray(k * size, (k + 1) * size); });
    this.low = this.rates.low;
    this.high = this.rates.high;
    this.best = this.rows.map((row) => new Set(row.splits));
    this.partsShown = new Set(["head", "transfer", "tail"]); // nothing waits: no entry in the key
    if (this.rows.some((row) => row.wait_s > 0)) this.partsShown.add("wait");
    if (this.link.some((value) => value > 0)) this.partsShown.add("link");
    const count = this.candidates.length;
    this.anyMissing = this.rows.map((_, row) =>
      this.intercept.subarray(row * count, (row + 1) * count).some(isNaN));
  }

  rowOf(batchSize) { return this.rows.findIndex((row) => row.batch_size === batchSize); }

  share(rate) { return Math.log(rate / this.low) / Math.log(this.high / this.low); }

  rateAt(share) {
    return this.low * (this.high / this.low) ** Math.min(1, Math.max(0, share));
  }

  piece(row, rate) {
    const { rates_bps: changes } = this.rows[row];
    let k = 0; // at a switching rate the split of fewer bits, below it, is best
    while (k < changes.length && changes[k] < rate) k += 1;
    return k;
  }

  bestAt(row, rate) { return this.rows[row].splits[this.piece(row, rate)]; }

  costAt(row, split, rate) {
    const k = row * this.candidates.length + split;
    return this.intercept[k] + this.slope[k] / rate;
  }

  partsAt(row, split, rate) {
    const k = row * this.candidates.length + split;
    return {
      wait: this.rows[row].wait_s, head: this.head[k], transfer: this.bits[k] / rate,
      link: this.link[k], tail: this.tail[k],
    };
  }

  latencyAt(row, split, rate) {
    return Object.values(this.partsAt(row, split, rate)).reduce((sum, part) => sum + part);
  }

  // The split that would be chosen if the best one were not there, and what it costs more.
  runnerUp(row, rate) {
    const best = this.bestAt(row, rate);
    let second = -1, least = Infinity;
    this.candidates.forEach((_, split) => {
      const price = this.costAt(row, split, rate);
      if (split !== best && price < least) { second = split; least = price; }
    });
    return { second, margin: Math.max(0, least - this.costAt(row, best, rate)) };
  }

  gainAt(row, rate) {
    const fixed = this.costAt(row, this.baseline, rate);
    return (fixed - this.costAt(row, this.bestAt(row, rate), rate)) / fixed;
  }

  doubtAt(row, rate) {
    const edges = this.doubt_edges_bps;
    if (!edges.length) return null;
    let cell = 0;
    while (cell < edges.length - 2 && edges[cell + 1] < rate) cell += 1;
    const k = row * (edges.length - 1) + cell;
    return { probability: this.probability[k], mark: this.doubt[k] };
  }

  sizeWords(row) { return `${this.rows[row].measured ? "" : "≈ "}${this.rows[row].batch_size}`; }
}

// --- words of the tips ---------------------------------------------------------------------------

const PART_WORDS = { wait: "waiting", head: "device", transfer: "transfer", tail: "server" };

function sumWords(study, row, split, rate) {
  const parts = study.partsAt(row, split, rate);
  parts.transfer += parts.link; // as in the sentence above the picture
  const terms = Object.entries(PART_WORDS).filter(([name]) => parts[name] > 0);
  return `${cost(study.latencyAt(row, split, rate), "s")} = `
    + terms.map(([name, words]) => `${words} ${cost(parts[name], "s")}`).join(" + ");
}

function splitWords(study, row, split, rate) {
  const { name, depth, cut } = study.candidates[split], { depths, depth: unit } = study.words;
  const sent = study.bits[row * study.candidates.length + split] / 8;
  const share = unit === "layers" ? `${depth} of ${depths} layers`
    : `${depth} of ${depths} ${unit}, ${cut} layers`;
  const payload = sent ? `payload ${bytes(sent)}` : "nothing is sent";
  return [name, sumWords(study, row, split, rate), `${payload}; device runs ${share}`];
}

function originWords(study, row) {
  const between = study.rows[row].measured ? "" : "interpolated between measured batch sizes; ";
  return `Times: ${between}${study.words.origins}`;
}

function stateWords(study, row, rate) {
  const best = study.bestAt(row, rate), { second, margin } = study.runnerUp(row, rate);
  const gain = study.gainAt(row, rate), doubt = study.doubtAt(row, rate);
  const { unit, gain_over: over } = study.words;
  const words = [`Batch size ${study.sizeWords(row)}, ${rateWords(rate)}`,
    ...splitWords(study, row, best, rate)];
  if (unit === "J") words.push(`device energy ${cost(study.costAt(row, best, rate), unit)}`);
  words.push(isNaN(gain) ? `${over} is not possible here` : `${percent(gain)} gain over ${over}`);
  if (second >= 0) {
    words.push(`${cost(margin, unit)} before ${study.candidates[second].name}, the second best`);
  }
  if (doubt) {
    words.push(`best in ${percent(doubt.probability)} of the replicates`
      + ["", ": undecided", ", but another split is best if the model is off"][doubt.mark]);
  }
  return [...words, originWords(study, row)].join("\n");
}

function candidateWords(study, row, split, rate) {
  if (isNaN(study.costAt(row, split, rate))) {
    return `${study.candidates[split].name}\nnot possible: no times, or no room on the device`;
  }
  const best = study.bestAt(row, rate), { unit } = study.words;
  const more = study.costAt(row, split, rate) - study.costAt(row, best, rate);
  return [...splitWords(study, row, split, rate),
    split === best ? "the best split in this state" : `${cost(more, unit)} more than the best`,
    originWords(study, row)].join("\n");
}

function placeWords(study, k) {
  if (k === 0) return "input\nfull offloading: c = 1 by definition";
  if (k > study.places.length) return "output\nno offloading: nothing is sent";
  const { name, ratio, kind } = study.places[k - 1];
  const words = { none: "no bottleneck: c ≥ 1", natural: "natural bottleneck: c < 1",
    compressive: "compressive bottleneck: c below all before" }[kind];
  return `${name}\nc = ${digits(ratio)}\n${words}`;
}

// --- drawing -------------------------------------------------------------------------------------

function themeOf(element) {
  const style = getComputedStyle(element);
  const read = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  return {
    font: read("--jp-ui-font-family", "system-ui, sans-serif"),
    text: read("--jp-ui-font-color1", "#222"),
    quiet: read("--jp-ui-font-color2", "#555"),
    axis: read("--jp-ui-font-color2", "#777"),
    grid: read("--jp-border-color2", "#ddd"),
    paper: read("--jp-layout-color0", "#fff"),
  };
}

function write(ctx, theme, text, x, y, { size = TICK, align = "center", base = "middle",
  colour = theme.quiet, weight = "" } = {}) {
  ctx.font = `${weight} ${size}px ${theme.font}`;
  ctx.fillStyle = colour;
  ctx.textAlign = align;
  ctx.textBaseline = base;
  ctx.fillText(text, x, y);
}

function stroke(ctx, points, colour, width, dash = []) {
  ctx.beginPath();
  points.forEach(([x, y], k) => (k ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.setLineDash(dash);
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.stroke();
  ctx.setLineDash([]);
}

function disc(ctx, x, y) {
  // White with a black rim stands out on every colour of both maps.
  ctx.beginPath();
  ctx.arc(x, y, 6, 0, 2 * Math.PI);
  ctx.fillStyle = "white";
  ctx.strokeStyle = "black";
  ctx.lineWidth = 2.5;
  ctx.fill();
  ctx.stroke();
}

function hatch(ctx, dpr, colours, step = 7) {
  return tiled(ctx, dpr, step, (pen, side) => colours.forEach((colour, k) => {
    pen.strokeStyle = colour;
    pen.lineWidth = dpr;
    for (const shift of [-side, 0, side]) { // so that the tiles join
      pen.beginPath();
      pen.moveTo(shift + k * dpr * 1.4, side);
      pen.lineTo(shift + side + k * dpr * 1.4, 0);
      pen.stroke();
    }
  }));
}

function dots(ctx, dpr, colours, step = 4) {
  return tiled(ctx, dpr, step, (pen, side) => colours.forEach((colour, k) => {
    pen.fillStyle = colour;
    pen.fillRect(k * side / 2, k * side / 2, dpr, dpr);
  }));
}

function tiled(ctx, dpr, step, draw) {
  const tile = document.createElement("canvas");
  const side = tile.width = tile.height = Math.round(step * dpr);
  draw(tile.getContext("2d"), side);
  const pattern = ctx.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix([1 / dpr, 0, 0, 1 / dpr, 0, 0]));
  return pattern;
}

function clipped(ctx, plot, draw) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(plot.x, plot.y, plot.w, plot.h);
  ctx.clip();
  draw();
  ctx.restore();
}

// Every how many-th label fits, so that no two touch.
function every(ctx, theme, places, labels) {
  ctx.font = `${TICK}px ${theme.font}`;
  const widths = labels.map((text) => ctx.measureText(text).width + 6);
  for (let step = 1; ; step += 1) {
    const shown = places.map((_, k) => k).filter((k) => k % step === 0);
    if (shown.length < 2 || shown.slice(1).every((k, i) => places[k] - places[shown[i]]
      >= (widths[k] + widths[shown[i]]) / 2)) return step;
  }
}

function rateAxis(ctx, theme, plot, study) {
  const { ticks, labels, title } = study.rates;
  const places = ticks.map((rate) => plot.x + study.share(rate) * plot.w);
  const step = every(ctx, theme, places, labels.map(([above, below]) =>
    (above.length > below.length ? above : below)));
  const foot = plot.y + plot.h;
  places.forEach((x, k) => {
    stroke(ctx, [[x, foot], [x, foot + 4]], theme.axis, 1);
    if (k % step) return;
    write(ctx, theme, labels[k][0], x, foot + 11, { colour: theme.text });
    write(ctx, theme, labels[k][1], x, foot + 23, { size: SMALL });
  });
  axisTitle(ctx, theme, plot, title, foot + 40);
}

function axisTitle(ctx, theme, plot, words, y) {
  ctx.font = `12px ${theme.font}`;
  const half = ctx.measureText(words).width / 2; // never over the edge of a narrow view
  const x = Math.max(half + 1, plot.x + plot.w / 2);
  write(ctx, theme, words, x, y, { size: 12, colour: theme.text });
}

function sideTitle(ctx, theme, plot, words) {
  ctx.save();
  ctx.translate(10, plot.y + plot.h / 2);
  ctx.rotate(-Math.PI / 2);
  write(ctx, theme, words, 0, 0, { size: 12, colour: theme.text });
  ctx.restore();
}

function frame(ctx, theme, plot) {
  ctx.strokeStyle = theme.axis;
  ctx.lineWidth = 1;
  ctx.strokeRect(plot.x + 0.5, plot.y + 0.5, plot.w - 1, plot.h - 1);
}

const rowTop = (plot, study, row) => plot.y + plot.h * (1 - (row + 1) / study.rows.length);

function rowAxis(ctx, theme, plot, study, labelled) {
  for (const row of study.row_ticks) {
    const y = rowTop(plot, study, row) + plot.h / study.rows.length / 2;
    stroke(ctx, [[plot.x - 4, y], [plot.x, y]], theme.axis, 1);
    if (!labelled) continue;
    const mixed = study.rows.some((one) => !one.measured), { measured } = study.rows[row];
    const weight = !mixed ? "" : measured ? "bold" : "italic";
    write(ctx, theme, study.sizeWords(row), plot.x - 7, y,
      { align: "right", colour: theme.text, weight });
  }
  if (labelled) sideTitle(ctx, theme, plot, "Batch size");
}

function drawSplitMap(ctx, theme, plot, study, dpr) {
  const x = (rate) => plot.x + study.share(rate) * plot.w;
  const snap = (value) => Math.round(value * dpr) / dpr; // no seams between rows
  clipped(ctx, plot, () => {
    study.rows.forEach((row, i) => {
      const top = snap(rowTop(plot, study, i)), foot = snap(rowTop(plot, study, i - 1));
      const edges = [study.low, ...row.rates_bps, study.high].map(x);
      edges[0] = plot.x; // the lowest and highest splits reach to the ends
      row.splits.forEach((split, k) => {
        ctx.fillStyle = study.candidates[split].colour;
        const from = Math.max(plot.x, edges[k]);
        const to = k === row.splits.length - 1 ? plot.x + plot.w : edges[k + 1];
        if (to > from) ctx.fillRect(from, top, to - from, foot - top);
      });
    });
    const colours = ["rgba(0, 0, 0, 0.75)", "rgba(255, 255, 255, 0.75)"]; // seen on any split's
    drawDoubt(ctx, plot, study, x, FRAGILE, dots(ctx, dpr, colours));
    drawDoubt(ctx, plot, study, x, UNDECIDED, hatch(ctx, dpr, colours));
    drawSwitches(ctx, plot, study, x);
  });
  frame(ctx, theme, plot);
  rateAxis(ctx, theme, plot, study);
  rowAxis(ctx, theme, plot, study, true);
}

// Each change of split as a staircase through all rows in which it occurs.
function drawSwitches(ctx, plot, study, x) {
  const width = study.chosen.length <= 12 ? 1 : 0.5; // many narrow regions would drown
  let before = new Map();
  study.rows.forEach((row, i) => {
    const here = new Map(), top = rowTop(plot, study, i), foot = rowTop(plot, study, i - 1);
    row.rates_bps.forEach((rate, k) => {
      const pair = `${row.splits[k]}>${row.splits[k + 1]}`, at = x(rate), last = before.get(pair);
      here.set(pair, at);
      stroke(ctx, [...(last === undefined ? [] : [[last, foot]]), [at, foot], [at, top]],
        "white", width);
    });
    before = here;
  });
}

function drawDoubt(ctx, plot, study, x, mark, pattern) {
  const edges = study.doubt_edges_bps, count = edges.length - 1;
  if (count < 1) return;
  ctx.fillStyle = pattern;
  study.rows.forEach((_, i) => {
    const top = rowTop(plot, study, i), height = plot.h / study.rows.length;
    for (let from = 0; from < count; from += 1) {
      let to = from; // neighbours in one piece
      while (to < count && study.doubt[i * count + to] === mark) to += 1;
      if (to > from) ctx.fillRect(x(edges[from]), top, x(edges[to]) - x(edges[from]), height);
      from = Math.max(from, to);
    }
  });
}

function ellipsis(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  let end = text; // the end of a name tells blocks apart, its beginning does not
  while (end.length > 1 && ctx.measureText(`…${end}`).width > width) end = end.slice(1);
  return `…${end}`;
}

function drawSplitBar(ctx, theme, plot, study, barPx, current) {
  const names = study.chosen, height = plot.h / names.length, x = plot.x + plot.w + BAR_GAP;
  const step = Math.ceil(14 / height);
  names.forEach((split, k) => {
    const top = plot.y + plot.h - (k + 1) * height, here = split === current;
    ctx.fillStyle = study.candidates[split].colour;
    ctx.fillRect(x, top, BAR_PX, height + 0.5);
    if (k % step && !here) return;
    ctx.font = `${here ? "bold" : ""} ${TICK}px ${theme.font}`;
    const words = ellipsis(ctx, study.candidates[split].short, barPx - BAR_GAP - BAR_PX - 7);
    write(ctx, theme, words, x + BAR_PX + 5, top + height / 2,
      { align: "left", colour: theme.text, weight: here ? "bold" : "" });
  });
  ctx.strokeStyle = theme.axis;
  ctx.lineWidth = 1;
  ctx.strokeRect(x + 0.5, plot.y + 0.5, BAR_PX - 1, plot.h - 1);
}

function channels(colour) { return colour.match(/[\d.]+/g).slice(0, 3).map(Number); }

function palette(colours) {
  const stops = colours.map(channels), last = stops.length - 1;
  return Array.from({ length: 256 }, (_, k) => {
    const at = (k / 255) * last, low = Math.min(last - 1, Math.floor(at));
    return stops[low].map((one, c) => Math.round(one + (at - low) * (stops[low + 1][c] - one)));
  });
}

function drawGainMap(ctx, theme, plot, study, dpr) {
  const rows = study.rows.length, { columns } = study, shades = palette(study.gain_colours);
  const image = new ImageData(columns, rows);
  study.cells.forEach((gain, k) => {
    if (isNaN(gain)) return; // stays clear
    const row = rows - 1 - Math.floor(k / columns), at = 4 * (row * columns + (k % columns));
    const shade = shades[Math.round(255 * Math.min(1, Math.max(0, gain)))];
    image.data.set([...shade, 255], at);
  });
  const small = document.createElement("canvas");
  small.width = columns;
  small.height = rows;
  small.getContext("2d").putImageData(image, 0, 0);
  ctx.fillStyle = hatch(ctx, dpr, [IMPOSSIBLE]);
  ctx.fillRect(plot.x, plot.y, plot.w, plot.h);
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(small, plot.x, plot.y, plot.w, plot.h);
  frame(ctx, theme, plot);
  rateAxis(ctx, theme, plot, study);
  rowAxis(ctx, theme, plot, study, false);
  drawPercentBar(ctx, theme, plot, shades);
}

function drawPercentBar(ctx, theme, plot, shades) {
  const x = plot.x + plot.w + BAR_GAP;
  shades.forEach((shade, k) => {
    ctx.fillStyle = `rgb(${shade})`;
    ctx.fillRect(x, plot.y + plot.h * (1 - (k + 1) / 256), BAR_PX, plot.h / 256 + 0.6);
  });
  for (const share of [0, 20, 40, 60, 80, 100]) {
    const y = plot.y + plot.h * (1 - share / 100);
    stroke(ctx, [[x + BAR_PX, y], [x + BAR_PX + 3, y]], theme.axis, 1);
    write(ctx, theme, `${share} %`, x + BAR_PX + 6, Math.min(plot.y + plot.h - 5,
      Math.max(plot.y + 5, y)), { align: "left", colour: theme.text });
  }
  ctx.strokeStyle = theme.axis;
  ctx.lineWidth = 1;
  ctx.strokeRect(x + 0.5, plot.y + 0.5, BAR_PX - 1, plot.h - 1);
}

function markState(ctx, plot, study, state) {
  const x = plot.x + study.share(state.rate) * plot.w;
  const y = rowTop(plot, study, state.row) + plot.h / study.rows.length / 2;
  clipped(ctx, plot, () => {
    for (const [colour, dash] of [["rgba(255, 255, 255, 0.75)", []], ["rgba(0, 0, 0, 0.7)", [4, 4]]]) {
      stroke(ctx, [[x, plot.y], [x, plot.y + plot.h]], colour, 1, dash);
      stroke(ctx, [[plot.x, y], [plot.x + plot.w, y]], colour, 1, dash);
    }
  });
  disc(ctx, x, y);
}

// --- cost over rate ------------------------------------------------------------------------------

const logShare = (axis, value) => Math.log(value / axis.low) / Math.log(axis.high / axis.low);

function sideAxis(ctx, theme, plot, axis, y) {
  let last = Infinity;
  axis.ticks.forEach((tick, k) => {
    const at = y(tick);
    stroke(ctx, [[plot.x, at], [plot.x + plot.w, at]], theme.grid, 1);
    if (Math.abs(last - at) < 13) return;
    write(ctx, theme, axis.labels[k][0], plot.x - 5, at, { align: "right", colour: theme.text });
    last = at;
  });
  sideTitle(ctx, theme, plot, axis.title);
}

const costY = (plot, study) => (value) => plot.y + plot.h * (1 - logShare(study.costs, value));

function costLine(plot, study, row, split, from, to) {
  const y = costY(plot, study), first = study.share(from), last = study.share(to);
  const count = Math.max(2, Math.ceil(SAMPLES * (last - first)));
  return Array.from({ length: count + 1 }, (_, k) => {
    const share = first + (k / count) * (last - first);
    return [plot.x + share * plot.w, y(study.costAt(row, split, study.rateAt(share)))];
  });
}

function drawCurves(ctx, theme, plot, study, row) {
  const { low, high } = study, { splits, rates_bps: changes } = study.rows[row];
  sideAxis(ctx, theme, plot, study.costs, costY(plot, study));
  clipped(ctx, plot, () => {
    const order = study.candidates.map((_, split) => split)
      .filter((split) => !isNaN(study.costAt(row, split, low)));
    for (const chosen of [false, true]) { // grey below, colours above
      for (const split of order.filter((one) => study.best[row].has(one) === chosen)) {
        const colour = chosen ? study.candidates[split].colour : "rgba(130, 130, 130, 0.45)";
        stroke(ctx, costLine(plot, study, row, split, low, high), colour, chosen ? 1.6 : 0.8);
      }
    }
    const edges = [low, ...changes, high];
    const within = (rate) => Math.min(high, Math.max(low, rate));
    const pieces = splits.map((split, k) => [split, within(k ? edges[k] : low),
      within(k < changes.length ? edges[k + 1] : high)]).filter(([, from, to]) => to > from);
    // A rim, without which light grey on white and dark grey on black would vanish.
    for (const [width, rim] of [[6, true], [4.2, false]]) {
      for (const [split, from, to] of pieces) {
        const colour = rim ? theme.text : study.candidates[split].colour;
        stroke(ctx, costLine(plot, study, row, split, from, to), colour, width);
      }
    }
    for (const rate of changes.filter((one) => one > low && one < high)) {
      const x = plot.x + study.share(rate) * plot.w;
      const y = costY(plot, study)(study.costAt(row, study.bestAt(row, rate), rate));
      stroke(ctx, [[x, y], [x, plot.y + plot.h]], theme.quiet, 1, [2, 3]);
    }
  });
  frame(ctx, theme, plot);
  rateAxis(ctx, theme, plot, study);
}

function markCurve(ctx, theme, plot, study, state) {
  const x = plot.x + study.share(state.rate) * plot.w, best = study.bestAt(state.row, state.rate);
  const y = costY(plot, study)(study.costAt(state.row, best, state.rate));
  stroke(ctx, [[x, plot.y], [x, plot.y + plot.h]], theme.text, 1, [4, 4]);
  disc(ctx, x, y);
}

// --- breakdown -----------------------------------------------------------------------------------

function niceStep(top) {
  const decade = 10 ** Math.floor(Math.log10(top / 5));
  return [1, 2, 5, 10].map((m) => m * decade).find((step) => top / step <= 5);
}

function secondsAxis(top, words) {
  const [scale, prefix] = PREFIXES.find(([one]) => one <= 1 && top >= one) ?? PREFIXES.at(-1);
  const step = niceStep(top), ticks = [];
  for (let k = 0; k * step <= top * (1 + 1e-9); k += 1) ticks.push(k * step);
  return { ticks, labels: ticks.map((tick) => [digits(tick / scale)]), title: `${words} in ${prefix}s` };
}

function depthAxis(ctx, theme, plot, words, places, labels) {
  const step = every(ctx, theme, places.slice(0, -1), labels.slice(0, -1));
  const foot = plot.y + plot.h, last = places.length - 1;
  places.forEach((x, k) => {
    const ends = k === last || (k % step === 0 && places[last] - x > 24);
    if (ends) write(ctx, theme, labels[k], x, foot + 11, { colour: theme.text });
  });
  axisTitle(ctx, theme, plot, words, foot + 27);
}

// The best bar is always whole. Where the device can do it all alone, the end never moves; else it
// moves in steps while the rate falls.
function topOf(study, { row, rate }) {
  const { top_s: usual } = study.rows[row];
  const needed = 1.1 * study.latencyAt(row, study.bestAt(row, rate), rate);
  if (needed <= usual) return usual;
  const decade = 10 ** Math.floor(Math.log10(needed));
  return [1, 1.5, 2, 3, 5, 7, 10].map((m) => m * decade).find((step) => step >= needed);
}

const depthTitle = (study) => `${study.words.depth === "blocks" ? "Blocks" : "Layers"} on the device`;

function drawBars(ctx, theme, plot, study, state, dpr) {
  const { row, rate } = state, slot = plot.w / study.candidates.length, top = topOf(study, state);
  const y = (seconds) => plot.y + plot.h * (1 - Math.min(1, seconds / top));
  sideAxis(ctx, theme, plot, secondsAxis(top, "Latency"), y);
  const best = study.bestAt(row, rate), colours = study.parts;
  const width = Math.max(1, slot * 0.82), gap = (slot - width) / 2;
  const nowhere = hatch(ctx, dpr, [IMPOSSIBLE], 5);
  study.candidates.forEach((_, split) => {
    const x = plot.x + split * slot + gap, parts = study.partsAt(row, split, rate);
    if (isNaN(parts.head + parts.tail)) {
      ctx.fillStyle = nowhere;
      ctx.fillRect(x, plot.y, width, plot.h);
      return;
    }
    const whole = y(study.latencyAt(row, split, rate));
    ctx.fillStyle = theme.paper; // no grid shines through
    ctx.fillRect(x, whole, width, plot.y + plot.h - whole);
    ctx.globalAlpha = split === best ? 1 : 0.75;
    let done = 0;
    for (const [name, [colour]] of Object.entries(colours)) {
      ctx.fillStyle = colour;
      ctx.fillRect(x, y(done + parts[name]), width, y(done) - y(done + parts[name]));
      done += parts[name];
    }
    ctx.globalAlpha = 1;
    if (done > top) longer(ctx, theme, x + width / 2, plot.y + 2, Math.min(4, width / 2));
  });
  frame(ctx, theme, plot);
  markBest(ctx, theme, plot, study, state, { slot, y });
  const places = study.candidates.map((_, split) => plot.x + (split + 0.5) * slot);
  const labels = study.candidates.map((one) => `${one.depth}`);
  if (study.candidates.at(-1).name === "no offloading") labels[labels.length - 1] = "all";
  depthAxis(ctx, theme, plot, depthTitle(study), places, labels);
}

function longer(ctx, theme, x, y, half) { // a bar that leaves the plot
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x + half, y + 1.6 * half);
  ctx.lineTo(x - half, y + 1.6 * half);
  ctx.closePath();
  ctx.fillStyle = theme.paper;
  ctx.fill();
}

function markBest(ctx, theme, plot, study, { row, rate }, { slot, y }) {
  const best = study.bestAt(row, rate), seconds = study.latencyAt(row, best, rate);
  const x = plot.x + (best + 0.5) * slot, foot = Math.max(plot.y + 16, y(seconds) - 3);
  ctx.beginPath();
  ctx.moveTo(x, foot);
  ctx.lineTo(x - 6, foot - 9);
  ctx.lineTo(x + 6, foot - 9);
  ctx.closePath();
  ctx.fillStyle = study.candidates[best].colour;
  ctx.fill();
  ctx.strokeStyle = theme.text;
  ctx.lineWidth = 1.5;
  ctx.stroke();
  const left = x < plot.x + plot.w / 2, words = `best: ${cost(seconds, "s")}`;
  ctx.font = `bold 12px ${theme.font}`;
  const wide = ctx.measureText(words).width, from = left ? x + 10 : x - 10 - wide;
  ctx.globalAlpha = 0.85; // over the bars of others
  ctx.fillStyle = theme.paper;
  ctx.fillRect(from - 2, foot - 15, wide + 4, 15);
  ctx.globalAlpha = 1;
  write(ctx, theme, words, from, foot - 7, { size: 12, align: "left", weight: "bold", colour: theme.text });
}

// --- compression ---------------------------------------------------------------------------------

const ratioY = (plot, study) => (c) => plot.y + plot.h * (1 - logShare(study.ratios, c));
const placeX = (plot, study) => (k) => plot.x + ((k + 0.5) / (study.places.length + 2)) * plot.w;

function drawPlaces(ctx, theme, plot, study) {
  const x = placeX(plot, study), y = ratioY(plot, study);
  sideAxis(ctx, theme, plot, study.ratios, y);
  stroke(ctx, [[plot.x, y(1)], [plot.x + plot.w, y(1)]], theme.text, 1.2, [6, 4]);
  const few = study.places.filter((place) => place.kind === "compressive").length <= 12;
  for (const kind of ["none", "natural", "compressive"]) { // the important ones on top
    study.places.forEach((place, k) => {
      if (place.kind === kind) drawPlace(ctx, theme, place, x(k + 1), y(place.ratio));
      if (place.kind === "compressive" && kind === place.kind && few) {
        const low = plot.y + plot.h - y(place.ratio) < 26; // clear of the ring in either place
        write(ctx, theme, digits(Number(place.ratio.toPrecision(2))), x(k + 1),
          y(place.ratio) + (low ? -18 : 18), { size: 10, colour: theme.text });
      }
    });
  }
  frame(ctx, theme, plot);
  const places = Array.from({ length: study.places.length + 2 }, (_, k) => x(k));
  const labels = places.map((_, k) => (k === places.length - 1 ? "all" : `${k}`));
  depthAxis(ctx, theme, plot, depthTitle(study), places, labels);
}

function drawPlace(ctx, theme, place, x, y) {
  const size = place.kind === "compressive" ? 6 : 3.5;
  ctx.beginPath();
  if (place.kind === "compressive") {
    [[0, -size], [size, 0], [0, size], [-size, 0]].forEach(([dx, dy]) => ctx.lineTo(x + dx, y + dy));
    ctx.closePath();
  } else {
    ctx.arc(x, y, size, 0, 2 * Math.PI);
  }
  ctx.fillStyle = place.kind === "none" ? theme.paper : place.colour;
  ctx.strokeStyle = place.kind === "none" ? IMPOSSIBLE : theme.text;
  ctx.lineWidth = place.kind === "compressive" ? 1 : place.kind === "none" ? 1.2 : 0.5;
  ctx.fill();
  ctx.stroke();
}

// Where a split stands among the places: 0 the input, the last one the output.
function placeOf(study, split) {
  const { cut } = study.candidates[split];
  if (cut === 0) return 0;
  const found = study.places.findIndex((place) => place.cut === cut);
  const whole = study.candidates[split].name === "no offloading";
  return whole || found < 0 ? study.places.length + 1 : found + 1;
}

function markPlace(ctx, theme, plot, study, state) {
  const split = study.bestAt(state.row, state.rate), k = placeOf(study, split);
  const x = placeX(plot, study)(k), place = study.places[k - 1];
  const sent = k <= study.places.length, c = k === 0 ? 1 : place?.ratio;
  stroke(ctx, [[x, plot.y], [x, plot.y + plot.h]], theme.text, 1, [4, 4]);
  if (sent) {
    ctx.beginPath();
    ctx.arc(x, ratioY(plot, study)(c), 9, 0, 2 * Math.PI);
    ctx.strokeStyle = theme.text;
    ctx.lineWidth = 2;
    ctx.stroke();
  }
}
