// What leaves the workbench as a file: its sheet, the grid as a table, and the state as a line of text.

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

// All views under the answer, and where the numbers come from.
function sheetOf(desk, ctx, views) {
  const { what, measured, modelled, cautions } = answerWords(ctx.study, ctx.state,
    sureOf(ctx.confidence, ctx.state.batch_size, ctx.rate));
  const { model, device, server, dscwb_version: version } = stamp(desk);
  return { ctx, views, above: [what, measured, modelled, cautions], below: [
    `${model}. Device: ${device}. Server: ${server}.`,
    `Scenario: ${scenarioWords(desk)}. Made with dscwb ${version}.`,
  ] };
}

// --- the grid as a table -------------------------------------------------------------------------

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
  return csvText([columns, ...rows]);
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
