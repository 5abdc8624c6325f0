// The two maps over data rate and batch size: which split is best, and what choosing it gains.

const MAP_MARGINS = [38, 14, 25, 36];
const DOUBT_INKS = ["rgba(0, 0, 0, 0.75)", "rgba(255, 255, 255, 0.75)"]; // seen on any colour
const FEW_REGIONS = 12; // of more, wide borders would hide what lies between them
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
    splits.forEach((split, k) => { // each under the next one: no seam between two
      pen.box(edges[k], top, pen.right - edges[k], height, candidates[split].colour);
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
  const hatch = pen.hatch(DOUBT_INKS), dots = pen.dots(DOUBT_INKS);
  const x = (rate) => rateX(pen, study, rate), edges = (confidence?.edges_bps ?? []).map(x);
  study.batchSizes.forEach((size, row) => {
    const [top, height] = rowBox(pen, study, row);
    const fill = (pattern, from, to) => pen.box(from, top, to - from, height, pattern);
    const undecided = confidence?.undecided[confidence.batch_sizes.indexOf(size)] ?? [];
    runs(undecided, (from, to) => fill(hatch, edges[from], edges[to]));
    for (const [from, to] of study.fragile(row)) fill(dots, x(from), x(to));
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

// --- what both share -----------------------------------------------------------------------------

function drawMapAxes(pen, study) {
  pen.frame();
  drawFootAxis(pen, rateAxis(study), "Data rate (bit/s)");
  drawSideTitle(pen, "Batch size");
  const measured = study.interpolated.map((one) => !one);
  for (const row of labelledRows(study, pen.h / rowsOf(study), measured)) {
    const y = rowMiddle(pen, study, row);
    pen.line([[pen.x - 4, y], [pen.x, y]], pen.theme.quiet);
    const weight = measured[row] ? "" : "italic";
    pen.text(`${study.batchSizes[row]}`, pen.x - 7, y, { align: "right", weight });
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
  for (const [colour, dash] of [["rgba(255, 255, 255, 0.8)", []], ["rgba(0, 0, 0, 0.8)", [4, 4]]]) {
    pen.down(x, colour, 1, dash);
    pen.across(y, colour, 1, dash);
  }
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
  const [rates, rows] = STEPS[key], wanted = rate * 10 ** (RATE_STEP * rates);
  return {
    row: Math.min(rowsOf(study) - 1, Math.max(0, row + rows)),
    rate: Math.min(study.high, Math.max(study.low, wanted)),
  };
}

const mapOf = (view) => ({
  margins: MAP_MARGINS, steers: true, keyed, mark: markMap, at: underMap,
  tip: splitTip, ...view,
});

const bestSplitMap = mapOf({
  name: "splits",
  title: ({ study }) => ["Best split",
    `a split is best in ${formatPercent(study.usefulness)} of the states shown`],
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
  const shown = new Set([...study.chosen, ...(pinned === null ? [] : [pinned])]);
  const entries = [...shown].sort((a, b) => a - b).map((split) => {
    const { colour, shown: words } = study.candidates[split];
    return { mark: swatch(colour), words, split, look: colour };
  });
  const add = (words, patternOf) => entries.push({ mark: patterned(patternOf), words });
  if (confidence?.undecided.some((row) => row.includes(true))) {
    add("undecided: noise", (pen) => pen.hatch([pen.theme.text]));
  }
  if (study.errors.length) add("only if the model is right", (pen) => pen.dots([pen.theme.text]));
  return entries;
}
