// What every split costs in one state, part by part.

const ABOVE_LOCAL = 1.25; // bars up to so many times the cost without offloading are shown whole
const SLIM_PX = 6; // slimmer bars have no rims of their own
const PARTS = { // Okabe and Ito's colours, told apart without colour vision; in their order in time
  wait: ["rgb(153, 153, 153)", "waiting for the batch"],
  head: ["rgb(0, 114, 178)", "device"],
  transfer: ["rgb(230, 159, 0)", "payload"],
  link: ["rgb(204, 121, 167)", "round trip"],
  tail: ["rgb(0, 158, 115)", "server"],
};

// Seconds of each part, or joules: waiting for a batch to fill costs the device none.
function costParts({ study, state, row, rate }, split) {
  const { wait, head, transfer, link, tail } = study.partsAt(row, split, rate);
  if (study.unit === "s") return { wait, head, transfer, link, tail };
  const { compute_w: computing, send_w: sending, wait_w: idle } = state;
  return { wait: 0, head: computing * head, transfer: sending * transfer, link: idle * link,
    tail: idle * tail };
}

// Names of the parts that take anything here.
function usedParts({ study, row }) {
  const { wait, link } = study, waits = study.unit === "s" && wait[row] > 0;
  const used = { wait: waits, link: link.some((seconds) => seconds > 0) };
  return Object.keys(PARTS).filter((name) => used[name] ?? true);
}

const partsKey = (ctx) => usedParts(ctx).map((name) => {
  const [colour, words] = PARTS[name];
  return { mark: swatch(colour), words };
});

// The best bar is always whole. Where the device can do it all alone the axis never moves; else it
// moves in steps while the rate falls.
function barAxis({ study, row, rate, best, pinned }) {
  const local = study.costAt(row, study.candidates.length - 1, rate);
  const shown = [best, pinned ?? best].map((split) => study.costAt(row, split, rate) || 0);
  const needed = 1.15 * Math.max(...shown), usual = isNaN(local) ? 0 : ABOVE_LOCAL * local;
  return costAxis(study, 0, (needed > usual ? roundUp(needed) : usual) || 1);
}

// Where the bars stand: from left to right, and how high a cost reaches.
function barPlaces(plot, ctx) {
  const { study } = ctx, axis = barAxis(ctx), slot = plot.w / study.candidates.length;
  const width = slot < SLIM_PX ? slot : slot * 0.82;
  return {
    axis, width,
    left: (split) => plot.x + split * slot + (slot - width) / 2,
    middle: (split) => plot.x + (split + 0.5) * slot,
    top: (cost) => plot.y + plot.h * (1 - Math.min(1, axis.share(cost))),
  };
}

function drawBars(pen, ctx) {
  const { study, row, rate, lit, pinned } = ctx, places = barPlaces(pen, ctx);
  const { left, top, width } = places, splits = [...study.candidates.keys()];
  drawSideAxis(pen, places.axis, costTitle(study));
  for (const split of splits) drawBar(pen, ctx, places, split);
  for (const [split, dashed] of [[pinned, true], [lit, false]]) {
    if (split === null) continue;
    const upper = isPossible(study, row, split) ? top(study.costAt(row, split, rate)) : pen.y;
    const [from, to] = [left(split) - 2, left(split) + width + 2]; // around the bar, not over it
    pen.rim([[[from, pen.foot], [from, upper - 2], [to, upper - 2], [to, pen.foot]]], dashed);
  }
  pen.frame();
  const unit = depthUnit(study), depths = study.candidates.map((one) => one[unit]);
  drawDepths(pen, splits.map(places.middle), depths, 12,
    `${unit === "depth" ? "Blocks" : "Layers"} on the device`);
  labelBars(pen, ctx, places);
}

// What the depth of a split counts: blocks where it is cut between blocks, else layers.
function depthUnit({ pair, state }) {
  return pair.blocks.length && state.granularity !== "op" ? "depth" : "cut";
}

function drawBar(pen, ctx, { axis, left, top, width }, split) {
  const { study, row, rate, theme } = ctx, x = left(split);
  if (!isPossible(study, row, split)) {
    pen.box(x, pen.y, width, pen.h, pen.hatch([IMPOSSIBLE], 5));
    return;
  }
  const parts = costParts(ctx, split), slim = width < SLIM_PX;
  let done = 0;
  for (const name of usedParts(ctx)) {
    const [upper, foot] = [top(done + parts[name]), top(done)];
    pen.box(x, upper, width, foot - upper, PARTS[name][0]);
    if (done && !slim && foot - upper > 3) pen.box(x, foot - 0.5, width, 1, theme.paper);
    done += parts[name];
  }
  if (slim) pen.box(x, top(done) - 0.5, width, 1, theme.text);
  else pen.border(x, top(done), width, pen.foot - top(done), theme.text, 0.75);
  if (done > axis.high) beyondMark(pen, x + width / 2, pen.y + 1, Math.min(4, width));
}

function beyondMark(pen, x, y, half) { // an arrow: the bar is longer than shown
  pen.shape([[x, y], [x + half, y + 7], [x - half, y + 7]], WHITE, BLACK);
}

// What the best and the pinned split cost, beside the tops of their bars.
function labelBars(pen, { study, row, rate, best, pinned }, { middle, top }) {
  let taken = null;
  for (const [split, word] of [[best, "best"], [pinned, "pinned"]]) {
    if (split === null || (word === "pinned" && split === best)) continue;
    const cost = study.costAt(row, split, rate), x = middle(split), known = !isNaN(cost);
    const words = `${word}: ${known ? formatCost(cost, study.unit) : "not possible"}`;
    const wide = pen.widthOf(words, BOLD), foot = Math.max(pen.y + 16, known ? top(cost) - 3 : 0);
    const beside = x < pen.x + pen.w / 2 ? x + 9 : x - 9 - wide;
    const from = Math.min(pen.right - wide - 4, Math.max(pen.x + 4, beside));
    let y = foot - 7;
    if (taken && Math.abs(taken.y - y) < ROW_PX && taken.from < from + wide && from < taken.to) {
      y = taken.y + (taken.y + 2 * ROW_PX < pen.foot ? 1 : -1) * (ROW_PX + 1);
    }
    const arrow = [[x, foot], [x - 6, foot - 9], [x + 6, foot - 9]];
    if (split === best) pen.shape(arrow, study.candidates[split].colour, pen.theme.text, 1.5);
    // Pale under the words, over the bars of others.
    pen.faint(0.85, () => pen.box(from - 2, y - 8, wide + 4, 16, pen.theme.paper));
    pen.text(words, from, y, { align: "left", weight: BOLD });
    taken = { from, to: from + wide, y };
  }
}

function barsKey(ctx) {
  const { study, row, rate } = ctx, { high } = barAxis(ctx), entries = partsKey(ctx);
  const costs = study.candidates.map((_, split) => study.costAt(row, split, rate));
  if (costs.some((cost) => cost > high)) {
    const mark = (pen, x, y) => beyondMark(pen, x + 7, y + 3, 4);
    entries.push({ mark, words: "longer than shown" });
  }
  if (costs.some(isNaN)) {
    const mark = patterned((pen) => pen.hatch([IMPOSSIBLE], 5));
    entries.push({ mark, words: "not possible" });
  }
  return entries;
}

const partBars = {
  name: "bars", margins: CURVE_MARGINS, steers: false, picks: "bars",
  title: (ctx) => [`${costTitle(ctx.study)} of every split`,
    `${hereWords(ctx)}, ${formatRate(ctx.rate)}`],
  key: barsKey,
  turns: () => [],
  still: () => {},
  mark: drawBars,
  at({ study, row, rate }, plot, x) {
    const { length } = study.candidates, split = Math.floor((x - plot.x) / plot.w * length);
    return { row, rate, split: Math.min(length - 1, split) };
  },
  tip: splitTip,
};
