// A fleet that was run at several sizes: how many devices keep a deadline, and what each strategy takes.

const SHARES = [...Array.from({ length: 50 }, (_, k) => 500 + 10 * k), 995, 999, 1000]; // per mille
const AS_RUN = "as run"; // the deadline of the run, between the ends of two bins
const LINES = { solid: [], dash: [8, 4], dot: [2, 3] };
const STOPS = [6, 4];
const FAINT = 2; // lines of less contrast have a rim
const SYMBOL_PX = 4;
const SYMBOLS = {
  square: [[-1, -1], [1, -1], [1, 1], [-1, 1]], diamond: [[0, -1.4], [1.4, 0], [0, 1.4], [-1.4, 0]],
  "triangle-up": [[0, -1.3], [1.2, 1], [-1.2, 1]],
  cross: [[-1.3, -0.4], [-0.4, -0.4], [-0.4, -1.3], [0.4, -1.3], [0.4, -0.4], [1.3, -0.4],
    [1.3, 0.4], [0.4, 0.4], [0.4, 1.3], [-0.4, 1.3], [-0.4, 0.4], [-1.3, 0.4]],
};

// --- what was counted, as histogram.py does it ---------------------------------------------------

// A cell holds what one strategy came to at one number of devices: `bins` ascending, `counts` in each.
class FleetRuns {
  constructor(source) {
    Object.assign(this, source);
    this.cells = this.strategies.flatMap(({ cells }) => cells);
    for (const cell of this.cells) {
      let total = 0;
      cell.totals = cell.counts.map((count) => (total += count));
    }
    const most = this.above * this.deadline_s; // a queue that grows for ever leaves the plot there
    const seconds = [this.deadline_s, ...this.bound_s, ...this.cells.flatMap((cell) =>
      [cell.mean_s, ...[500, 990].map((share) => this.quantile(cell, share))])].filter((one) => one <= most);
    [this.low, this.top] = [Math.min(...seconds) / 1.3, Math.max(...seconds) * 1.3];
    const [first, last] = [this.low, this.top].map((end) => Math.floor(Math.log(end) / this.growth));
    this.stops = [AS_RUN, ...Array.from({ length: last - first }, (_, k) => first + 1 + k)]
      .sort((one, other) => this.secondsOf(one) - this.secondsOf(other));
  }

  // A deadline at the end of a bin: nothing within a bin has to be guessed.
  secondsOf(stop) { return stop === AS_RUN ? this.deadline_s : Math.exp(stop * this.growth); }

  // How many of a cell's requests were answered within a deadline.
  within({ requests, late, bins, totals }, stop) {
    if (stop === AS_RUN) return requests - late;
    const next = bins.findIndex((bin) => bin > stop);
    return next ? totals.at(next < 0 ? -1 : next - 1) : 0;
  }

  keeps(cell, { stop, share }) { return this.within(cell, stop) * 1000 >= share * cell.requests; }

  // The latency that so many per mille do not exceed.
  quantile({ requests, bins, totals }, share) {
    const at = totals.findIndex((total) => total >= (share / 1000) * requests);
    return Math.exp(bins[at] * this.growth) * (1 - this.error);
  }
}

// --- words ---------------------------------------------------------------------------------------

const percentOf = (share) => formatPercent(share / 1000);
const deadlineOf = ({ study, stop }) => formatSeconds(study.secondsOf(stop));
const latencyOf = ({ study, share, measure }, cell) =>
  (measure === "mean" ? cell.mean_s : study.quantile(cell, share));
const shareOf = ({ study, stop }, cell) => study.within(cell, stop) / cell.requests;

// Up to how many devices keep the deadline, which number of those that were run is the first that
// does not, and which larger ones do again; 0 stands for none.
function keeping({ study, stop, share }, strategy) {
  const { numbers } = study, kept = study.strategies[strategy].cells.map((cell) => study.keeps(cell, { stop, share }));
  const fails = kept.includes(false) ? kept.indexOf(false) : numbers.length;
  return { last: numbers[fails - 1] ?? 0, fails: numbers[fails] ?? 0,
    again: numbers.filter((_, k) => k > fails && kept[k]) };
}

function fleetAnswer(ctx) {
  const { study: { device, numbers: [first] }, chosen, share } = ctx;
  const { last, fails, again } = keeping(ctx, chosen);
  const have = (number) => (number === 1 ? "has" : "have");
  const goal = `${percentOf(share)} of their requests answered within ${deadlineOf(ctx)}`;
  let said = last ? `${last} ${device} ${have(last)} ${goal}` : `Not even ${first} ${device} ${have(first)} ${goal}`;
  if (!fails) said += "; more were not run";
  else if (last) said += `, ${fails} have not`;
  if (again.length) said += `, ${again.join(", ")} ${have(again.at(-1))} again`;
  const [from, to] = last ? [last + 1, fails - 1] : [1, first - 1];
  if (from <= to) said += `; ${from < to ? `${from} to ${to} were` : `${from} was`} not run`;
  return `${said}.`;
}

// Whose answer that is, and that of the others.
function strategiesAnswer(ctx) {
  const { study: { strategies, numbers: [first] }, chosen } = ctx;
  const told = strategies.map(({ words }, k) => {
    const { last, fails } = keeping(ctx, k);
    if (!last) return `${words}, ${first === 1 ? "none" : `fewer than ${first}, if any`}`;
    return `${words}, ${last}${fails ? "" : " or more"}`;
  }).filter((_, k) => k !== chosen);
  const others = told.length ? ` Under the others so many have: ${told.join("; ")}.` : "";
  return `Strategy: ${strategies[chosen].words}.${others}`;
}

// Between which numbers a strategy stops being better than staying local; as `paying` in fleet.py.
function paying({ study: { numbers, strategies, local, start }, chosen }, better) {
  const own = chosen === local ? start : chosen;
  if (local < 0 || own === local) return null;
  const fails = numbers.findIndex((_, k) => !better(strategies[own].cells[k], strategies[local].cells[k]));
  return fails < 0 ? [numbers.at(-1), 0] : [numbers[fails - 1] ?? 0, numbers[fails]];
}

function payingWords({ study: { numbers } }, found, measure) {
  if (!found) return `${numbers[0]} to ${numbers.at(-1)} devices`;
  const [last, stop] = found;
  if (!last) return `offloading does not pay ${measure}, not even with ${stop}`;
  if (!stop) return `offloading pays ${measure} with up to ${last} devices, the most that were run`;
  return `offloading pays ${measure} with up to ${last} devices, no longer with ${stop}`;
}

function fleetTip(ctx, { split, at }) {
  const { study, share } = ctx, { words, cells } = study.strategies[split], cell = cells[at];
  return [`${study.numbers[at]} ${study.device}: ${words}`, `${formatSeconds(cell.mean_s)} in the mean`,
    `${percentOf(share)} answered within ${formatSeconds(study.quantile(cell, share))}`,
    `${formatPercent(shareOf(ctx, cell))} answered within ${deadlineOf(ctx)}`, `${cell.requests} requests`];
}

// --- the two plots -------------------------------------------------------------------------------

function drawSymbol(pen, symbol, x, y, colour) {
  const points = SYMBOLS[symbol]?.map(([dx, dy]) => [x + SYMBOL_PX * dx, y + SYMBOL_PX * dy]);
  if (points) pen.shape(points, colour, pen.theme.quiet);
  else pen.circle(x, y, SYMBOL_PX, colour, pen.theme.quiet);
}

function drawLine(pen, points, { colour, dash }, width) {
  if (contrast(colour, pen.theme.paper) < FAINT) pen.line(points, pen.theme.quiet, width + 2.5);
  pen.line(points, colour, width, LINES[dash]);
}

const chipMark = (look) => (pen, x, y) => {
  drawLine(pen, [[x, y + 7], [x + MARK_PX, y + 7]], look, 2.5);
  drawSymbol(pen, look.symbol, x + 7, y + 7, look.colour);
};

const strategyKey = ({ study }) => study.strategies.map((one, split) => ({ mark: chipMark(one), words: one.words, split }));

// A view of one value of every cell. `goal` is what is wanted of it, `better` the order of two values.
function overDevices({ name, axis, valueOf, better, title, side, goal, goalWords, extra = () => [] }) {
  const placesOf = (plot, ctx) => {
    const { numbers } = ctx.study, devices = new Axis(0, numbers.at(-1) * 1.03, (one) => `${one}`);
    const up = axis(ctx), x = (number) => plot.x + plot.w * devices.share(number);
    const y = (value) => plot.y + plot.h * (1 - up.share(value));
    const line = (values) => values.map((value, k) => [x(numbers[k]), y(value)]);
    return { devices, up, x, y, line };
  };
  const lineOf = ({ line }, ctx, { cells }) => line(cells.map((cell) => valueOf(ctx, cell)));
  const found = (ctx) => paying(ctx, (one, other) => better(valueOf(ctx, one), valueOf(ctx, other)));
  return {
    name, margins: [58, 14, 25, 36], tip: fleetTip, mark() {},
    title: (ctx) => [title(ctx), payingWords(ctx, found(ctx), name === "latency" && ctx.measure === "mean" ? "in the mean" : "by this measure")],
    key: (ctx) => [
      ...(ctx.theme === ON_PAPER ? strategyKey(ctx) : []), // on the screen they are the chips
      ...extra(ctx).map(({ look, words }) => ({ mark: stroke(look.colour, 2, LINES[look.dash]), words })),
      { mark: stroke(ctx.study.goal_colour, 2), words: goalWords },
      ...(found(ctx)?.[1] ? [{ mark: stroke(ctx.theme.quiet, 1.5, STOPS), words: "offloading no longer pays" }] : []),
    ],
    turns: ({ stop, share, measure, chosen, lit }) => [stop, share, measure, chosen, lit],
    still(pen, ctx) {
      const places = placesOf(pen, ctx), { strategies } = ctx.study, stop = found(ctx)?.[1];
      drawSideAxis(pen, places.up, side);
      pen.inside(() => {
        if (stop) pen.down(places.x(stop), pen.theme.quiet, 1.5, STOPS);
        pen.across(places.y(goal(ctx)), ctx.study.goal_colour, 2);
        for (const { look, values } of extra(ctx)) drawLine(pen, places.line(values), look, 2);
        const rank = (k) => (k === ctx.lit ? 2 : k === ctx.chosen ? 1 : 0);
        for (const k of [...strategies.keys()].sort((a, b) => rank(a) - rank(b))) {
          const points = lineOf(places, ctx, strategies[k]), { symbol, colour } = strategies[k];
          drawLine(pen, points, strategies[k], rank(k) ? 4 : 1.8);
          for (const [x, y] of points) drawSymbol(pen, symbol, x, y, colour);
        }
      });
      pen.frame();
      drawFootAxis(pen, places.devices, "Devices that share the server");
    },
    at(ctx, plot, x, y) {
      const places = placesOf(plot, ctx), { numbers, strategies } = ctx.study;
      const least = (far, many) => [...Array(many).keys()].reduce((a, b) => (far(b) < far(a) ? b : a));
      const at = least((k) => Math.abs(places.x(numbers[k]) - x), numbers.length);
      const split = least((k) => Math.abs(lineOf(places, ctx, strategies[k])[at][1] - y), strategies.length);
      return { split, at };
    },
  };
}

const latencyView = overDevices({
  name: "latency", side: "Latency", goalWords: "deadline", valueOf: latencyOf, better: (one, other) => one < other,
  axis: ({ study: { low, top } }) => new Axis(low, top, formatSeconds),
  goal: ({ study, stop }) => study.secondsOf(stop),
  title: ({ measure, share }) => (measure === "mean" ? "Mean latency" : `Latency within which ${percentOf(share)} are answered`),
  extra: ({ study, measure }) => (measure === "mean"
    ? [{ look: study.bound_look, values: study.bound_s, words: "no strategy stays below" }] : []),
});
const shareView = overDevices({
  name: "within", side: "Share of requests", goalWords: "share wanted", valueOf: shareOf, better: (one, other) => one > other,
  axis: () => new Axis(0, 1.03, formatPercent), goal: ({ share }) => share / 1000,
  title: (ctx) => `Answered within ${deadlineOf(ctx)}`,
});
