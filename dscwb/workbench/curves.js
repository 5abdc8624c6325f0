// Cost over data rate at one batch size, and the parts of every split's cost at one state.

const CURVE_MARGINS = [52, 14, 25, 36];
const SAMPLES = 64; // points of a cost line
const ABOVE_BEST = 4, BELOW_BEST = 2.5; // the axis ends so far above and below the best splits
const ABOVE_LOCAL = 1.25; // bars up to so many times the cost without offloading are shown whole
const NEAR_PX = 12; // a hand so near to a line means it
const OTHERS = "rgba(128, 128, 128, 0.5)";
const PARTS = { // Okabe and Ito's colours, told apart without colour vision
  wait: ["rgb(153, 153, 153)", "waiting for the batch"],
  head: ["rgb(0, 114, 178)", "device"],
  transfer: ["rgb(230, 159, 0)", "payload"],
  link: ["rgb(204, 121, 167)", "round trip"],
  tail: ["rgb(0, 158, 115)", "server"],
};

const here = ({ study, row }) => `batch size ${study.interpolated[row] ? "≈ " : ""}${study.batchSizes[row]}`;
const costTitle = ({ unit }) => (unit === "J" ? "Device energy" : "Latency");
const costAxis = (study, low, high) => new Axis(low, high, (value) =>
  (value ? formatCost(value, study.unit) : "0"));

// --- cost over rate ------------------------------------------------------------------------------

// One axis for all batch sizes: a scale that jumps while sliding lies.
function curveAxis(study) {
  const costs = study.batchSizes.flatMap((_, row) => [study.low, study.high].map((rate) =>
    study.costAt(row, study.bestAt(row, rate), rate)));
  const dearest = Math.max(...costs) * ABOVE_BEST || 1; // nothing may cost anything
  return costAxis(study, Math.max(Math.min(...costs) / BELOW_BEST, dearest * 1e-12), dearest);
}

function costLine(pen, study, axis, row, split, from, to) {
  const rates = rateAxis(study), first = rates.share(from), last = rates.share(to);
  const count = Math.max(2, Math.ceil(SAMPLES * (last - first)));
  return Array.from({ length: count + 1 }, (_, k) => {
    const share = first + (k / count) * (last - first);
    const cost = study.costAt(row, split, rates.value(share));
    return [pen.x + share * pen.w, pen.foot - pen.h * axis.share(cost)];
  });
}

// In its colour within a rim, without which light grey on white and dark on black would vanish.
function drawThick(pen, points, colour, dash = []) {
  pen.line(points, pen.theme.text, 6);
  pen.line(points, colour, 4);
  if (dash.length) pen.line(points, inkOn(colour), 1.5, dash);
}

function drawCurves(pen, { study, row }) {
  const { low, high, candidates } = study, { splits, rates } = study.envelopes[row];
  const axis = curveAxis(study), line = (split) => costLine(pen, study, axis, row, split, low, high);
  const possible = (split) => !isNaN(study.costAt(row, split, low));
  drawSideAxis(pen, axis, costTitle(study));
  pen.inside(() => {
    const others = candidates.map((_, split) => split).filter((split) => !splits.includes(split));
    pen.lines(others.filter(possible).map(line), OTHERS, 1);
    for (const split of splits) {
      pen.line(line(split), pen.theme.text, 2.4);
      pen.line(line(split), candidates[split].colour, 1.2);
    }
    const ends = [low, ...rates.map((rate) => Math.min(high, Math.max(low, rate))), high];
    const pieces = splits.map((split, k) => ({ split, from: ends[k], to: ends[k + 1] }))
      .filter(({ from, to }) => to > from)
      .map((one) => ({ ...one, points: costLine(pen, study, axis, row, one.split, one.from, one.to) }));
    for (const { points, split } of pieces) drawThick(pen, points, candidates[split].colour);
    for (const { points: [start] } of pieces.slice(1)) {
      pen.line([start, [start[0], pen.foot]], pen.theme.quiet, 1, [2, 3]);
    }
    for (const { points, split } of pieces) labelPiece(pen, points, candidates[split].shown);
  });
  pen.frame();
  drawFootAxis(pen, rateAxis(study), "Data rate (bit/s)");
}

// Under the best lines there is nothing: room for their names.
function labelPiece(pen, points, words) {
  const left = points[0][0], room = points.at(-1)[0] - left - 8, shown = pen.fitted(words, room);
  const half = pen.widthOf(shown) / 2, x = left + 4 + room / 2;
  const over = points.filter(([at]) => Math.abs(at - x) <= half + 4).map(([, y]) => y);
  const y = Math.max(...over, points[points.length >> 1][1]) + 14;
  if (y < pen.foot - TEXT_PX / 2) pen.text(shown, x, y);
}

function markCurves(pen, { study, row, rate, best, lit, pinned }) {
  const axis = curveAxis(study), { low, high, candidates } = study;
  const place = (split) => [rateX(pen, study, rate),
    pen.foot - pen.h * axis.share(study.costAt(row, split, rate))];
  pen.inside(() => {
    for (const [split, dash] of [[pinned, [6, 4]], [lit, []]]) {
      if (split === null || isNaN(study.costAt(row, split, low))) continue;
      drawThick(pen, costLine(pen, study, axis, row, split, low, high), candidates[split].colour, dash);
    }
    if (rate < low || rate > high) return;
    const [x, y] = place(best);
    pen.down(x, pen.theme.text, 1, [4, 4]);
    pen.circle(x, y, 6, WHITE, BLACK, 2.5);
  });
}

// The line under the hand, or the best one at its rate.
function underCurves({ study, row }, plot, x, y) {
  const rate = rateUnder(plot, study, x), axis = curveAxis(study);
  const far = (split) => Math.abs(plot.y + plot.h * (1 - axis.share(study.costAt(row, split, rate))) - y);
  const best = study.bestAt(row, rate);
  const [split] = study.candidates.map((_, one) => [one, far(one)])
    .reduce((near, one) => (one[1] < near[1] ? one : near), [best, Math.min(NEAR_PX, far(best))]);
  return { row, rate, split };
}

const costCurves = {
  name: "curves", margins: CURVE_MARGINS, steers: true,
  title: (ctx) => [`${costTitle(ctx.study)} over data rate`, here(ctx)],
  key: () => [
    { mark: stroke(null, 5), words: "best split" },
    { mark: stroke(OTHERS, 1), words: "other splits" },
    { mark: stroke(null, 1, [2, 3]), words: "the best split changes" },
    { mark: stroke(null, 1, [4, 4]), words: "this state" },
  ],
  turns: ({ row }) => [row],
  still: drawCurves, mark: markCurves, at: underCurves,
  tip: ({ study }, { row, rate, split }) => tipWords(study, row, rate, split),
};

// --- the parts of every split --------------------------------------------------------------------

// Seconds of each part, or joules: waiting for a batch to fill costs the device none.
function costParts({ study, state, row, rate }, split) {
  const parts = study.partsAt(row, split, rate);
  if (study.unit === "s") return parts;
  const { compute_w: compute, send_w: send, wait_w: wait } = state;
  return { head: compute * parts.head, transfer: send * parts.transfer, link: wait * parts.link,
    tail: wait * parts.tail };
}

function usedParts({ study, row }) {
  const used = { wait: study.unit === "s" && study.wait[row] > 0, link: study.link.some((one) => one > 0) };
  return Object.keys(PARTS).filter((name) => used[name] ?? true);
}

// The best bar is always whole. Where the device can do it all alone the axis never moves; else it
// moves in steps while the rate falls.
function barAxis(ctx) {
  const { study, row, rate, best, baseline, pinned } = ctx, local = study.candidates.length - 1;
  const usual = study.costAt(row, local, rate);
  const needed = Math.max(...[best, pinned ?? best].map((split) => study.costAt(row, split, rate) || 0)) * 1.15;
  const high = isNaN(usual) ? 0 : ABOVE_LOCAL * usual;
  return costAxis(study, 0, (needed > high ? roundUp(needed) : high) || 1);
}

function drawBars(pen, ctx) {
  const { study, row, rate, best, lit, pinned, theme } = ctx, { candidates } = study;
  const axis = barAxis(ctx), slot = pen.w / candidates.length, names = usedParts(ctx);
  const unit = depthUnit(study);
  const width = slot < 4 ? slot : Math.max(3, slot * 0.82), nowhere = pen.hatch([IMPOSSIBLE], 5);
  const y = (cost) => pen.foot - pen.h * Math.min(1, axis.share(cost));
  const left = (split) => pen.x + split * slot + (slot - width) / 2;
  drawSideAxis(pen, axis, costTitle(study));
  candidates.forEach((_, split) => {
    const x = left(split), parts = costParts(ctx, split), total = study.costAt(row, split, rate);
    if (isNaN(total)) {
      pen.box(x, pen.y, width, pen.h, nowhere);
      return;
    }
    let done = 0;
    for (const name of names) {
      const top = y(done + parts[name]), foot = y(done);
      pen.box(x, top, width, foot - top, PARTS[name][0]);
      if (done && width >= 4 && foot - top > 3) pen.box(x, foot - 0.5, width, 1, theme.paper);
      done += parts[name];
    }
    if (width >= 6) pen.border(x, y(total), width, pen.foot - y(total), theme.text, 0.75);
    else pen.box(x, y(total) - 0.5, width, 1, theme.text);
    if (total > axis.high) drawBeyond(pen, x + width / 2, Math.min(4, width));
  });
  for (const [split, dashed] of [[pinned, true], [lit, false]]) {
    if (split === null) continue;
    const total = study.costAt(row, split, rate), top = isNaN(total) ? pen.y : y(total);
    const [from, to] = [left(split) - 2, left(split) + width + 2]; // around the bar, not over it
    pen.rim([[[from, pen.foot], [from, top - 2], [to, top - 2], [to, pen.foot]]], dashed);
  }
  pen.frame();
  const places = candidates.map((_, split) => pen.x + (split + 0.5) * slot);
  drawDepths(pen, places, candidates.map((one) => one[unit]), 12, depthTitle(study));
  labelBars(pen, ctx, places, (split) => y(study.costAt(row, split, rate)));
}

function drawBeyond(pen, x, half) { // an arrow: the bar is longer than shown
  pen.shape([[x, pen.y + 1], [x + half, pen.y + 8], [x - half, pen.y + 8]], WHITE, BLACK);
}

// What the depth of a split counts: blocks where it is cut between blocks, else layers.
const depthUnit = ({ pair, state }) => (pair.blocks.length && state.granularity !== "op" ? "depth" : "cut");
const depthTitle = (study) => `${depthUnit(study) === "depth" ? "Blocks" : "Layers"} on the device`;

// What the best and the pinned split cost, above their bars, one higher than the other.
function labelBars(pen, { study, row, rate, best, pinned }, places, top) {
  const told = [[best, "best"], [pinned, "pinned"]].filter(([split, word]) =>
    split !== null && !(word === "pinned" && split === best));
  let taken = null;
  for (const [split, word] of told) {
    const cost = study.costAt(row, split, rate), x = places[split];
    const words = isNaN(cost) ? `${word}: not possible` : `${word}: ${formatCost(cost, study.unit)}`;
    const wide = pen.widthOf(words, BOLD), foot = Math.max(pen.y + 16, (isNaN(cost) ? pen.y : top(split)) - 3);
    const from = Math.min(pen.right - wide - 4, Math.max(pen.x + 4, x < pen.x + pen.w / 2 ? x + 9 : x - 9 - wide));
    let y = foot - 7;
    if (taken && Math.abs(taken.y - y) < ROW_PX && taken.from < from + wide && from < taken.to) {
      y = taken.y + (taken.y + ROW_PX + TEXT_PX < pen.foot ? ROW_PX + 1 : -ROW_PX - 1);
    }
    if (word === "best") {
      pen.shape([[x, foot], [x - 6, foot - 9], [x + 6, foot - 9]], study.candidates[split].colour, pen.theme.text, 1.5);
    }
    pen.faint(0.85, () => pen.box(from - 2, y - 8, wide + 4, 16, pen.theme.paper)); // over other bars
    pen.text(words, from, y, { align: "left", weight: BOLD });
    taken = { from, to: from + wide, y };
  }
}

const partBars = {
  name: "bars", margins: CURVE_MARGINS, steers: false,
  title: (ctx) => [`${costTitle(ctx.study)} of every split`, `${here(ctx)}, ${formatRate(ctx.rate)}`],
  key(ctx) {
    const parts = usedParts(ctx).map((name) => ({ mark: swatch(PARTS[name][0]), words: PARTS[name][1] }));
    const { study, row } = ctx, missing = study.candidates.some((_, split) => isNaN(study.costAt(row, split, 1)));
    return missing ? [...parts, { mark: patterned((pen) => pen.hatch([IMPOSSIBLE], 5)), words: "not possible" }] : parts;
  },
  turns: () => [],
  still: () => {},
  mark: drawBars,
  at({ study, row, rate }, plot, x) {
    const split = Math.min(study.candidates.length - 1, Math.floor((x - plot.x) / plot.w * study.candidates.length));
    return { row, rate, split };
  },
  tip: ({ study }, { row, rate, split }) => tipWords(study, row, rate, split),
};
