// What leaves the screen as a file: a picture of all views with the answer and where its numbers come
// from, the grid as a table, and the state as a line of text. All of it by the browser's download.

const PICTURE_PX = 1280, GAP_PX = 24, VIEW_PX = 300, LINE_PX = 17, TITLE_PX = 20; // a page, landscape
const PICTURE_SCALE = 2; // of a PNG: pixels of the file for each of the page

function download(name, parts, type) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  element("a", null, { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // a browser may ask first where to put it
}

function fileName({ state }, ending) {
  const model = state.model.replace(/[^\w.-]+/g, "-");
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  return `dscwb-${model}-${time}.${ending}`;
}

// --- the scenario in words -----------------------------------------------------------------------

// A field's value as people read it; empty where it does not count.
function valueWords({ name, blank, scale, unit, choices, kind }, value) {
  if (blank && !value) return "";
  if (name === "data_rate_bps" || name === "downlink_bps") return formatRate(value);
  if (kind === "check") return value ? "yes" : "no";
  if (typeof value === "number") return `${formatNumber(value / scale)}${unit ? ` ${unit}` : ""}`;
  return choices.find(([, one]) => one === value)?.[0] ?? value;
}

// What the scenario says beside model and machines: what is always in sight, and what was changed.
function scenarioWords({ fields, state, tables }) {
  const plain = { overhead_bytes: 0, server_load: 1, device_slowdown: 1, private_input: false,
    min_depth: 0, granularity: "auto", objective: "latency" };
  const silent = ["model", "edge", "server"];
  if (state.server !== tables.assumed) silent.push("server_speedup");
  if (state.objective !== "energy") silent.push(...POWER);
  const told = [...fields.values()].filter(({ name }) => !silent.includes(name)
    && state[name] !== plain[name]);
  const words = told.map((field) => [field.label, valueWords(field, state[field.name])]);
  return words.filter(([, value]) => value).map(([label, value]) =>
    `${label[0].toLowerCase()}${label.slice(1)} ${value}`).join(", ");
}

// Where the numbers come from: what every file says.
function stamp({ study, tables }) {
  return {
    model: study.pair.model.label, device: study.edge.label, server: study.server.label,
    dscwb_version: tables.version,
  };
}

// --- the picture ---------------------------------------------------------------------------------

// Lines of at most this width.
function wrapped(pen, words, width, weight) {
  const lines = [""];
  for (const word of words.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (pen.widthOf(longer, weight) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

function writeLines(pen, words, y, weight) {
  const lines = wrapped(pen, words, PICTURE_PX - 2 * GAP_PX, weight);
  lines.forEach((line, k) => pen.text(line, GAP_PX, y + (k + 0.5) * LINE_PX, { align: "left", weight }));
  return y + lines.length * LINE_PX;
}

// Draw everything with this brush; gives the height that it took.
function drawPicture(brush, desk, ctx, views, dpr) {
  const pen = new Pen(brush, { x: 0, y: 0, w: PICTURE_PX, h: 0, width: PICTURE_PX, height: 0, dpr }, ctx.theme);
  const wide = (PICTURE_PX - 3 * GAP_PX) / 2, told = answerWords(ctx.study, ctx.state,
    sureOf(ctx.confidence, ctx.state.batch_size, ctx.rate));
  pen.box(0, 0, PICTURE_PX, brush.height ?? 0, ctx.theme.paper);
  let y = writeLines(pen, told.what, GAP_PX / 2, BOLD);
  for (const line of [told.measured, told.modelled, told.cautions].filter(Boolean)) {
    y = writeLines(pen, line, y);
  }
  for (let k = 0; k < views.length; k += 2) {
    const feet = views.slice(k, k + 2).map((view, column) =>
      drawView(brush, view, ctx, GAP_PX + column * (wide + GAP_PX), y + GAP_PX, wide, dpr));
    y = Math.max(...feet);
  }
  const { model, device, server, dscwb_version: version } = stamp(desk);
  y = writeLines(pen, `${model}. Device: ${device}. Server: ${server}.`, y + GAP_PX / 2);
  y = writeLines(pen, `Scenario: ${scenarioWords(desk)}. Made with dscwb ${version}.`, y);
  return y + GAP_PX / 2;
}

function drawView(brush, view, ctx, x, y, wide, dpr) {
  const pen = new Pen(brush, frameOf(view, wide, VIEW_PX, dpr), ctx.theme), [title, sub] = view.title(ctx);
  brush.save();
  brush.translate(x, y);
  pen.text(title, 0, LINE_PX / 2, { align: "left", weight: BOLD });
  pen.text(sub, 0, 1.5 * LINE_PX, { align: "left", colour: ctx.theme.quiet });
  brush.translate(0, 2 * LINE_PX);
  view.still(pen, ctx);
  view.mark(pen, ctx);
  const key = drawKey(pen, view, ctx, 0, VIEW_PX + 4, wide);
  brush.restore();
  return y + 2 * LINE_PX + VIEW_PX + 4 + key;
}

function onPaper(ctx) { return { ...ctx, lit: null, theme: ON_PAPER }; }

function svgOf(desk, ctx, views) {
  const height = Math.ceil(drawPicture(new SvgBrush(PICTURE_PX, 0), desk, onPaper(ctx), views, 1));
  const brush = new SvgBrush(PICTURE_PX, height);
  drawPicture(brush, desk, onPaper(ctx), views, 1);
  return brush.text();
}

function pngOf(desk, ctx, views) {
  const height = Math.ceil(drawPicture(new SvgBrush(PICTURE_PX, 0), desk, onPaper(ctx), views, 1));
  const canvas = element("canvas", null,
    { width: PICTURE_PX * PICTURE_SCALE, height: height * PICTURE_SCALE });
  const brush = canvas.getContext("2d");
  brush.scale(PICTURE_SCALE, PICTURE_SCALE);
  brush.fillStyle = ON_PAPER.paper;
  brush.fillRect(0, 0, PICTURE_PX, height);
  drawPicture(brush, desk, onPaper(ctx), views, PICTURE_SCALE);
  return new Promise((done) => canvas.toBlob(done));
}

// --- the grid as a table -------------------------------------------------------------------------

const quotedCell = (value) => (/[",\n]/.test(value) ? `"${`${value}`.replaceAll('"', '""')}"` : value);

// One row a state, with the columns of `Study.to_pandas`, and where the numbers come from.
function csvOf(desk) {
  const { study } = desk, about = { ...stamp(desk), scenario: scenarioWords(desk) };
  const ends = [["no_offloading", study.candidates.findIndex((one) => one.isOutput)],
    ["full_offloading", study.candidates.findIndex((one) => one.isInput)]].filter(([, split]) => split >= 0);
  const energy = study.unit === "J" ? ["device_energy_j"] : [];
  const columns = ["batch_size", "data_rate_bps", "best_split", "latency_s", "wait_s", "head_s", "tail_s",
    "payload_bytes", "interpolated", ...energy, ...ends.map(([name]) => `gain_over_${name}`), ...Object.keys(about)];
  const rows = study.batchSizes.flatMap((size, row) => [...study.rates].map((rate) => {
    const best = study.bestAt(row, rate), at = study.index(row, best);
    return [size, rate, study.candidates[best].name, study.latencyAt(row, best, rate), study.wait[row],
      study.head[at], study.tail[at], study.bits[at] / 8, study.interpolated[row] ? "True" : "False",
      ...energy.map(() => study.costAt(row, best, rate)),
      ...ends.map(([, split]) => study.gainAt(row, rate, split)), ...Object.values(about)];
  }));
  return [columns, ...rows].map((row) => row.map(quotedCell).join(",")).join("\n") + "\n";
}

// --- the state as text ---------------------------------------------------------------------------

const stateText = ({ state, tables }) => JSON.stringify({ schema: tables.schema, ...state });

// The fields of a state that somebody sent; errors as in state.py.
function stateOf(text, { fields, tables }) {
  let given;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw new Error(`This is no state of a workbench: ${error.message}; copy all of it.`);
  }
  const { schema, ...values } = given ?? {};
  if (schema !== tables.schema) throw new Error(`This is no state of this workbench; it must say '${tables.schema}'.`);
  if (typeof values.model !== "string") throw new Error("This state names no model; copy all of it.");
  for (const [name, value] of Object.entries(values)) {
    const field = fields.get(name);
    if (!field) throw new Error(`Unknown field '${name}'; choose from ${[...fields.keys()].join(", ")}.`);
    const { low, high, kind } = field, number = kind === "number" || kind === "whole";
    const wanted = number ? "number" : kind === "check" ? "boolean" : "string";
    if (typeof value !== wanted) throw new Error(`${name} is ${JSON.stringify(value)}; give a ${wanted}.`);
    if (number && !(value >= low && value <= high)) {
      throw new Error(`${name} is ${value}; choose a number from ${low} to ${high}.`);
    }
  }
  return { ...tables.plain, ...values };
}
