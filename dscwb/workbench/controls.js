// Native controls, made from the table of fields that Python gives: each has a label, its unit, what
// it means, and a line below it that says why it is out of use or why a value was refused.

const RATE_STEPS = 50; // of the slider of data rates, in a factor of ten
const OWN_LINK = "own values";
const NONE = "none";
const wordsOf = { data_rate_bps: (rate) => formatRate(rate) };

function element(tag, parent, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  parent?.append(made);
  return made;
}

let controlsMade = 0; // for ids, which a page must not hold twice

// A labelled control. `changed` is called with its new value in the unit of the state.
class Control {
  constructor(parent, field, changed) {
    Object.assign(this, { field, changed, id: `dscwb-${controlsMade += 1}` });
    this.box = element("div", parent, { className: `field ${field.name}`, title: field.help });
    this.label = element("label", this.box, { htmlFor: this.id, textContent: field.label });
    this.make();
    this.note = element("div", this.box, { className: "note", id: `${this.id}-note` });
    for (const input of this.inputs) input.setAttribute("aria-describedby", this.note.id);
  }

  get inputs() { return [this.input]; }

  // Put the words under the control; a refusal is announced, and marks the control as wrong.
  say(words, wrong = false) {
    if (this.note.textContent !== words) this.note.textContent = words;
    if (wrong) this.note.setAttribute("role", "alert");
    else this.note.removeAttribute("role");
    for (const input of this.inputs) {
      if (wrong) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
  }

  // Show a value; `off` is the reason why it is out of use, if it is.
  show(value, { off = "", ...more } = {}) {
    const known = JSON.stringify([value, off, more]);
    if (this.known === known) return;
    this.known = known;
    this.say(off);
    for (const input of this.inputs) input.disabled = !!off;
    this.set(value, more);
  }

  // What was asked for is not possible: say so, and show what holds.
  refuse(words) {
    if (this.known) {
      const [value, , more] = JSON.parse(this.known);
      this.set(value, more);
    }
    this.say(words, true);
  }
}

class Choice extends Control {
  make() {
    this.input = element("select", this.box, { id: this.id });
    this.input.addEventListener("change", () => this.changed(this.values[this.input.selectedIndex]));
  }

  // `options` are [words, value, why not]; a value that is none of them is shown as it is.
  set(value, { options = this.field.choices }) {
    const all = options.some(([, one]) => one === value) ? options : [...options, [`${value}`, value]];
    const says = JSON.stringify(all);
    if (this.says !== says) {
      this.says = says;
      this.values = all.map(([, one]) => one);
      this.input.replaceChildren(...all.map(([words, , not = ""]) =>
        Object.assign(document.createElement("option"),
          { textContent: words, disabled: !!not, title: not })));
    }
    this.input.selectedIndex = this.values.indexOf(value);
    this.input.title = all[this.input.selectedIndex][0];
  }
}

class Check extends Control {
  make() {
    this.input = element("input", null, { id: this.id, type: "checkbox" });
    this.label.before(this.input);
    this.input.addEventListener("change", () => this.changed(this.input.checked));
  }

  set(value) { this.input.checked = value; }
}

// A number with its unit. What is typed counts as soon as it is a number that may be.
class Numeric extends Control {
  make() {
    const { unit, blank, kind } = this.field, line = element("div", this.box, { className: "line" });
    this.input = element("input", line, { id: this.id, type: "number", step: kind === "whole" ? 1 : "any" });
    if (blank) this.input.placeholder = NONE;
    if (unit) element("span", line, { className: "unit", textContent: unit });
    this.input.addEventListener("input", () => this.typed());
    this.input.addEventListener("blur", () => this.leave());
  }

  typed() {
    const { field: { blank, kind, low, high, scale }, input } = this;
    const empty = input.value === "" && !input.validity.badInput;
    const exact = empty && blank ? 0 : Number((input.valueAsNumber * scale).toPrecision(15));
    const least = blank ? Number.MIN_VALUE : low;
    const fits = (empty && blank) || (exact >= least && exact <= high
      && (kind !== "whole" || Number.isInteger(exact)));
    this.half = !fits;
    if (!fits) {
      this.say(this.allowed(), true);
      return;
    }
    this.say("");
    this.typing = true; // what is typed stays as it is written
    this.changed(exact);
    this.typing = false;
    this.half = input.hasAttribute("aria-invalid"); // refused
  }

  allowed() {
    const { blank, kind, low, high, scale, unit } = this.field;
    const ends = [low, high].map((one) => formatNumber(one / scale));
    const from = blank ? `Above 0, to ${ends[1]}` : `From ${ends[0]} to ${ends[1]}`;
    return `${from}${unit ? ` ${unit}` : ""}${kind === "whole" ? ", a whole number" : ""}`
      + `${blank ? "; leave it empty for none" : ""}.`;
  }

  // Nothing half typed stays when the hand has gone.
  leave() {
    if (!this.half) return;
    this.half = false;
    this.refuse("");
    this.say("");
  }

  set(value) {
    const { blank, scale } = this.field;
    this.value = value;
    if (this.typing && document.activeElement === this.input) return;
    this.half = false;
    this.input.value = blank && !value ? "" : Number((value / scale).toPrecision(12));
  }
}

// A range over places 0, 1, 2 …; where there is only one, its words stand there alone.
class Slider extends Control {
  make() {
    this.output = element("output", this.box, { htmlFor: this.id });
    this.input = element("input", this.box, { id: this.id, type: "range", min: 0, step: 1 });
    this.input.addEventListener("input", () => this.changed(this.options[this.input.value][1]));
  }

  set(value, { options }) {
    this.options = options;
    const at = Math.max(0, options.findIndex(([, one]) => one === value)), [words] = options[at];
    this.input.max = options.length - 1;
    this.input.value = at;
    this.input.hidden = options.length < 2;
    this.input.setAttribute("aria-valuetext", words);
    this.output.textContent = words;
  }
}

// The data rate: a logarithmic slider with a number beside it.
class RateControl extends Numeric {
  make() {
    super.make();
    const { low, high, label } = this.field;
    [this.first, this.last] = [low, high].map((one) => Math.round(RATE_STEPS * Math.log10(one)));
    this.range = element("input", this.box,
      { type: "range", min: this.first, max: this.last, step: 1, ariaLabel: label });
    this.range.addEventListener("input", () => {
      this.changed(Number((10 ** (this.range.value / RATE_STEPS)).toPrecision(3)));
    });
  }

  get inputs() { return [this.input, this.range]; }

  set(value) {
    super.set(value);
    this.range.value = Math.round(RATE_STEPS * Math.log10(value));
    this.range.setAttribute("aria-valuetext", wordsOf.data_rate_bps(value));
  }
}

const KINDS = { choice: Choice, check: Check, number: Numeric, whole: Numeric };

// --- all of them ---------------------------------------------------------------------------------

// The controls of a desk: the main ones in `main`, the others in `more`.
class Controls {
  constructor(desk, main, more) {
    this.desk = desk;
    this.byName = new Map();
    const { tables } = desk;
    for (const field of tables.fields) {
      const parent = field.main ? main : more, change = (value) => desk.change({ [field.name]: value });
      if (field.name === "model") {
        const about = { name: "family", label: "Model", help: "Models of one kind", choices: [] };
        this.family = new Choice(main, about, (models) => desk.change({ model: models[0][1] }));
      }
      if (field.name === "data_rate_bps") this.makePresets(main);
      const Kind = field.name === "data_rate_bps" ? RateControl
        : ["model", "batch_size"].includes(field.name) ? Slider : KINDS[field.kind];
      this.byName.set(field.name, new Kind(parent, field, change));
    }
  }

  makePresets(parent) {
    const { presets } = this.desk.tables;
    const about = { name: "preset", label: "Link", help: "Kinds of links: each sets data rate and round trip", choices: [] };
    this.preset = new Choice(parent, about, (name) => {
      const found = presets.find(([one]) => one === name);
      if (found) this.desk.change({ data_rate_bps: found[1], round_trip_s: found[2] });
      else this.show();
    });
  }

  refuse(names, words) {
    const known = names.map((name) => this.byName.get(name)).filter(Boolean);
    [this.wrong] = [...known, this.byName.get("model")];
    this.wrong.refuse(words);
    this.wrongIn = this.desk.state;
    for (const list of [this.family, this.preset]) list.known = null; // back to what holds
    this.show();
  }

  show() {
    const { desk } = this, state = desk.wish ?? desk.state, { tables } = desk;
    if (this.wrong && this.wrongIn !== desk.state) { // what was refused is over
      this.wrong.known = null;
      this.wrong = null;
    }
    const [, models] = tables.families.find(([, some]) => some.some(([, one]) => one === state.model));
    const families = this.within(tables.families.map(([name, some]) => [name, some]),
      (some) => some.some(([, one]) => this.reachable({ model: one })));
    this.family.show(models, { options: families });
    const link = tables.presets.find(([, rate, trip]) =>
      rate === state.data_rate_bps && trip === state.round_trip_s);
    this.preset.show(link ? link[0] : OWN_LINK, { options: [...tables.presets.map(([name, rate, trip]) =>
      [`${name}: ${formatRate(rate)}, ${formatSeconds(trip)}`, name]), [OWN_LINK, OWN_LINK]] });
    const options = this.optionsOf(state, models), off = this.offOf(state);
    for (const [name, control] of this.byName) {
      control.show(state[name], { off: off[name], options: options[name] });
    }
  }

  optionsOf(state, models) {
    const { desk } = this, { study, tables } = desk, machines = tables.machines[state.model];
    const named = tables.baselines.filter((name, k) => k >= STATIC
      || study.candidates.some((one) => one.name === name));
    const splits = study.chosen.map((split) => study.candidates[split])
      .filter(({ name }) => !named.includes(name));
    return {
      model: this.within(models, (model) => this.reachable({ model })),
      edge: this.within(machines.map((one) => [one, one]), (edge) => this.reachable({ model: state.model, edge })),
      server: this.within([tables.assumed, ...machines].map((one) => [one, one]),
        (server) => this.reachable({ model: state.model, edge: state.edge, server })),
      baseline: [...named.map((one) => [one, one]), ...splits.map(({ shown, name }) => [shown, name])],
      batch_size: study.batchSizes.map((size, row) =>
        [study.interpolated[row] ? `${size} (interpolated)` : `${size}`, size]),
    };
  }

  // Whether a pair like this is here or can be asked for.
  reachable(some) {
    const { desk } = this;
    if (!desk.alone) return true;
    return [...desk.pairs.keys()].some((key) => {
      const [model, edge, server] = key.split("\n"), found = { model, edge, server };
      return Object.keys(some).every((name) => some[name] === found[name]);
    });
  }

  // A page offers what it holds; where the kernel has gone, the rest is out of use and says why.
  within(options, possible) {
    if (!this.desk.alone) return options;
    if (this.desk.page) return options.filter(([, value]) => possible(value));
    return options.map(([words, value]) => (possible(value) ? [words, value]
      : [`${words} – needs the kernel`, value, "needs the kernel, which is gone"]));
  }

  offOf(state) {
    const { desk: { tables, study } } = this, off = {};
    if (state.server !== tables.assumed) {
      off.server_speedup = "Only for an assumed server.";
    }
    if (state.objective !== "energy") {
      for (const name of POWER) off[name] = "Only where energy is the aim.";
    }
    if (!study.pair.blocks.length) off.min_depth = "This model has no blocks.";
    if (!study.candidates[0].isInput) off.input_encoding = "The input is never sent here.";
    if (study.batchSizes.length < 2) off.batch_size = "Both machines were measured at this size only.";
    return off;
  }
}
