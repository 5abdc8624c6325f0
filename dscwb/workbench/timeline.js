// One inference over time: who works when, for the best split and the one that it is held against.

const TIME_MARGINS = [56, 16, 6, 36];
const HEADING_PX = 20, BETWEEN_PX = 8, WIDEST_LANE_PX = 26;
const LANES = { device: ["wait", "head"], link: ["transfer", "link"], server: ["tail"] };

// Pixels of a lane, where two inferences stand one under the other, and of an inference.
function lanePx({ h }) {
  const lanes = 2 * Object.keys(LANES).length;
  return Math.min(WIDEST_LANE_PX, Math.floor((h - 2 * (HEADING_PX + BETWEEN_PX)) / lanes));
}

const inferencePx = (plot) =>
  HEADING_PX + BETWEEN_PX + Object.keys(LANES).length * lanePx(plot);

// What is held against the best split: a pinned scenario's, the pinned one, that under the hand, the
// baseline, else the second best.
function heldAgainst(ctx) {
  const { study, row, rate, best, pinned, lit, baseline, other } = ctx;
  if (other) return [other.best, "pinned scenario", { ...ctx, ...other }];
  if (pinned !== null && pinned !== best) return [pinned, "pinned"];
  if (lit !== null && lit !== best) return [lit, "pointed at"];
  if (baseline !== best) return [baseline, "compared with"];
  const { split } = study.secondAt(row, rate);
  return split < 0 ? null : [split, "second best"];
}

const shownInTime = (ctx) => [[ctx.best, "best"], heldAgainst(ctx)].filter(Boolean)
  .map(([split, word, of = ctx]) => ({ split, word, of }));

function timeAxis(ctx) {
  const times = shownInTime(ctx).map(
    ({ split, of: { study, row, rate } }) => study.latencyAt(row, split, rate) || 0);
  const label = (value) => (value ? formatCost(value, "s") : "0");
  return new Axis(0, roundUp(Math.max(...times)) || 1, label);
}

function drawTimes(pen, ctx) {
  const axis = timeAxis(ctx);
  drawFootAxis(pen, axis, "Time since the first sample came", true);
  shownInTime(ctx).forEach(({ split, word, of }, k) => {
    drawInference(pen, of, axis, split, word, pen.y + k * inferencePx(pen));
  });
}

function drawInference(pen, ctx, axis, split, word, head) {
  const { study, row, rate, best, lit } = ctx, { shown } = study.candidates[split];
  const parts = study.partsAt(row, split, rate), weight = split === best ? BOLD : "";
  const told = timeWords(ctx, split), y = head + HEADING_PX / 2 - 1;
  pen.text(told, pen.right, y, { align: "right", weight });
  const room = pen.right - pen.widthOf(told, weight) - LABEL_GAP;
  pen.text(pen.fitted(`${word}: ${shown}`, room, weight), 0, y, { align: "left", weight });
  const top = head + HEADING_PX, high = lanePx(pen);
  const x = (seconds) => pen.x + axis.share(seconds) * pen.w;
  let done = 0;
  Object.entries(LANES).forEach(([name, some], lane) => {
    const upper = top + lane * high;
    pen.faint(0.4, () => pen.box(pen.x, upper, pen.w, high - 2, pen.theme.grid));
    pen.text(name, pen.x - 6, upper + high / 2 - 1, { align: "right" });
    for (const part of some) {
      if (parts[part] > 0) drawSpan(pen, x(done), x(done + parts[part]), upper, part, parts[part]);
      done += parts[part];
    }
  });
  if (isNaN(done)) return;
  const end = x(done), foot = top + Object.keys(LANES).length * high - 2;
  pen.line([[end, top], [end, foot]], pen.theme.text, 2);
  const rim = [[pen.x, top], [end, top], [end, foot], [pen.x, foot], [pen.x, top]];
  if (split === lit) pen.rim([rim]);
}

// A part with its time, inside where it fits.
function drawSpan(pen, from, to, y, part, seconds) {
  const [colour] = PARTS[part], words = formatCost(seconds, "s"), wide = Math.max(1.5, to - from);
  const high = lanePx(pen);
  pen.box(from, y, wide, high - 2, colour);
  if (wide >= 4) pen.border(from, y, wide, high - 2, pen.theme.text, 0.75);
  if (pen.widthOf(words) + 6 > wide) return;
  pen.text(words, (from + to) / 2, y + high / 2 - 1, { colour: inkOn(colour) });
}

// How long it takes, how much longer than the best split; where energy counts, that before it.
function timeWords({ study, row, rate, best }, split) {
  const total = study.latencyAt(row, split, rate), least = study.latencyAt(row, best, rate);
  if (isNaN(total)) return "not possible";
  const sign = total > least ? "+" : "−", share = Math.abs(total - least) / least;
  const more = total === least ? "" : ` (${sign}${formatPercent(share)})`;
  const energy = study.unit === "J" ? `${formatCost(study.costAt(row, split, rate), "J")}, ` : "";
  return `${energy}${formatCost(total, "s")}${more}`;
}

const inferenceTimeline = {
  name: "timeline", margins: TIME_MARGINS, steers: false, picks: "timeline",
  title: (ctx) => ["One inference", `${hereWords(ctx)}, ${formatRate(ctx.rate)}`],
  key: partsKey,
  turns: () => [],
  still: () => {},
  mark: drawTimes,
  at(ctx, plot, x, y) {
    const shown = shownInTime(ctx), k = Math.floor((y - plot.y) / inferencePx(plot));
    const { split, of } = shown[Math.min(shown.length - 1, Math.max(0, k))];
    return of === ctx ? { row: ctx.row, rate: ctx.rate, split } : null;
  },
  tip: splitTip,
};
