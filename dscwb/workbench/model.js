// The model as a graph: blocks in the order in which they run, what crosses between them, the cut.

const MODEL_MARGINS = [52, 16, 52, 74];
const STRIP_TOP = 6, STRIP_PX = 24, BOUND_PX = 7; // of the blocks under the plot, and their signs
const CUT_ROW = 24, PINNED_ROW = 40; // names of the cuts over the plot
const NARROW_PX = 5; // between two cuts; nearer, only compressive bottlenecks have marks
const DEVICE = PARTS.head[0], SERVER = PARTS.tail[0];
const BOUND_WORDS = { a: "bound by arithmetic", m: "bound by memory" };
const KIND_WORDS = { none: "c ≥ 1", natural: "natural, c < 1", compressive: "compressive" };

const bytesAt = ({ study, row }, split) =>
  study.bits[study.index(row, split)] / 8 / study.batchSizes[row]; // a sample

// The model's parts in the order in which they run: blocks, and what lies between them.
function partsOf({ model, blocks, edge }) {
  const known = new Map(blocks.map((block) => [block.end, block])), places = model.lists.block;
  return places.slice(1).map(([end, name], k) => ({
    name: end === model.layers ? "output" : name, ...known.get(end), start: places[k][0], end,
    isBlock: known.has(end) || !blocks.length, flops: model.flops[k], bound: edge.bound[k],
  }));
}

// A function that tells of a candidate: compressive, natural or none, or one of the ends.
function kindOf({ pair, state }) {
  const found = pair.model.bottlenecks(state.granularity).filter(({ mark }) => mark === "c");
  const compressive = new Set(found.map(({ cut }) => cut));
  return ({ cut, ratio, isInput, isOutput }) => (isInput || isOutput ? "end"
    : compressive.has(cut) ? "compressive" : ratio < 1 ? "natural" : "none");
}

// Pixels of every cut between parts, and of every candidate: all equally far from each other, since
// by their FLOPs many parts would be too narrow to be seen.
function cutPlaces(plot, { pair, candidates }) {
  const ends = [...pair.model.lists.block.map(([cut]) => cut), ...candidates.map((one) => one.cut)];
  const cuts = [...new Set(ends)].sort((a, b) => a - b);
  return new Map(cuts.map((cut, k) => [cut, plot.x + (k / (cuts.length - 1)) * plot.w]));
}

function payloadAxis(ctx) {
  const every = ctx.study.candidates.map((_, split) => bytesAt(ctx, split));
  const sizes = every.filter((bytes) => bytes > 0);
  const [low, high] = sizes.length ? [Math.min(...sizes), Math.max(...sizes)] : [1, 1];
  return new Axis(low / 1.6, high * 1.3, formatBytes);
}

function drawModel(pen, ctx) {
  const { study, best } = ctx, axis = payloadAxis(ctx), places = cutPlaces(pen, study);
  const points = study.candidates.map((one, split) => {
    const bytes = bytesAt(ctx, split);
    return [places.get(one.cut), bytes > 0 ? pen.foot - pen.h * axis.share(bytes) : pen.foot];
  });
  const cut = places.get(study.candidates[best].cut), parts = partsOf(study.pair);
  const area = [[points[0][0], pen.foot], ...points, [points.at(-1)[0], pen.foot]];
  drawSideAxis(pen, axis, "To send, per sample");
  for (const [from, to, colour] of [[pen.x, cut, DEVICE], [cut, pen.right, SERVER]]) {
    pen.within(from, 0, to - from, pen.height, () => {
      pen.faint(0.35, () => pen.shape(area, colour, null));
      drawParts(pen, parts, places, colour);
    });
  }
  pen.line(points, pen.theme.text, 1.25);
  drawReferences(pen, ctx, axis);
  drawSides(pen, cut);
  drawCuts(pen, study, points);
  pen.frame();
  drawSigns(pen, parts, places);
  drawNames(pen, parts, places);
}

// Who runs what, on both sides of the cut, where there is room.
function drawSides(pen, cut) {
  for (const [words, x, align, room] of [["device", cut - 6, "right", cut - pen.x],
    ["server", cut + 6, "left", pen.right - cut]]) {
    if (pen.widthOf(words) + 12 <= room) pen.text(words, x, pen.foot - 9, { align, shy: true });
  }
}

// Filled as high as their share of the FLOPs next to the largest, where these are known.
function drawParts(pen, parts, places, colour) {
  const most = Math.max(...parts.map((one) => one.flops ?? 0)), top = pen.foot + STRIP_TOP;
  pen.faint(0.2, () => pen.box(pen.x, top, pen.w, STRIP_PX, colour));
  const rims = [];
  for (const { start, end, flops } of parts) {
    const [from, to] = [places.get(start), places.get(end)];
    const high = most ? STRIP_PX * (flops ?? 0) / most : 0;
    pen.box(from, top + STRIP_PX - high, to - from, high, colour);
    if (to - from >= 3) rims.push([[to, top], [to, top + STRIP_PX]]);
  }
  pen.lines(rims, pen.theme.text, 0.75);
  pen.border(pen.x, top, pen.w, STRIP_PX, pen.theme.text);
}

// Under every part whether arithmetic or memory binds it.
function drawSigns(pen, parts, places) {
  const top = pen.foot + STRIP_TOP + STRIP_PX + 2;
  for (const { start, end, bound } of parts) {
    const from = places.get(start);
    if (BOUND_WORDS[bound]) boundSign(pen, bound, from, top, places.get(end) - from);
  }
}

function boundSign(pen, bound, x, y, wide) {
  const { text } = pen.theme, fill = bound === "a" ? text : pen.hatch([text], 4);
  pen.box(x, y, wide, BOUND_PX, fill);
  pen.border(x, y, wide, BOUND_PX, text, 0.5);
}

const parent = (name) => name.slice(0, Math.max(0, name.lastIndexOf(".")));

// Names under the blocks without what all of them begin with: each block's where all have room,
// else those of the groups that they form, else as many as fit.
function drawNames(pen, parts, places) {
  const blocks = parts.filter((one) => one.isBlock), names = blocks.map((one) => one.name);
  let common = parent(names[0] ?? "");
  while (common && !names.every((name) => name.startsWith(`${common}.`))) common = parent(common);
  const short = (name) => (common ? name.slice(common.length + 1) : name);
  const spots = blocks.map(({ name, start, end }) =>
    ({ words: short(name), from: places.get(start), to: places.get(end) }));
  const groups = [];
  for (const { words, from, to } of spots) {
    const group = parent(words);
    if (groups.at(-1)?.words === group) groups.at(-1).to = to;
    else groups.push({ words: group, from, to });
  }
  const y = pen.foot + STRIP_TOP + STRIP_PX + BOUND_PX + 12;
  const fits = ({ words, from, to }) => pen.widthOf(words) + 4 <= to - from;
  const grouped = !spots.every(fits) && groups.length > 1;
  let free = -Infinity;
  for (const spot of grouped ? groups.filter(fits) : spots) {
    const middle = (spot.from + spot.to) / 2, half = pen.widthOf(spot.words) / 2;
    if (!spot.words || middle - half < free) continue;
    pen.textWithin(spot.words, middle, y);
    free = middle + half + LABEL_GAP;
  }
  const borders = grouped ? groups.map(({ from }) => [[from, y - 8], [from, y + 5]]) : [];
  pen.lines(borders, pen.theme.quiet);
  drawFootTitle(pen, common ? `${common}.…, first to last` : "Blocks, first to last",
    y + ROW_PX - pen.foot);
}

// What the input takes, and what features of as many elements as the input would take.
function drawReferences(pen, ctx, axis) {
  const { candidates } = ctx.study, y = (bytes) => pen.foot - pen.h * axis.share(bytes);
  const inner = candidates.findIndex((one) => !one.isInput && !one.isOutput);
  const input = bytesAt(ctx, 0);
  const lines = candidates[0].isInput ? [[y(input), `input: ${formatBytes(input)}`]] : [];
  if (inner >= 0) lines.push([y(bytesAt(ctx, inner) / candidates[inner].ratio), "c = 1"]);
  if (lines.length > 1 && Math.abs(lines[0][0] - lines[1][0]) < ROW_PX) {
    lines.splice(0, 2, [lines[0][0], `${lines[0][1]}, c = 1`]);
  }
  for (const [at, words] of lines) {
    if (at < pen.y || at > pen.foot) continue;
    pen.across(at, pen.theme.text, 1, [6, 4]);
    pen.text(words, pen.right - 4, at - 8 < pen.y + 6 ? at + 9 : at - 8,
      { align: "right", halo: pen.theme.paper });
  }
}

function drawCuts(pen, study, points) {
  const narrow = pen.w / points.length < NARROW_PX;
  const kinds = study.candidates.map(kindOf(study));
  for (const kind of narrow ? ["compressive"] : Object.keys(KIND_WORDS)) { // the best ones on top
    points.forEach(([x, y], split) => {
      if (kinds[split] === kind) cutMark(pen, kind, study.candidates[split].colour, x, y);
    });
  }
}

function cutMark(pen, kind, colour, x, y) {
  if (kind === "none") pen.circle(x, y, 3, pen.theme.paper, pen.theme.text);
  if (kind === "natural") pen.circle(x, y, 3, colour, pen.theme.text);
  if (kind === "compressive") pen.diamond(x, y, 6, colour, pen.theme.text, 1.25);
}

// The cut that is best, the pinned one, and the one under the hand with the block before it.
function markModel(pen, ctx) {
  const { study, best, pinned, lit } = ctx, places = cutPlaces(pen, study);
  const at = (split) => places.get(study.candidates[split].cut);
  const deep = pen.foot + STRIP_TOP + STRIP_PX + 3;
  const told = (word, split) => {
    const { shown, isOutput } = study.candidates[split];
    return `${word}: ${shown}${isOutput ? "" : `, ${formatBytes(bytesAt(ctx, split))}`}`;
  };
  if (lit !== null) {
    pen.rim([[[at(lit), pen.y], [at(lit), deep]]]);
    const part = partsOf(study.pair).find((one) => one.end === study.candidates[lit].cut);
    if (part) rimPart(pen, part, places);
  }
  const x = at(best), words = pen.fitted(told("cut", best), pen.width, BOLD);
  pen.line([[x, CUT_ROW + 7], [x, deep]], pen.theme.paper, 5);
  pen.line([[x, CUT_ROW + 7], [x, deep]], pen.theme.text, 3);
  pen.textWithin(words, x, CUT_ROW, { weight: BOLD });
  if (pinned === null || pinned === best) return;
  pen.rim([[[at(pinned), PINNED_ROW + 7], [at(pinned), deep]]], true);
  labelPinned(pen, told("pinned", pinned), at(pinned), x);
}

// Beside the line of the best cut, not on it.
function labelPinned(pen, words, at, cut) {
  const room = Math.max(cut, pen.width - cut) - 6, shown = pen.fitted(words, room);
  const half = pen.widthOf(shown) / 2;
  let x = Math.min(pen.width - half, Math.max(half, at));
  if (Math.abs(x - cut) < half + 6) {
    const before = cut - 6 - half, after = cut + 6 + half;
    x = before < half || (at > cut && after <= pen.width - half) ? after : before;
  }
  pen.text(shown, x, PINNED_ROW);
}

function rimPart(pen, { start, end }, places) {
  const [from, to, top, foot] = [places.get(start), places.get(end), pen.foot + STRIP_TOP,
    pen.foot + STRIP_TOP + STRIP_PX];
  pen.rim([[[from, top], [to, top], [to, foot], [from, foot], [from, top]]]);
}

// The nearest candidate's cut; under the plot the part of the model.
function underModel({ study, row, rate }, plot, x, y) {
  const places = cutPlaces(plot, study);
  const far = (split) => Math.abs(places.get(study.candidates[split].cut) - x);
  const split = study.candidates.reduce((near, _, one) => (far(one) < far(near) ? one : near), 0);
  if (y <= plot.y + plot.h + STRIP_TOP) return { row, rate, split };
  const part = partsOf(study.pair).find(({ end }) => x < places.get(end));
  return { row, rate, split, part };
}

function modelTip(ctx, place) {
  const { study } = ctx, { split, part } = place;
  if (part) {
    const whole = partsOf(study.pair).reduce((sum, one) => sum + (one.flops ?? 0), 0);
    const share = part.flops && `${formatPercent(part.flops / whole)} of the FLOPs`;
    const { [part.bound]: words } = BOUND_WORDS, size = study.edge.batch_sizes.at(-1);
    const bound = words && `${words} on the device, at batch size ${size}`;
    return [part.name, part.kind, share, bound].filter(Boolean).join("\n");
  }
  const one = study.candidates[split], words = splitTip(ctx, place);
  const kind = KIND_WORDS[kindOf(study)(one)];
  return kind ? `${words}\nc = ${formatNumber(one.ratio)}: ${kind}` : words;
}

function flopsMark(pen, x, y) {
  pen.box(x + 4, y + 6, 6, 8, pen.theme.text);
  pen.border(x + 4, y, 6, 14, pen.theme.text);
}

function modelKey({ study }) {
  const parts = partsOf(study.pair), kinds = new Set(study.candidates.map(kindOf(study)));
  const bounds = new Set(parts.map((one) => one.bound)), { colour } = study.candidates.at(-2);
  const kindMark = (kind) => (pen, x, y) => cutMark(pen, kind, colour, x + 7, y + 7);
  const boundMark = (bound) => (pen, x, y) => boundSign(pen, bound, x, y + 4, MARK_PX);
  const entries = (words, seen, markOf) => Object.keys(words).filter((one) => seen.has(one))
    .map((one) => ({ mark: markOf(one), words: words[one] }));
  return [
    { mark: swatch(DEVICE), words: "device" }, { mark: swatch(SERVER), words: "server" },
    ...(parts.some((one) => one.flops) ? [{ mark: flopsMark, words: "height: FLOPs" }] : []),
    ...entries(KIND_WORDS, kinds, kindMark), ...entries(BOUND_WORDS, bounds, boundMark),
  ];
}

const modelGraph = {
  name: "model", margins: MODEL_MARGINS, steers: false, picks: "graph of the model",
  below: STRIP_TOP + STRIP_PX + BOUND_PX,
  title: ({ study }) => ["The model and its cut", study.pair.model.label],
  key: modelKey,
  turns: ({ row, best }) => [row, best],
  still: drawModel, mark: markModel, at: underModel, tip: modelTip,
};
