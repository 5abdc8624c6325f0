// The five views of a study, drawn with a pen on HTML canvas: no library, no network.

const BAR_GAP = 10, BAR_PX = 14; // between a map and its colour bar, and the bar itself
const SAMPLES = 120; // points of a cost line
const COLUMNS = 200; // cells of the map of gains from left to right
const IMPOSSIBLE = "rgba(140, 140, 140, 0.85)";

// --- axes ----------------------------------------------------------------------------------------

const rateX = (pen, study) => (rate) => pen.x + study.share(rate) * pen.w;
const rowTop = (pen, study, row) => pen.foot - (row + 1) * pen.h / study.rows.length;
const rowMiddle = (pen, study, row) => rowTop(pen, study, row - 0.5);

// From value to pixels, along an axis that is logarithmic where it does not start from zero.
const axisY = (pen, { low, high }) => (value) => {
  const share = low ? Math.log(value / low) / Math.log(high / low) : Math.min(1, value / high);
  return pen.foot - pen.h * share;
};

// Every how many-th label fits, so that no two touch.
function every(pen, places, labels) {
  const widest = Math.max(...labels.map((words) => pen.widthOf(words)));
  const nearest = Math.min(...places.slice(1).map((x, k) => x - places[k]));
  return Math.max(1, Math.ceil((widest + 6) / nearest));
}

function footTitle(pen, words, y) {
  pen.text(words, pen.x + pen.w / 2, pen.foot + y, { size: TITLE });
}

function sideTitle(pen, words) {
  pen.ctx.save();
  pen.ctx.translate(10, pen.y + pen.h / 2);
  pen.ctx.rotate(-Math.PI / 2);
  pen.text(words, 0, 0, { size: TITLE });
  pen.ctx.restore();
}

function rateAxis(pen, study) {
  const { ticks, labels, below, title } = study.rates, places = ticks.map(rateX(pen, study));
  const step = every(pen, places, [...labels, ...below]);
  places.forEach((x, k) => {
    pen.line([[x, pen.foot], [x, pen.foot + 4]], pen.theme.quiet);
    if (k % step) return;
    pen.text(labels[k], x, pen.foot + 11);
    pen.text(below[k], x, pen.foot + 23, { size: SMALL, colour: pen.theme.quiet });
  });
  footTitle(pen, title, 40);
}

function rowAxis(pen, study, labelled) {
  const mixed = study.rows.some((row) => !row.measured);
  for (const row of study.row_ticks) {
    const y = rowMiddle(pen, study, row), { measured, label } = study.rows[row];
    pen.line([[pen.x - 4, y], [pen.x, y]], pen.theme.quiet);
    const weight = !mixed ? "" : measured ? "bold" : "italic";
    if (labelled) pen.text(label, pen.x - 7, y, { align: "right", weight });
  }
  if (labelled) sideTitle(pen, "Batch size");
}

function sideAxis(pen, axis) {
  const y = axisY(pen, axis);
  let last = Infinity;
  axis.ticks.forEach((tick, k) => {
    pen.across(y(tick), pen.theme.grid);
    if (Math.abs(last - y(tick)) < 13) return;
    pen.text(axis.labels[k], pen.x - 5, y(tick), { align: "right" });
    last = y(tick);
  });
  sideTitle(pen, axis.title);
}

function depthAxis(pen, study, places, labels) {
  const step = every(pen, places.slice(0, -1), labels.slice(0, -1)), end = places.at(-1);
  places.forEach((x, k) => {
    if (x === end || (k % step === 0 && end - x > 24)) pen.text(labels[k], x, pen.foot + 11);
  });
  footTitle(pen, study.depth_title, 27);
}

// --- maps ----------------------------------------------------------------------------------------

// Upper edge and height of a row, on whole pixels of the screen: no seams between rows.
function rowBox(pen, study, row) {
  const [top, foot] = [row, row - 1].map((one) => pen.snap(rowTop(pen, study, one)));
  return [top, foot - top];
}

function drawSplitMap(pen, study, { best }) {
  const width = study.chosen.length <= 12 ? 1 : 0.5; // many narrow regions would drown in white
  pen.inside(() => {
    study.rows.forEach(({ splits, rates_bps: changes }, row) => {
      const [top, height] = rowBox(pen, study, row);
      const edges = [pen.x, ...changes.map(rateX(pen, study)), pen.right];
      splits.forEach((split, k) => {
        pen.box(edges[k], top, edges[k + 1] - edges[k], height, study.candidates[split].colour);
      });
      for (const x of edges.slice(1, -1)) pen.line([[x, top], [x, top + height]], "white", width);
    });
    const colours = ["rgba(0, 0, 0, 0.75)", "rgba(255, 255, 255, 0.75)"]; // seen on any split's
    const patterns = { [UNDECIDED]: pen.hatch(colours), [FRAGILE]: pen.dots(colours) };
    const edges = study.doubt_edges_bps.map(rateX(pen, study)), count = edges.length - 1;
    drawCells(pen, study, edges, (row, k) => patterns[study.doubt[row * count + k]]);
  });
  pen.frame();
  rateAxis(pen, study);
  rowAxis(pen, study, true);
  drawSplitBar(pen, study, best);
}

// Cells between these places, in every row; `fill` gives colour or pattern, or nothing.
function drawCells(pen, study, places, fill) {
  const edges = places.map(pen.snap);
  study.rows.forEach((_, row) => {
    const [top, height] = rowBox(pen, study, row);
    for (let k = 0; k + 1 < edges.length; k += 1) {
      const colour = fill(row, k);
      if (colour) pen.box(edges[k], top, edges[k + 1] - edges[k], height, colour);
    }
  });
}

function drawSplitBar(pen, study, best) {
  const names = study.chosen, height = pen.h / names.length, x = pen.right + BAR_GAP;
  const step = Math.ceil(14 / height);
  names.forEach((split, k) => {
    const { short, colour } = study.candidates[split], top = pen.foot - (k + 1) * height;
    pen.box(x, top, BAR_PX, height + 0.5, colour);
    if (k % step && split !== best) return;
    const weight = split === best ? "bold" : "";
    pen.text(short, x + BAR_PX + 5, top + height / 2, { align: "left", weight });
  });
  pen.frame(x, BAR_PX);
}

function drawGainMap(pen, study) {
  const shades = study.gain_colours, impossible = pen.hatch([IMPOSSIBLE]);
  const edges = Array.from({ length: COLUMNS + 1 }, (_, k) => pen.x + (k / COLUMNS) * pen.w);
  drawCells(pen, study, edges, (row, k) => {
    const gain = study.gainAt(row, study.rateAt((k + 0.5) / COLUMNS));
    return shades[Math.round(255 * Math.min(1, Math.max(0, gain)))] ?? impossible;
  });
  pen.frame();
  rateAxis(pen, study);
  rowAxis(pen, study, false);
  drawPercentBar(pen, shades);
}

function drawPercentBar(pen, shades) {
  const x = pen.right + BAR_GAP, height = pen.h / shades.length;
  shades.forEach((shade, k) => {
    pen.box(x, pen.foot - (k + 1) * height, BAR_PX, height + 0.6, shade);
  });
  for (const share of [0, 20, 40, 60, 80, 100]) {
    const y = pen.foot - pen.h * share / 100;
    pen.line([[x + BAR_PX, y], [x + BAR_PX + 3, y]], pen.theme.quiet);
    const within = Math.min(pen.foot - 5, Math.max(pen.y + 5, y));
    pen.text(`${share} %`, x + BAR_PX + 6, within, { align: "left" });
  }
  pen.frame(x, BAR_PX);
}

function markState(pen, study, { row, rate }) {
  const x = rateX(pen, study)(rate), y = rowMiddle(pen, study, row);
  pen.inside(() => {
    for (const [colour, dash] of [["rgba(255, 255, 255, 0.75)", []], ["rgba(0, 0, 0, 0.7)", [4, 4]]]) {
      pen.down(x, colour, 1, dash);
      pen.across(y, colour, 1, dash);
    }
  });
  pen.disc(x, y);
}

// --- cost over rate ------------------------------------------------------------------------------

function costLine(pen, study, row, split, from, to) {
  const y = axisY(pen, study.costs), first = study.share(from), last = study.share(to);
  const count = Math.max(2, Math.ceil(SAMPLES * (last - first)));
  return Array.from({ length: count + 1 }, (_, k) => {
    const share = first + (k / count) * (last - first);
    return [pen.x + share * pen.w, y(study.costAt(row, split, study.rateAt(share)))];
  });
}

function drawCurves(pen, study, { row }) {
  const { low, high } = study, { splits, rates_bps: changes } = study.rows[row];
  sideAxis(pen, study.costs);
  pen.inside(() => {
    study.candidates.forEach((_, split) => {
      if (splits.includes(split) || isNaN(study.costAt(row, split, low))) return;
      pen.line(costLine(pen, study, row, split, low, high), "rgba(130, 130, 130, 0.45)", 0.8);
    });
    for (const split of splits) {
      pen.line(costLine(pen, study, row, split, low, high), study.candidates[split].colour, 1.6);
    }
    const edges = [low, ...changes.map((rate) => Math.min(high, Math.max(low, rate))), high];
    // A rim, without which light grey on white and dark grey on black would vanish.
    for (const [width, rim] of [[6, pen.theme.text], [4.2, null]]) {
      splits.forEach((split, k) => {
        if (edges[k + 1] <= edges[k]) return;
        const points = costLine(pen, study, row, split, edges[k], edges[k + 1]);
        pen.line(points, rim ?? study.candidates[split].colour, width);
      });
    }
    for (const rate of changes.filter((one) => one > low && one < high)) {
      const [x, y] = onEnvelope(pen, study, row, rate);
      pen.line([[x, y], [x, pen.foot]], pen.theme.quiet, 1, [2, 3]);
    }
  });
  pen.frame();
  rateAxis(pen, study);
}

function onEnvelope(pen, study, row, rate) {
  const least = study.costAt(row, study.bestAt(row, rate), rate);
  return [rateX(pen, study)(rate), axisY(pen, study.costs)(least)];
}

function markCurve(pen, study, { row, rate }) {
  const [x, y] = onEnvelope(pen, study, row, rate);
  pen.down(x, pen.theme.text, 1, [4, 4]);
  pen.disc(x, y);
}

// --- breakdown -----------------------------------------------------------------------------------

function drawBars(pen, study, { row, rate, best, bars }) {
  const slot = pen.w / study.candidates.length, y = axisY(pen, bars);
  const width = Math.max(1, slot * 0.82), nowhere = pen.hatch([IMPOSSIBLE], 5);
  sideAxis(pen, bars);
  study.candidates.forEach((_, split) => {
    const x = pen.x + split * slot + (slot - width) / 2, total = study.latencyAt(row, split, rate);
    if (isNaN(total)) {
      pen.box(x, pen.y, width, pen.h, nowhere);
      return;
    }
    pen.box(x, y(total), width, pen.foot - y(total), pen.theme.paper); // no grid shines through
    pen.ctx.globalAlpha = split === best ? 1 : 0.75;
    let done = 0;
    const parts = study.partsAt(row, split, rate);
    for (const [name, [colour]] of Object.entries(study.parts)) {
      pen.box(x, y(done + parts[name]), width, y(done) - y(done + parts[name]), colour);
      done += parts[name];
    }
    pen.ctx.globalAlpha = 1;
    const { paper: colour } = pen.theme, size = Math.min(9, width); // of a bar that leaves the plot
    if (total > bars.high) pen.text("▲", x + width / 2, pen.y + 6, { size, colour });
  });
  pen.frame();
  markBest(pen, pen.x + (best + 0.5) * slot, y(study.latencyAt(row, best, rate)),
    study.candidates[best].colour, `best: ${cost(study.latencyAt(row, best, rate), "s")}`);
  depthAxis(pen, study, study.candidates.map((_, split) => pen.x + (split + 0.5) * slot),
    study.candidates.map((one) => one.depth_label));
}

function markBest(pen, x, top, colour, words) {
  const foot = Math.max(pen.y + 16, top - 3), weight = "bold";
  pen.shape([[x, foot], [x - 6, foot - 9], [x + 6, foot - 9]], colour, pen.theme.text, 1.5);
  const wide = pen.widthOf(words, TITLE, weight);
  const from = x < pen.x + pen.w / 2 ? x + 10 : x - 10 - wide;
  pen.ctx.globalAlpha = 0.85; // over the bars of others
  pen.box(from - 2, foot - 15, wide + 4, 15, pen.theme.paper);
  pen.ctx.globalAlpha = 1;
  pen.text(words, from, foot - 7, { size: TITLE, align: "left", weight });
}

// --- compression ---------------------------------------------------------------------------------

const placeX = (pen, study) => (_, k) => pen.x + ((k + 0.5) / study.places.length) * pen.w;

function drawPlaces(pen, study) {
  const places = study.places.map(placeX(pen, study)), y = axisY(pen, study.ratios);
  sideAxis(pen, study.ratios);
  pen.across(y(1), pen.theme.text, 1.2, [6, 4]);
  for (const kind of ["none", "natural", "compressive"]) { // the important ones on top
    study.places.forEach((place, k) => {
      if (place.kind === kind) drawPlace(pen, place, places[k], y(place.ratio));
    });
  }
  pen.frame();
  depthAxis(pen, study, places, places.map((_, k) => (k < places.length - 1 ? `${k}` : "all")));
}

function drawPlace(pen, { kind, colour, label }, x, y) {
  if (kind === "none") pen.circle(x, y, 3.5, pen.theme.paper, IMPOSSIBLE, 1.2);
  if (kind === "natural") pen.circle(x, y, 3.5, colour, pen.theme.text, 0.5);
  if (kind !== "compressive") return;
  pen.shape([[x, y - 6], [x + 6, y], [x, y + 6], [x - 6, y]], colour, pen.theme.text, 1);
  const low = pen.foot - y < 26; // clear of the ring in either place
  pen.text(label, x, y + (low ? -18 : 18), { size: 10 });
}

function markPlace(pen, study, { best }) {
  const { place } = study.candidates[best], { ratio } = study.places[place];
  const x = placeX(pen, study)(null, place);
  pen.down(x, pen.theme.text, 1, [4, 4]);
  if (ratio) pen.circle(x, axisY(pen, study.ratios)(ratio), 9, null, pen.theme.text, 2);
}
