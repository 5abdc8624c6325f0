// What is shown, what was, and what may be: one state with its study, and the way to the next one.
// No words for people but those of refusals, no elements of the page.

const LINKED = ["data_rate_bps", "batch_size", "model"]; // fields that are traits of their own
const POWER = ["compute_w", "send_w", "wait_w"];
const LONGEST_PAST = 100; // states that undoing leads to
const STATIC = 2; // of the baselines, those after this one hold for a grid and are always there
const REST_MS = 150; // a hand that rests so long may be about to choose something
const RATES_BPS = [1e4, 1e10]; // as DATA_RATES_BPS in scenario.py

const keyOf = ({ model, edge, server }) => [model, edge, server].join("\n");

const changedOf = (one, other) => Object.keys(one).filter((name) => one[name] !== other[name]);

// Whether two states ask the same of a pair: all but the point, the baseline and power unused.
function sameQuestion(one, other) {
  const free = ["data_rate_bps", "batch_size", "baseline"];
  if (one.objective !== "energy") free.push(...POWER);
  return changedOf(one, other).every((name) => free.includes(name));
}

const pairsOf = new WeakMap(); // by its tables: the views of one widget share what it has sent

// What a page without a kernel has in place of the widget's model: the same four methods.
class Sheet {
  constructor(source) {
    this.values = { past: [], future: [], confidence: {}, compared: {}, pinned: "", ...source };
    this.handlers = {};
  }

  get(name) { return this.values[name]; }

  set(changes) {
    Object.assign(this.values, changes);
    for (const handler of this.handlers.change ?? []) handler();
  }

  on(name, handler) { (this.handlers[name] ??= new Set()).add(handler); }
  off(name, handler) { this.handlers[name]?.delete(handler); }
  save_changes() {}
}

// A state with its study and its place in it.
function placed(state, study) {
  const row = study.row(state.batch_size), rate = state.data_rate_bps;
  return { state, study, row, rate, best: study.bestAt(row, rate), baseline: study.baseline(state.baseline) };
}

class Desk {
  // `changed` is called when there is something new to show; `refused` with the names of the fields
  // that were asked for and the reason, where a wish cannot be shown.
  constructor(model, { changed, refused }) {
    Object.assign(this, { model, changed, refused, wish: null, moving: "", tried: new Set() });
    this.tables = model.get("tables");
    if (!pairsOf.has(this.tables)) pairsOf.set(this.tables, new Pairs(model.get("pairs")));
    this.pairs = pairsOf.get(this.tables);
    this.fields = new Map(this.tables.fields.map((field) => [field.name, field]));
    this.alone = model instanceof Sheet; // no kernel to ask for pairs
    this.page = this.alone;
    this.heard = {
      change: () => this.read(),
      // After the widget is made, a change of its comm says one thing only: its kernel has gone.
      comm_live_update: () => { this.alone = true; this.wish = null; this.changed(); },
      "msg:custom": (content, buffers) => this.told(content, buffers),
    };
    for (const name of LINKED) this.heard[`change:${name}`] = () => this.linked(name);
    for (const [name, handler] of Object.entries(this.heard)) model.on(name, handler);
    this.read();
  }

  close() {
    clearTimeout(this.resting);
    for (const [name, handler] of Object.entries(this.heard)) this.model.off(name, handler);
  }

  // --- what the kernel, another view or a linked widget has set ----------------------------------

  read() {
    const { model, wish, asked, history } = this;
    if (wish && this.pairs.has(keyOf(wish))) {
      this.wish = null;
      this.attempt(() => (history ? this.put(wish, this.studyOf(wish), history)
        : this.show(wish, asked)), asked);
    }
    const shown = model.get("shown");
    if (shown !== this.state) {
      if (this.pairs.has(keyOf(shown))) {
        if (!this.state || changedOf(this.state, shown).length) this.moving = "";
        this.take(shown, this.studyOf(shown));
      } else this.attempt(() => this.request(keyOf(shown)), {});
    }
    this.compare(model.get("compared"));
    this.changed();
  }

  // Another scenario to hold against this one; its pair may still have to come.
  compare(state) {
    if (state === this.other?.state) return;
    if (!state?.model || !this.pairs.has(keyOf(state))) this.other = null;
    else this.other = placed(state, this.studyOf(state));
  }

  linked(name) {
    const value = this.model.get(name);
    if (this.state && value !== this.model.get("shown")[name]) this.change({ [name]: value });
  }

  take(state, study) {
    if (!this.state || keyOf(this.state) !== keyOf(state)) this.tried.clear();
    Object.assign(this, placed(state, study));
    this.rest();
  }

  // Set a trait that is not of the state: what is held for comparison.
  hold(changes) {
    this.model.set(changes);
    this.model.save_changes();
  }

  studyOf(state) {
    const { state: old, study } = this;
    if (study && keyOf(old) === keyOf(state) && sameQuestion(old, state)) return study;
    return new Study(this.pairs.get(keyOf(state)), state, RATES_BPS);
  }

  // How sure every state is, if the kernel has said so of this very study.
  get confidence() {
    const found = this.model.get("confidence");
    return found?.state && sameQuestion(found.state, this.state)
      && keyOf(found.state) === keyOf(this.state) ? found : null;
  }

  // --- what a hand asks for ----------------------------------------------------------------------

  // Go on from what was last asked for; a pair that is not here comes a moment later.
  change(changes) {
    const from = this.wish ?? this.state, asked = this.wish ? { ...this.asked, ...changes } : changes;
    this.attempt(() => {
      const wish = this.withMachines({ ...from, ...changes }, changes);
      if (!this.pairs.has(keyOf(wish))) this.ask(wish, asked);
      else {
        this.wish = null;
        this.show(wish, asked);
      }
    }, changes);
  }

  attempt(action, asked) {
    try {
      action();
    } catch (error) {
      if (error.constructor !== Error) throw error; // ours to mend, not the hand's
      this.refused(Object.keys(asked), error.message);
    }
  }

  ask(wish, asked, history = null) {
    this.request(keyOf(wish));
    Object.assign(this, { wish, asked, history });
    this.changed();
  }

  request(key) {
    if (this.alone) throw new Error("These profiles are not in this page; they need the kernel.");
    if (this.pairs.asked.has(key)) return;
    this.pairs.asked.add(key);
    this.model.send({ wanted: key, held: this.pairs.held });
  }

  // A pair that this view or another one asked for, or why there is none.
  told({ pair: key, refused, ...data }, buffers) {
    if (!key) return;
    this.pairs.asked.delete(key);
    if (refused) {
      if (this.wish && key === keyOf(this.wish)) {
        this.wish = null;
        this.refused(Object.keys(this.asked), refused);
        this.changed();
      }
    } else {
      this.pairs.add(key, data, buffers);
      if (this.wish || this.model.get("shown") !== this.state) this.read();
      this.pairs.trim(keyOf(this.state));
    }
    if (!this.resting) this.fetchAhead();
  }

  // --- in advance --------------------------------------------------------------------------------

  // While the hand rests, pairs come that it may choose next: one at a time, so that whatever it
  // asks for waits for one machine at most.
  rest() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      this.resting = null;
      this.fetchAhead();
    }, REST_MS);
  }

  fetchAhead() {
    const { alone, wish, pairs, tried } = this;
    if (alone || wish || pairs.asked.size) return;
    const key = this.likely().find((one) => !pairs.has(one) && !tried.has(one));
    if (!key) return;
    tried.add(key);
    this.request(key);
  }

  // Keys of what may be chosen next, the likeliest first: what stands next to it in a list, then all
  // machines of this model.
  likely() {
    const { state, tables: { machines, families, assumed } } = this;
    const own = families.find(([, some]) => some.some(([, one]) => one === state.model))[1];
    const lists = [
      ["edge", machines[state.model]], ["server", [assumed, ...machines[state.model]]],
      ["model", own.map(([, model]) => model)],
      ["model", families.map(([, some]) => (some === own ? state.model : some[0][1]))],
    ];
    const wishes = lists.flatMap(([name, list]) => {
      const far = (one) => Math.abs(list.indexOf(one) - list.indexOf(state[name]));
      return list.filter((one) => name !== "model" || far(one) === 1)
        .map((one) => [far(one), { ...state, [name]: one }]);
    });
    wishes.sort(([one], [other]) => one - other);
    return wishes.map(([, wish]) => keyOf(this.withMachines(wish, {})));
  }

  // As in fitted.py: machines that this model has.
  withMachines(wish, asked) {
    const names = this.tables.machines[wish.model], { assumed } = this.tables;
    if (!names) throw new Error(`No profile '${wish.model}' here.`);
    if (!names.includes(wish.edge)) wish.edge = names[0];
    if (wish.server !== assumed && !names.includes(wish.server)) wish.server = assumed;
    if (!this.alone || this.pairs.has(keyOf(wish))) return wish;
    const likeness = (key) => {
      const [model, edge, server] = key.split("\n"), found = { model, edge, server };
      const points = Object.keys(found).map((name, k) =>
        (found[name] === wish[name] ? (name in asked ? 8 : 4 - k) : 0));
      return points.reduce((sum, one) => sum + one);
    };
    const nearest = [...this.pairs.keys()].sort((a, b) => likeness(b) - likeness(a))[0];
    const [model, edge, server] = nearest.split("\n");
    return { ...wish, model, edge, server };
  }

  show(wish, asked) {
    const pair = this.pairs.get(keyOf(wish));
    if (!("input_encoding" in asked)) wish.input_encoding = pair.fitting(wish.input_encoding);
    const study = this.studyOf(wish), sizes = study.batchSizes;
    const far = (size) => Math.abs(size - wish.batch_size);
    wish.batch_size = sizes.reduce((best, size) => (far(size) < far(best) ? size : best));
    const fixed = this.tables.baselines.slice(STATIC).includes(wish.baseline);
    if (!fixed && !study.candidates.some((one) => one.name === wish.baseline)) {
      if ("baseline" in asked) throw new Error(`${wish.baseline} is not a candidate here.`);
      [wish.baseline] = this.tables.baselines;
    }
    study.baseline(wish.baseline);
    const moved = this.state ? changedOf(this.state, wish) : [];
    if (moved.length) this.step(wish, study, moved);
  }

  // A number on its way, or the mark in a map, is one step to undo; choices are one each.
  step(wish, study, moved) {
    const point = moved.every((name) => name === "data_rate_bps" || name === "batch_size");
    const number = moved.length === 1 && this.fields.get(moved[0]).high !== null;
    const moving = point || number ? moved.sort().join() : "";
    const history = {};
    if (!moving || moving !== this.moving) {
      history.past = [...this.model.get("past"), this.state].slice(-LONGEST_PAST);
      history.future = [];
    }
    this.moving = moving;
    this.put(wish, study, history);
  }

  put(state, study, history) {
    this.take(state, study);
    const traits = Object.fromEntries(LINKED.map((name) => [name, state[name]]));
    this.model.set({ shown: state, ...traits, ...history });
    this.model.save_changes();
  }

  undo() { this.back("past", "future"); }
  redo() { this.back("future", "past"); }
  reset() { this.change({ ...this.tables.start }); }

  back(from, to) {
    const states = [...this.model.get(from)], state = states.pop();
    if (!state) return;
    const history = { [from]: states, [to]: [...this.model.get(to), this.state] };
    this.moving = "";
    if (this.pairs.has(keyOf(state))) this.put(state, this.studyOf(state), history);
    else this.attempt(() => this.ask(state, state, history), state);
  }
}
