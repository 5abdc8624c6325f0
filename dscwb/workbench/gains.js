// The map of what the best split gains over a fixed one.

const GAIN_ANCHORS = [[255, 255, 217], [237, 248, 177], [199, 233, 180], [127, 205, 187],
  [65, 182, 196], [29, 145, 192], [34, 94, 168], [37, 52, 148], [8, 29, 88]]; // ColorBrewer: YlGnBu
const GAIN_LEVELS = [0.25, 0.5, 0.75];
const SCALE_PX = 92; // of the key

function gainShade(share) {
  const last = GAIN_ANCHORS.length - 1, at = Math.min(1, Math.max(0, share)) * last;
  const k = Math.min(last - 1, Math.floor(at)), next = GAIN_ANCHORS[k + 1];
  return GAIN_ANCHORS[k].map((one, i) => Math.round(one + (at - k) * (next[i] - one)));
}

const gainInk = (share) => inkOn(`rgb(${gainShade(share)})`);

// As pixels of an image: alpha, blue, green, red.
const GAIN_PIXELS = Uint32Array.from({ length: 256 }, (_, k) => {
  const [red, green, blue] = gainShade(k / 255);
  return (255 << 24) | (blue << 16) | (green << 8) | red;
});

const isPossible = (study, row, split) => !isNaN(study.intercept[study.index(row, split)]);

// One pixel of the image a row and a column of the screen; clear where the baseline is impossible.
function gainImage(study, baseline, columns) {
  const rows = rowsOf(study), pixels = new Uint32Array(rows * columns), axis = rateAxis(study);
  const rates = Float64Array.from({ length: columns }, (_, k) => axis.value((k + 0.5) / columns));
  const { intercept: a, slope: s } = study;
  study.envelopes.forEach(({ splits, rates: changes }, row) => {
    if (!isPossible(study, row, baseline)) return;
    const fixed = study.index(row, baseline), start = (rows - 1 - row) * columns;
    let piece = 0, best = study.index(row, splits[0]);
    for (let k = 0; k < columns; k += 1) {
      while (piece < changes.length && changes[piece] < rates[k]) {
        piece += 1;
        best = study.index(row, splits[piece]);
      }
      const gained = 1 - (a[best] + s[best] / rates[k]) / (a[fixed] + s[fixed] / rates[k]);
      const shade = Math.min(1, Math.max(0, gained || 0)); // nothing may cost anything
      pixels[start + k] = GAIN_PIXELS[Math.round(255 * shade)];
    }
  });
  const image = document.createElement("canvas"), bytes = new Uint8ClampedArray(pixels.buffer);
  Object.assign(image, { width: columns, height: rows });
  image.getContext("2d").putImageData(new ImageData(bytes, columns, rows), 0, 0);
  return image;
}

// Pixels at which the gain rises above a level or falls below it: the rate r at which
// a + s/r = (1 - level) (A + S/r) is known exactly, for every piece of the envelope.
function levelEdges(pen, study, row, baseline, level) {
  const { splits, rates } = study.envelopes[row], { intercept: a, slope: s, low, high } = study;
  const fixed = study.index(row, baseline), left = 1 - level;
  const edges = study.gainAt(row, low, baseline) >= level ? [pen.x] : [];
  splits.forEach((split, k) => {
    const best = study.index(row, split);
    const rate = (left * s[fixed] - s[best]) / (a[best] - left * a[fixed]);
    const [from, to] = [Math.max(low, rates[k - 1] ?? low), Math.min(high, rates[k] ?? high)];
    if (rate > from && rate < to) edges.push(rateX(pen, study, rate));
  });
  return edges.length % 2 ? [...edges, pen.right] : edges;
}

function drawGains(pen, { study, baseline }) {
  const image = gainImage(study, baseline, Math.round(pen.w * pen.dpr));
  pen.brush.imageSmoothingEnabled = false;
  pen.brush.drawImage(image, pen.x, pen.y, pen.w, pen.h);
  for (const level of GAIN_LEVELS) {
    const edges = study.batchSizes.map((_, row) => levelEdges(pen, study, row, baseline, level));
    pen.lines(outline(pen, study, edges), gainInk(level));
  }
  const nowhere = pen.hatch([IMPOSSIBLE]);
  study.batchSizes.forEach((_, row) => {
    const [top, height] = rowBox(pen, study, row);
    if (!isPossible(study, row, baseline)) pen.box(pen.x, top, pen.w, height, nowhere);
  });
}

// What the gain is over: a split by its name, or a rule with the split that it leads to.
function comparedWith({ study, state, baseline }) {
  const { name, shown } = study.candidates[baseline], asked = state.baseline.replace(/^after /, "");
  return asked === name ? shown : `${asked.replaceAll("_", " ")} (${shown})`;
}

function gainWords({ study, baseline }) {
  const mean = study.meanGain(baseline), saved = study.unit === "J" ? "energy" : "time";
  return isNaN(mean) ? `${saved} saved, where it is possible`
    : `${saved} saved: mean ${formatPercent(mean)} over the states shown`;
}

function gainKey(ctx) {
  const { study, baseline } = ctx, every = study.batchSizes.every(
    (_, row) => isPossible(study, row, baseline));
  const scale = { mark: gainScale, wide: SCALE_PX, words: "0 to 100 %, a line each 25 %" };
  const nowhere = { mark: patterned((pen) => pen.hatch([IMPOSSIBLE])),
    words: `${comparedWith(ctx)} is not possible` };
  return every ? [scale] : [scale, nowhere];
}

function gainScale(pen, x, y) {
  for (let k = 0; k < SCALE_PX; k += 1) {
    pen.box(x + k, y + 1, 1.5, 12, `rgb(${gainShade(k / SCALE_PX)})`);
  }
  for (const level of GAIN_LEVELS) {
    const at = x + level * SCALE_PX;
    pen.line([[at, y + 1], [at, y + 13]], gainInk(level));
  }
  pen.border(x + 0.5, y + 1, SCALE_PX - 1, 12, pen.theme.quiet);
}

const gainMap = mapOf({
  name: "gains",
  title: (ctx) => [`Gain over ${comparedWith(ctx)}`, gainWords(ctx)],
  key: gainKey,
  turns: ({ baseline }) => [baseline],
  still(pen, ctx) {
    pen.inside(() => drawGains(pen, ctx));
    drawMapAxes(pen, ctx.study);
  },
});
