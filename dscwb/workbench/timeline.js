// One inference over time: who works when, for the best split and for the one that it is held against.

const TIME_MARGINS = [56, 16, 6, 36];
const LANE_PX = 16, HEADING_PX = 20, BETWEEN_PX = 8;
const LANES = ["device", "link", "server"];
const LANE_OF = { wait: 0, head: 0, transfer: 1, link: 1, tail: 2 };
const ORDER = Object.keys(PARTS); // in which they happen

// What is held against the best split: the pinned one, else the baseline, else the second best.
function heldAgainst({ study, row, rate, best, pinned, baseline }) {
  if (pinned !== null && pinned !== best) return [pinned, "pinned"];
  if (baseline !== best) return [baseline, "compared with"];
  const { split } = study.secondAt(row, rate);
  return split < 0 ? null : [split, "second best"];
}

const shownInTime = (ctx) => [[ctx.best, "best"], heldAgainst(ctx)].filter(Boolean);

function timeAxis(ctx) {
  const { study, row, rate } = ctx;
  const longest = Math.max(...shownInTime(ctx).map(([split]) => study.latencyAt(row, split, rate) || 0));
  return new Axis(0, roundUp(longest) || 1, (value) => (value ? formatCost(value, "s") : "0"));
}

function drawTimes(pen, ctx) {
  const axis = timeAxis(ctx);
  drawFootAxis(pen, axis, "Time since the batch is complete", true);
  shownInTime(ctx).forEach(([split, word], k) => {
    drawInference(pen, ctx, axis, split, word, pen.y + k * (HEADING_PX + 3 * LANE_PX + BETWEEN_PX));
  });
}

function drawInference(pen, ctx, axis, split, word, top) {
  const { study, row, rate, best, lit } = ctx, { shown } = study.candidates[split];
  const parts = study.partsAt(row, split, rate), total = study.latencyAt(row, split, rate);
  const weight = split === best ? BOLD : "", y = top + HEADING_PX / 2 - 1;
  const told = isNaN(total) ? "not possible"
    : `${formatCost(total, "s")}${moreThan(study.latencyAt(row, best, rate), total)}`;
  pen.text(told, pen.right, y, { align: "right", weight });
  const room = pen.right - pen.widthOf(told, weight) - LABEL_GAP;
  pen.text(pen.fitted(`${word}: ${shown}`, room, weight), 0, y, { align: "left", weight });
  LANES.forEach((name, lane) => {
    const y = top + HEADING_PX + lane * LANE_PX;
    pen.box(pen.x, y, pen.w, LANE_PX - 2, pen.theme.grid);
    pen.text(name, pen.x - 6, y + LANE_PX / 2 - 1, { align: "right" });
  });
  if (isNaN(total)) return;
  let done = 0;
  for (const name of ORDER) {
    const [from, to] = [done, done + parts[name]].map((time) => pen.x + axis.share(time) * pen.w);
    const y = top + HEADING_PX + LANE_OF[name] * LANE_PX;
    if (parts[name] > 0) drawSpan(pen, from, to, y, name, parts[name]);
    done += parts[name];
  }
  const end = pen.x + axis.share(done) * pen.w, foot = top + HEADING_PX + 3 * LANE_PX - 2;
  pen.line([[end, top + HEADING_PX], [end, foot]], pen.theme.text, 2);
  if (split === lit) pen.rim([[[pen.x, top + HEADING_PX], [end, top + HEADING_PX], [end, foot], [pen.x, foot],
    [pen.x, top + HEADING_PX]]]);
}

// By how much one time exceeds another, in brackets; nothing where they are alike.
function moreThan(least, total) {
  if (total === least) return "";
  const sign = total > least ? "+" : "−", share = Math.abs(total - least) / least;
  return ` (${sign}${formatPercent(share)})`;
}

// A part with its time, inside where it fits.
function drawSpan(pen, from, to, y, name, seconds) {
  const [colour] = PARTS[name], words = formatCost(seconds, "s"), wide = Math.max(1.5, to - from);
  pen.box(from, y, wide, LANE_PX - 2, colour);
  if (wide >= 4) pen.border(from, y, wide, LANE_PX - 2, pen.theme.text, 0.75);
  if (pen.widthOf(words) + 6 <= wide) {
    pen.text(words, (from + to) / 2, y + LANE_PX / 2 - 1, { colour: inkOn(colour) });
  }
}

const inferenceTimeline = {
  name: "timeline", margins: TIME_MARGINS, steers: false,
  title: (ctx) => ["One inference", `${here(ctx)}, ${formatRate(ctx.rate)}`],
  key: (ctx) => usedParts(ctx).map((name) => ({ mark: swatch(PARTS[name][0]), words: PARTS[name][1] })),
  turns: () => [],
  still: () => {},
  mark: drawTimes,
  at(ctx, plot, x, y) {
    const shown = shownInTime(ctx), deep = HEADING_PX + 3 * LANE_PX + BETWEEN_PX;
    const [split] = shown[Math.min(shown.length - 1, Math.floor((y - plot.y) / deep))];
    return { row: ctx.row, rate: ctx.rate, split };
  },
  tip: ({ study }, { row, rate, split }) => tipWords(study, row, rate, split),
};
