// Cost over data rate at one batch size: every split a line, the best ones bold.

const CURVE_MARGINS = [52, 14, 25, 36];
const SAMPLE_PX = 5; // between two points of a cost line
const ABOVE_BEST = 4, BELOW_BEST = 2.5; // the axis ends so far above and below the best splits
const NEAR_PX = 12; // a hand so near to a line means it
const PINNED_DASH = [8, 4];
const OTHERS = "rgba(128, 128, 128, 0.5)";

const costTitle = ({ unit }) => (unit === "J" ? "Device energy" : "Latency");
const costAxis = ({ unit }, low, high) =>
  new Axis(low, high, (value) => (value ? formatCost(value, unit) : "0"));

function hereWords({ study, row }) {
  return `batch size ${study.interpolated[row] ? "≈ " : ""}${study.batchSizes[row]}`;
}

// One axis for all batch sizes: a scale that jumps while sliding lies.
function curveAxis(study) {
  const costs = study.batchSizes.flatMap((_, row) => [study.low, study.high].map((rate) =>
    study.costAt(row, study.bestAt(row, rate), rate)));
  const dearest = Math.max(...costs) * ABOVE_BEST || 1; // nothing may cost anything
  return costAxis(study, Math.max(Math.min(...costs) / BELOW_BEST, dearest * 1e-12), dearest);
}

// A function that gives the points of a split's cost from one rate to another.
function liner(plot, { study, row }) {
  const costs = curveAxis(study), rates = rateAxis(study);
  return (split, from = study.low, to = study.high) => {
    const first = rates.share(from), last = rates.share(to);
    const count = Math.max(2, Math.ceil(plot.w / SAMPLE_PX * (last - first)));
    return Array.from({ length: count + 1 }, (_, k) => {
      const share = first + (k / count) * (last - first);
      const cost = study.costAt(row, split, rates.value(share));
      return [plot.x + share * plot.w, plot.y + plot.h * (1 - costs.share(cost))];
    });
  };
}

// In its colour within a rim, without which light grey on white and dark on black would vanish.
function drawThick(pen, points, colour, dash = []) {
  pen.line(points, pen.theme.text, 6);
  pen.line(points, colour, 4);
  if (dash.length) pen.line(points, inkOn(colour), 1.5, dash);
}

function drawCurves(pen, ctx) {
  const { study, row } = ctx, { low, high, candidates } = study, line = liner(pen, ctx);
  const { splits, rates } = study.envelopes[row];
  drawSideAxis(pen, curveAxis(study), costTitle(study));
  pen.inside(() => {
    const others = [...candidates.keys()].filter((split) => !splits.includes(split)
      && isPossible(study, row, split));
    pen.lines(others.map((split) => line(split)), OTHERS);
    for (const split of splits) {
      pen.line(line(split), pen.theme.text, 2.4);
      pen.line(line(split), candidates[split].colour, 1.2);
    }
    const ends = [low, ...rates.map((rate) => Math.min(high, Math.max(low, rate))), high];
    const pieces = splits.map((split, k) => ({ split, from: ends[k], to: ends[k + 1] }))
      .filter(({ from, to }) => to > from)
      .map(({ split, from, to }) => ({ ...candidates[split], points: line(split, from, to) }));
    for (const { points, colour } of pieces) drawThick(pen, points, colour);
    const changes = pieces.slice(1).map(({ points: [[x, y]] }) => [[x, y], [x, pen.foot]]);
    pen.lines(changes, pen.theme.quiet, 1, [2, 3]);
    for (const { points, shown } of pieces) labelPiece(pen, points, shown);
  });
  pen.frame();
  drawFootAxis(pen, rateAxis(study), "Data rate (bit/s)");
}

// Under the best lines there is nothing: room for their names, where they are wide enough.
function labelPiece(pen, points, words) {
  const left = points[0][0] + 4, room = points.at(-1)[0] - 4 - left, half = pen.widthOf(words) / 2;
  const x = left + room / 2, over = points.filter(([at]) => Math.abs(at - x) <= half + 4);
  const y = Math.max(...over.map((one) => one[1])) + 14;
  if (2 * half <= room && y < pen.foot - TEXT_PX / 2) pen.text(words, x, y);
}

// The best of a pinned scenario at every rate, on the axes of this one.
function drawPinned(pen, { study, other }) {
  if (other?.study.unit !== study.unit) return;
  const costs = curveAxis(study), rates = rateAxis(study), count = Math.ceil(pen.w / SAMPLE_PX);
  const points = Array.from({ length: count + 1 }, (_, k) => {
    const rate = rates.value(k / count), split = other.study.bestAt(other.row, rate);
    const cost = other.study.costAt(other.row, split, rate);
    return [pen.x + k / count * pen.w, pen.foot - pen.h * costs.share(cost)];
  });
  pen.line(points, pen.theme.paper, 3.5);
  pen.line(points, pen.theme.text, 2, PINNED_DASH);
}

function markCurves(pen, ctx) {
  const { study, row, rate, best, lit, pinned } = ctx, line = liner(pen, ctx);
  pen.inside(() => {
    drawPinned(pen, ctx);
    for (const [split, dash] of [[pinned, [6, 4]], [lit, []]]) {
      if (split === null || !isPossible(study, row, split)) continue;
      drawThick(pen, line(split), study.candidates[split].colour, dash);
    }
    if (rate < study.low || rate > study.high) return;
    const [[x, y]] = line(best, rate, rate);
    pen.down(x, pen.theme.text, 1, [4, 4]);
    pen.circle(x, y, 6, WHITE, BLACK, 2.5);
  });
}

// The line under the hand, or the best one at its rate.
function underCurves(ctx, plot, x, y) {
  const { study, row } = ctx, rate = rateUnder(plot, study, x), line = liner(plot, ctx);
  const far = (split) => Math.abs(line(split, rate, rate)[0][1] - y);
  let split = study.bestAt(row, rate), least = Math.min(NEAR_PX, far(split));
  for (const other of study.candidates.keys()) {
    if (far(other) < least) [split, least] = [other, far(other)];
  }
  return { row, rate, split };
}

const costCurves = {
  name: "curves", margins: CURVE_MARGINS, steers: true,
  title: (ctx) => [`${costTitle(ctx.study)} over data rate`, hereWords(ctx)],
  key: ({ other }) => [
    ...(other ? [{ mark: stroke(null, 2, PINNED_DASH), words: "pinned scenario" }] : []),
    { mark: stroke(null, 5), words: "best split" },
    { mark: stroke(OTHERS, 1), words: "other splits" },
    { mark: stroke(null, 1, [2, 3]), words: "the best split changes" },
    { mark: stroke(null, 1, [4, 4]), words: "this state" },
  ],
  turns: ({ row }) => [row],
  still: drawCurves, mark: markCurves, at: underCurves, tip: splitTip,
};
