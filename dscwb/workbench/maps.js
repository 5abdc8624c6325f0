// The two maps over data rate and batch size: which split is best, and what choosing it gains.

const MAP_MARGINS = [38, 14, 25, 36];
const UNDECIDED_INKS = ["rgba(0, 0, 0, 0.75)", "rgba(255, 255, 255, 0.75)"]; // seen on any colour
const FEW_REGIONS = 12; // of more, wide borders would hide what lies between them
const GAIN_ANCHORS = [[255, 255, 217], [237, 248, 177], [199, 233, 180], [127, 205, 187],
  [65, 182, 196], [29, 145, 192], [34, 94, 168], [37, 52, 148], [8, 29, 88]]; // ColorBrewer's YlGnBu
const GAIN_LEVELS = [0.25, 0.5, 0.75];
const RATE_STEP = 0.02; // of the exponent of ten, as the slider of data rates
// What keys do to a map: steps of the rate, rows.
const STEPS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
  PageUp: [10, 0], PageDown: [-10, 0], Home: [-Infinity, 0], End: [Infinity, 0] };

// --- where things lie ----------------------------------------------------------------------------

const rowsOf = (study) => study.batchSizes.length;
const rowTop = (plot, study, row) => plot.y + plot.h - (row + 1) * plot.h / rowsOf(study);
const rowMiddle = (plot, study, row) => rowTop(plot, study, row - 0.5);
const rateX = (plot, study, rate) => plot.x + rateAxis(study).share(rate) * plot.w;
const rateUnder = (plot, study, x) =>
  rateAxis(study).value(Math.min(1, Math.max(0, (x - plot.x) / plot.w)));

// Upper edge and height of a row, on whole pixels of the screen: no seams between rows.
function rowBox(pen, study, row) {
  const [top, foot] = [row, row - 1].map((one) => pen.snap(rowTop(pen, study, one)));
  return [top, foot - top];
}

// Of every row the splits that are best from left to right, and the pixels at which each begins;
// the last edge is the plot's own.
function piecesOf(pen, study) {
  const { low, high } = study;
  return study.envelopes.map(({ splits, rates }) => {
    const seen = splits.map((_, k) => k).filter((k) =>
      (k === 0 || rates[k - 1] < high) && (k === rates.length || rates[k] > low));
    const inner = seen.slice(1).map((k) => rateX(pen, study, rates[k - 1]));
    return { splits: seen.map((k) => splits[k]), edges: [pen.x, ...inner, pen.right] };
  });
}

// Lines around a region: of every row, the edges between which it is inside, outside, inside, …
function outline(pen, study, edgesOfRows) {
  const lines = [];
  edgesOfRows.forEach((edges, row) => {
    const [top, height] = rowBox(pen, study, row);
    for (const x of edges) lines.push([[x, top], [x, top + height]]);
    // Where one of two rows is inside and the other is not.
    const both = [...edges, ...(edgesOfRows[row - 1] ?? [])].sort((a, b) => a - b);
    for (let k = 0; k < both.length; k += 2) {
      if (both[k + 1] > both[k]) lines.push([[both[k], top + height], [both[k + 1], top + height]]);
    }
  });
  const top = rowBox(pen, study, edgesOfRows.length - 1)[0], upper = edgesOfRows.at(-1);
  for (let k = 0; k < upper.length; k += 2) lines.push([[upper[k], top], [upper[k + 1], top]]);
  return lines;
}

const edgesOf = (pieces, split) => pieces.map(({ splits, edges }) => {
  const k = splits.indexOf(split);
  return k < 0 ? [] : [edges[k], edges[k + 1]];
});

// --- the map of splits ---------------------------------------------------------------------------

function drawRegions(pen, study, pieces) {
  const { candidates } = study;
  pieces.forEach(({ splits, edges }, row) => {
    const [top, height] = rowBox(pen, study, row);
    splits.forEach((split, k) => {
      pen.box(edges[k], top, edges[k + 1] - edges[k], height, candidates[split].colour);
    });
  });
  drawBorders(pen, study, pieces);
}

// Between any two neighbours, in the ink that both let see.
function drawBorders(pen, study, pieces) {
  const { candidates } = study, lines = { [BLACK]: [], [WHITE]: [] };
  const add = (one, other, line) =>
    lines[inkOn(candidates[one].colour, candidates[other].colour)].push(line);
  pieces.forEach(({ splits, edges }, row) => {
    const [top, height] = rowBox(pen, study, row), y = top + height;
    splits.slice(1).forEach((split, k) => {
      const x = edges[k + 1];
      add(splits[k], split, [[x, top], [x, y]]);
    });
    const below = pieces[row - 1];
    let from = pen.x, here = 0, under = 0;
    while (below && from < pen.right) {
      const to = Math.min(edges[here + 1], below.edges[under + 1]);
      if (splits[here] !== below.splits[under]) {
        add(splits[here], below.splits[under], [[from, y], [to, y]]);
      }
      here += edges[here + 1] <= to;
      under += below.edges[under + 1] <= to;
      from = to;
    }
  });
  const width = study.chosen.length <= FEW_REGIONS ? 1.25 : 0.5;
  for (const [ink, some] of Object.entries(lines)) pen.lines(some, ink, width);
}

// The name of a split, where its region is widest for a line of text; nothing where it is narrow.
function labelRegions(pen, study, pieces) {
  const deep = Math.ceil((TEXT_PX + 4) / (pen.h / rowsOf(study))); // rows that a line of text takes
  for (const split of study.chosen) {
    const { shown, colour } = study.candidates[split], edges = edgesOf(pieces, split), spots = [];
    for (let row = 0; row + deep <= edges.length; row += 1) {
      const some = edges.slice(row, row + deep);
      if (some.some((one) => !one.length)) continue;
      const from = Math.max(...some.map(([left]) => left));
      spots.push({ row, from, width: Math.min(...some.map(([, right]) => right)) - from });
    }
    const width = Math.max(...spots.map((one) => one.width));
    const needed = pen.widthOf(shown, BOLD) + 12;
    if (!(width > needed)) continue;
    const wide = spots.filter((one) => one.width > Math.max(needed, 0.9 * width));
    const { row, from, width: here } = wide[wide.length >> 1];
    pen.text(shown, from + here / 2, rowMiddle(pen, study, row + (deep - 1) / 2),
      { colour: inkOn(colour), weight: BOLD, halo: colour });
  }
}

// Hatches where nobody knows which split is best, dots where the answer hangs on a model.
function drawDoubts(pen, { study, confidence }) {
  const hatch = pen.hatch(UNDECIDED_INKS), dots = pen.dots(UNDECIDED_INKS);
  study.batchSizes.forEach((size, row) => {
    const [top, height] = rowBox(pen, study, row), known = confidence?.batch_sizes.indexOf(size) ?? -1;
    const edges = (confidence?.edges_bps ?? []).map((rate) => rateX(pen, study, rate));
    const fill = (pattern, from, to) => to > from && pen.box(from, top, to - from, height, pattern);
    if (known >= 0) runs(confidence.undecided[known], (from, to) => fill(hatch, edges[from], edges[to]));
    for (const [from, to] of study.fragile(row)) {
      fill(dots, ...[from, to].map((rate) => rateX(pen, study, rate)));
    }
  });
}

// Calls `found` with both ends of every run of true values.
function runs(values, found) {
  let from = -1;
  for (let k = 0; k <= values.length; k += 1) {
    if (values[k] && from < 0) from = k;
    if (!values[k] && from >= 0) {
      found(from, k);
      from = -1;
    }
  }
}

// --- the map of gains ----------------------------------------------------------------------------

function gainShade(share) {
  const at = Math.min(1, Math.max(0, share)) * (GAIN_ANCHORS.length - 1), k = Math.min(Math.floor(at), 7);
  return GAIN_ANCHORS[k].map((one, i) => Math.round(one + (at - k) * (GAIN_ANCHORS[k + 1][i] - one)));
}

const gainInk = (share) => inkOn(`rgb(${gainShade(share)})`);

// As pixels of an image: alpha, blue, green, red.
const GAIN_PIXELS = Uint32Array.from({ length: 256 }, (_, k) => {
  const [red, green, blue] = gainShade(k / 255);
  return (255 << 24) | (blue << 16) | (green << 8) | red;
});

// One pixel of the image a row and a column of the screen; clear where the baseline is impossible.
function gainImage(study, baseline, columns) {
  const rows = rowsOf(study), pixels = new Uint32Array(rows * columns), { intercept, slope } = study;
  const axis = rateAxis(study);
  const rates = Float64Array.from({ length: columns }, (_, k) => axis.value((k + 0.5) / columns));
  study.envelopes.forEach(({ splits, rates: changes }, row) => {
    const fixed = study.index(row, baseline), from = (rows - 1 - row) * columns;
    if (isNaN(intercept[fixed])) return;
    for (let k = 0, piece = 0, best = study.index(row, splits[0]); k < columns; k += 1) {
      while (piece < changes.length && changes[piece] < rates[k]) {
        piece += 1;
        best = study.index(row, splits[piece]);
      }
      const cost = intercept[best] + slope[best] / rates[k];
      const saved = 1 - cost / (intercept[fixed] + slope[fixed] / rates[k]);
      pixels[from + k] = GAIN_PIXELS[Math.round(255 * Math.min(1, Math.max(0, saved || 0)))];
    }
  });
  const image = document.createElement("canvas");
  Object.assign(image, { width: columns, height: rows });
  const bytes = new Uint8ClampedArray(pixels.buffer);
  image.getContext("2d").putImageData(new ImageData(bytes, columns, rows), 0, 0);
  return image;
}

// Where the gain rises above a level or falls below it: 1/r of (a + s/r) = (1 - g) (A + S/r) is
// known exactly, for every piece of the envelope.
function levelEdges(pen, study, row, baseline, level) {
  const { splits, rates } = study.envelopes[row], fixed = study.index(row, baseline);
  const ends = [study.low, ...rates.map((one) => Math.min(study.high, Math.max(study.low, one))), study.high];
  const edges = [];
  const above = (rate) => study.gainAt(row, rate, baseline) >= level;
  if (above(study.low)) edges.push(pen.x);
  splits.forEach((split, k) => {
    const best = study.index(row, split), left = 1 - level;
    const rate = (left * study.slope[fixed] - study.slope[best])
      / (study.intercept[best] - left * study.intercept[fixed]);
    if (rate > ends[k] && rate < ends[k + 1]) edges.push(rateX(pen, study, rate));
  });
  if (edges.length % 2) edges.push(pen.right);
  return edges;
}

function drawGains(pen, { study, baseline }) {
  const image = gainImage(study, baseline, Math.round(pen.w * pen.dpr));
  pen.brush.imageSmoothingEnabled = false;
  pen.brush.drawImage(image, pen.x, pen.y, pen.w, pen.h);
  for (const level of GAIN_LEVELS) {
    const edges = study.batchSizes.map((_, row) => levelEdges(pen, study, row, baseline, level));
    pen.lines(outline(pen, study, edges), gainInk(level), 1);
  }
  const nowhere = pen.hatch([IMPOSSIBLE]);
  study.batchSizes.forEach((_, row) => {
    if (!isNaN(study.intercept[study.index(row, baseline)])) return;
    const [top, height] = rowBox(pen, study, row);
    pen.box(pen.x, top, pen.w, height, nowhere);
  });
}

// --- what both share -----------------------------------------------------------------------------

function drawMapAxes(pen, study) {
  pen.frame();
  drawFootAxis(pen, rateAxis(study), "Data rate (bit/s)");
  drawSideTitle(pen, "Batch size");
  const measured = study.interpolated.map((one) => !one);
  for (const row of labelledRows(study, pen.h / rowsOf(study), measured)) {
    const y = rowMiddle(pen, study, row);
    pen.line([[pen.x - 4, y], [pen.x, y]], pen.theme.quiet);
    pen.text(`${study.batchSizes[row]}`, pen.x - 7, y, { align: "right", weight: measured[row] ? "" : "italic" });
  }
}

// Rows whose labels don't touch: the ends, what was measured where not all was, round numbers.
function labelledRows(study, rowPx, measured) {
  const sizes = study.batchSizes, gap = Math.max(1, Math.ceil((TEXT_PX + 2) / rowPx));
  const round = [1, 2, 5, 10, 20, 50, 100].find((one) => gap <= one) ?? Infinity;
  const some = measured.includes(false) ? measured : sizes.map(() => false);
  const wanted = [0, sizes.length - 1, ...sizes.keys()].filter((row, k) => k < 2 || some[row]);
  const chosen = [];
  for (const row of [...wanted, ...sizes.keys()]) {
    const free = chosen.every((other) => Math.abs(other - row) >= gap);
    if (free && (wanted.includes(row) || sizes[row] % round === 0)) chosen.push(row);
  }
  return chosen;
}

// What moves: the regions of splits that are lit or pinned, and the state.
function markMap(pen, { study, row, rate, lit, pinned }) {
  pen.inside(() => {
    const pieces = piecesOf(pen, study);
    for (const [split, dashed] of [[pinned, true], [lit, false]]) {
      if (split !== null) pen.rim(outline(pen, study, edgesOf(pieces, split)), dashed);
    }
  });
  if (rate < study.low || rate > study.high) return;
  const x = rateX(pen, study, rate), y = rowMiddle(pen, study, row);
  pen.inside(() => {
    for (const [colour, dash] of [["rgba(255, 255, 255, 0.8)", []], ["rgba(0, 0, 0, 0.8)", [4, 4]]]) {
      pen.down(x, colour, 1, dash);
      pen.across(y, colour, 1, dash);
    }
  });
  pen.circle(x, y, 6, WHITE, BLACK, 2.5); // stands out on every colour
}

function underMap({ study }, plot, x, y) {
  const share = 1 - (y - plot.y) / plot.h, last = rowsOf(study) - 1;
  const row = Math.min(last, Math.max(0, Math.floor(share * (last + 1))));
  const rate = rateUnder(plot, study, x);
  return { row, rate, split: study.bestAt(row, rate) };
}

// What a key asks for while a map has the focus: a state, a split to pin, or nothing.
function keyed({ study, row, rate, best }, key) {
  if (key === "Enter") return { pin: best };
  if (!STEPS[key]) return null;
  const [rates, rows] = STEPS[key], within = (low, value, high) => Math.min(high, Math.max(low, value));
  return {
    row: within(0, row + rows, rowsOf(study) - 1),
    rate: within(study.low, rate * 10 ** (RATE_STEP * rates), study.high),
  };
}

const mapOf = (view) => ({
  margins: MAP_MARGINS, steers: true, keyed, mark: markMap, at: underMap,
  tip: ({ study }, { row, rate, split }) => tipWords(study, row, rate, split), ...view,
});

const bestSplitMap = mapOf({
  name: "splits",
  title: () => ["Best split", "by data rate and batch size"],
  key: splitKey,
  turns: () => [],
  still(pen, ctx) {
    const { study } = ctx, pieces = piecesOf(pen, study);
    pen.inside(() => {
      drawRegions(pen, study, pieces);
      drawDoubts(pen, ctx);
      labelRegions(pen, study, pieces);
    });
    drawMapAxes(pen, study);
  },
});

// The splits that are best somewhere, and the pinned one.
function splitKey({ study, pinned, confidence }) {
  const { candidates, chosen } = study, shown = new Set([...chosen, ...(pinned === null ? [] : [pinned])]);
  const chips = [...shown].sort((a, b) => a - b).map((split) => {
    const { colour, shown: words } = candidates[split];
    return { mark: swatch(colour), words, split, look: colour };
  });
  const doubts = [];
  if (confidence?.undecided.some((row) => row.includes(true))) {
    doubts.push({ mark: patterned((pen) => pen.hatch([pen.theme.text])), words: "undecided: noise" });
  }
  if (study.batchSizes.some((_, row) => study.fragile(row).length)) {
    doubts.push({ mark: patterned((pen) => pen.dots([pen.theme.text])), words: "only if the model is right" });
  }
  return [...chips, ...doubts];
}

const gainMap = mapOf({
  name: "gains",
  title: ({ study, baseline }) => [`Gain over ${study.candidates[baseline].shown}`,
    study.unit === "J" ? "energy saved by the best split" : "time saved by the best split"],
  key({ study, baseline }) {
    const every = study.batchSizes.every((_, row) => !isNaN(study.intercept[study.index(row, baseline)]));
    const scale = { mark: gainScale, wide: SCALE_PX, words: "0 to 100 %, a line each 25 %" };
    const words = `${study.candidates[baseline].shown} is not possible`;
    return every ? [scale] : [scale, { mark: patterned((pen) => pen.hatch([IMPOSSIBLE])), words }];
  },
  turns: ({ baseline }) => [baseline],
  still(pen, ctx) {
    pen.inside(() => drawGains(pen, ctx));
    drawMapAxes(pen, ctx.study);
  },
});

const SCALE_PX = 92;

function gainScale(pen, x, y) {
  for (let k = 0; k < SCALE_PX; k += 1) pen.box(x + k, y + 1, 1.5, 12, `rgb(${gainShade(k / SCALE_PX)})`);
  for (const level of GAIN_LEVELS) {
    pen.line([[x + level * SCALE_PX, y + 1], [x + level * SCALE_PX, y + 13]], gainInk(level));
  }
  pen.border(x + 0.5, y + 1, SCALE_PX - 1, 12, pen.theme.quiet);
}
