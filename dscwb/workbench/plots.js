// What all views share: axes with round ticks, the canvas that a view is painted on, and its key.
//
// A view says what it shows of `ctx`: {study, state, row, rate, best, baseline, pinned, lit,
// confidence, theme}. `best`, `baseline`, `pinned` and `lit` are places in study.candidates, the
// last two null where there is none. A view has
//   name, margins [left, right, top, foot] in pixels
//   title(ctx)        heading and sub-heading
//   key(ctx)          [{mark(pen, x, y), words, split?}]: what `fillKey` and `drawKey` show
//   turns(ctx)        what the still layer hangs on, beside study, theme, confidence and size
//   still(pen, ctx)   draws that layer; `mark(pen, ctx)` what moves, over it
//   at(ctx, plot, x, y)  the place under a hand: {row, rate, split, …}
//   tip(ctx, place)   the lines of the label under a hand
//   below             pixels under the plot that a hand may point into as well
//   picks             what it is called, where keys go from split to split
//   steers            whether pressing in it sets row and rate of that place

const LABEL_GAP = 10, ROW_PX = 15; // between two labels side by side, from line to line
const MANTISSAS = [[1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9], [1, 1.5, 2, 3, 4, 5, 7],
  [1, 2, 5], [1, 3], [1]];
const MAX_TICKS = 8;
const IMPOSSIBLE = "rgba(128, 128, 128, 0.9)"; // of hatches

// --- axes ----------------------------------------------------------------------------------------

// A logarithmic axis where `low` is above zero, else a linear one from zero.
class Axis {
  constructor(low, high, labelOf) { Object.assign(this, { low, high, labelOf }); }

  share(value) {
    const { low, high } = this;
    return low ? Math.log(value / low) / Math.log(high / low) : value / high;
  }

  value(share) {
    return this.low ? this.low * (this.high / this.low) ** share : this.high * share;
  }

  // Round numbers in every density, densest first.
  * candidates() {
    if (!this.low) {
      const decade = 10 ** Math.floor(Math.log10(this.high) - 1);
      for (const step of [1, 2, 5, 10, 20, 50, 100].map((one) => one * decade)) {
        const length = Math.floor(this.high / step * (1 + 1e-9)) + 1;
        yield Array.from({ length }, (_, k) => k * step);
      }
      return;
    }
    const first = Math.floor(Math.log10(this.low)), last = Math.ceil(Math.log10(this.high));
    const decades = Array.from({ length: last - first + 1 }, (_, k) => Number(`1e${first + k}`));
    const inside = (value) => value >= this.low * (1 - 1e-9) && value <= this.high * (1 + 1e-9);
    for (const mantissas of MANTISSAS) {
      yield decades.flatMap((ten) => mantissas.map((one) => one * ten)).filter(inside);
    }
    for (let step = 2; step <= decades.length; step += 1) {
      yield decades.filter(inside).filter((_, k) => k % step === 0);
    }
  }

  // The densest ticks whose labels have room: each takes `sizeOf(label)` of these pixels.
  ticks(pixels, sizeOf) {
    let chosen = [];
    for (const values of this.candidates()) {
      chosen = values.map((value) => {
        const label = this.labelOf(value);
        return { share: this.share(value), label, half: (sizeOf(label) + LABEL_GAP) / 2 };
      });
      const fits = chosen.every(({ share, half }, k) =>
        !k || (share - chosen[k - 1].share) * pixels >= half + chosen[k - 1].half);
      if (fits && chosen.length <= MAX_TICKS) break;
    }
    return chosen;
  }
}

const rateLabel = (rate) => prefixed(rate, "", ["G", "M", "k", ""]).trim();
const rateAxis = ({ low, high }) => new Axis(low, high, rateLabel);

// What most views say under a hand.
function splitTip({ study, baseline, confidence }, { row, rate, split }) {
  const sure = sureOf(confidence, study.batchSizes[row], rate);
  return tipWords(study, row, rate, split, { sure, over: baseline });
}

// Ticks, labels and title under a plot.
function drawFootAxis(pen, axis, title, grid = false) {
  for (const { share, label } of axis.ticks(pen.w, (words) => pen.widthOf(words))) {
    const x = pen.x + share * pen.w;
    if (grid) pen.down(x, pen.theme.grid);
    pen.line([[x, pen.foot], [x, pen.foot + 4]], pen.theme.quiet);
    pen.textWithin(label, x, pen.foot + 12);
  }
  drawFootTitle(pen, title, 27);
}

function drawFootTitle(pen, title, below) {
  pen.textWithin(title, pen.x + pen.w / 2, pen.foot + below, { colour: pen.theme.quiet });
}

// Ticks with lines across, labels at the left, and the title above them: upright words read best.
function drawSideAxis(pen, axis, title) {
  for (const { share, label } of axis.ticks(pen.h, () => TEXT_PX - 4)) {
    const y = pen.foot - share * pen.h;
    pen.across(y, pen.theme.grid);
    pen.text(label, pen.x - 6, Math.min(pen.foot - 4, y), { align: "right" });
  }
  drawSideTitle(pen, title);
}

function drawSideTitle(pen, title) {
  pen.text(title, 0, 8, { align: "left", colour: pen.theme.quiet });
}

// Whole numbers under places from left to right, at round steps; the last place is all there is.
function drawDepths(pen, places, depths, below, title) {
  const last = places.length - 1, room = pen.widthOf("all") / 2 + LABEL_GAP / 2;
  const firsts = depths.map((_, k) => k).filter((k) => k < last && depths[k] !== depths[k - 1]);
  const wide = pen.widthOf(`${depths[last - 1] ?? 0}`) + LABEL_GAP;
  const shown = [1, 2, 5, 10, 20, 50, 100, 200].map((step) =>
    firsts.filter((k) => depths[k] % step === 0 && places[k] + wide / 2 <= places[last] - room))
    .find((some) => some.every((k, i) => !i || places[k] - places[some[i - 1]] >= wide)) ?? [];
  for (const k of shown) pen.textWithin(`${depths[k]}`, places[k], pen.foot + below);
  pen.textWithin("all", places[last], pen.foot + below);
  drawFootTitle(pen, title, below + ROW_PX);
}

// The least of 1, 1.5, 2, 3, 5, 7 times a power of ten that is not below a value: an axis that
// ends there moves rarely while a hand slides.
function roundUp(value) {
  const decade = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 5, 7, 10].map((one) => one * decade).find((one) => one >= value * 0.999999);
}

// --- a view on a canvas --------------------------------------------------------------------------

function frameOf(view, width, height, dpr) {
  const [left, right, top, foot] = view.margins;
  return { x: left, y: top, w: width - left - right, h: height - top - foot, width, height, dpr };
}

// What only a new study, size or theme changes is drawn once, aside; over it what moves.
class Panel {
  constructor(view, canvas) {
    Object.assign(this, { view, canvas, kept: document.createElement("canvas"), drawnFor: [] });
  }

  size(width, height, dpr) {
    this.plot = frameOf(this.view, width, height, dpr);
    for (const one of [this.canvas, this.kept]) {
      one.width = Math.round(width * dpr);
      one.height = Math.round(height * dpr);
    }
    this.drawnFor = [];
  }

  paint(ctx) {
    const { view, plot } = this, { study, theme, confidence } = ctx;
    const needed = [study, theme.text, theme.paper, confidence, ...view.turns(ctx)];
    if (needed.some((one, k) => one !== this.drawnFor[k])) {
      const still = new Pen(this.kept.getContext("2d"), plot, theme).clear();
      view.still(still, ctx);
      Object.assign(this, { drawnFor: needed, stillWords: still.words });
    }
    const pen = new Pen(this.canvas.getContext("2d"), plot, theme).clear();
    pen.brush.drawImage(this.kept, 0, 0, plot.width, plot.height);
    view.mark(pen, ctx);
    this.words = [...this.stillWords, ...pen.words];
  }

  // What lies at these pixels of the canvas; null outside of the plot.
  at(ctx, x, y) {
    const { plot, view } = this, foot = plot.y + plot.h + (view.below ?? 0);
    const inside = x >= plot.x && x <= plot.x + plot.w && y >= plot.y && y <= foot;
    return inside ? view.at(ctx, plot, x, y) : null;
  }
}

// --- keys ----------------------------------------------------------------------------------------

const MARK_PX = 14;

const swatch = (colour) => (pen, x, y) => {
  pen.box(x + 1, y + 1, 12, 12, colour);
  pen.border(x + 1, y + 1, 12, 12, pen.theme.quiet);
};
const patterned = (patternOf) => (pen, x, y) => swatch(patternOf(pen))(pen, x, y);
const stroke = (colour, width, dash) => (pen, x, y) =>
  pen.line([[x, y + 7], [x + MARK_PX, y + 7]], colour ?? pen.theme.text, width, dash);

// Show a view's key in an element. Splits are buttons, with their place in `data-split`, so that a
// hand can light them and pin them; what stays the same stays the same element.
function fillKey(container, view, ctx) {
  const entries = view.key(ctx), { theme } = ctx;
  const looks = entries.map(({ words, split, look }) => [words, split, look]);
  const says = JSON.stringify([theme.text, theme.paper, looks]);
  if (container.dataset.says !== says) {
    container.dataset.says = says;
    container.replaceChildren(...entries.map((entry) => keyEntry(entry, theme)));
  }
  for (const chip of container.querySelectorAll("[data-split]")) {
    const split = Number(chip.dataset.split);
    chip.classList.toggle("best", split === ctx.best);
    chip.classList.toggle("lit", split === ctx.lit);
    chip.setAttribute("aria-pressed", split === ctx.pinned);
  }
}

function keyEntry({ mark, words, split, wide = MARK_PX }, theme) {
  const item = document.createElement(split === undefined ? "span" : "button");
  const canvas = document.createElement("canvas"), dpr = window.devicePixelRatio || 1;
  item.className = split === undefined ? "entry" : "entry chip";
  if (split !== undefined) {
    item.type = "button";
    item.dataset.split = split;
  }
  Object.assign(canvas, { width: wide * dpr, height: MARK_PX * dpr });
  canvas.style.cssText = `width: ${wide}px; height: ${MARK_PX}px`;
  canvas.setAttribute("aria-hidden", "true");
  const frame = { x: 0, y: 0, w: wide, h: MARK_PX, width: wide, height: MARK_PX, dpr };
  mark(new Pen(canvas.getContext("2d"), frame, theme).clear(), 0, 0);
  item.append(canvas, words);
  return item;
}

// The same on a picture: in lines of this width, from (x, y) on; gives the height that it takes.
function drawKey(pen, view, ctx, x, y, width) {
  let left = x, top = y;
  for (const { mark, words, wide = MARK_PX } of view.key(ctx)) {
    const whole = wide + 5 + pen.widthOf(words);
    if (left > x && left + whole > x + width) [left, top] = [x, top + ROW_PX + 3];
    mark(pen, left, top);
    pen.text(words, left + wide + 5, top + MARK_PX / 2, { align: "left" });
    left += whole + 16;
  }
  return top - y + ROW_PX + 3;
}

// --- a view on the screen ------------------------------------------------------------------------

const MAP_KEYS = "Arrow keys change data rate and batch size, Home and End go to the ends, Enter pins "
  + "the best split.";
const SPLIT_KEYS = "Left and right go from split to split, Enter pins one.";

// One view with its headings and its key.
class ViewBox {
  constructor(parent, view) {
    this.view = view;
    this.section = element("section", parent, { className: `view ${view.name}` });
    this.title = element("h2", this.section);
    this.sub = element("div", this.section, { className: "sub" });
    this.canvas = element("canvas", this.section, { className: view.name });
    this.key = element("div", this.section, { className: "key" });
    this.panel = new Panel(view, this.canvas);
    this.canvas.setAttribute("role", view.keyed || view.picks ? "application" : "img");
    if (view.keyed || view.picks) {
      this.canvas.tabIndex = 0;
      this.canvas.setAttribute("aria-roledescription", view.keyed ? "map" : view.picks);
      this.canvas.setAttribute("aria-description", view.keyed ? MAP_KEYS : SPLIT_KEYS);
    }
  }

  room() { return [this.canvas.clientWidth, this.canvas.clientHeight, window.devicePixelRatio || 1]; }

  draw(ctx, room) {
    if (this.sized !== `${room}`) this.panel.size(...room);
    this.sized = `${room}`;
    this.panel.paint(ctx);
  }

  tell(ctx) {
    const [title, sub] = this.view.title(ctx);
    setText(this.title, title);
    setText(this.sub, sub);
    fillKey(this.key, this.view, ctx);
  }

  placeOf(ctx, event) {
    const box = this.canvas.getBoundingClientRect();
    return this.panel.at(ctx, event.clientX - box.left, event.clientY - box.top);
  }
}

// Sizes are asked for before all canvases are drawn, and these before a word is written: each size or
// font that is asked for after a change lays the whole page out anew.
function paintBoxes(boxes, ctx) {
  const rooms = boxes.map((box) => box.room());
  boxes.forEach((box, k) => box.draw(ctx, rooms[k]));
  for (const box of boxes) box.tell(ctx);
}

function setText(element, words) {
  if (element.textContent !== words) element.textContent = element.title = words;
}

// Beside the hand, within the screen.
function placeTip(label, screen, event) {
  const around = screen.getBoundingClientRect(), tip = label.getBoundingClientRect();
  const x = event.clientX - around.left, y = event.clientY - around.top;
  const left = x + 14 + tip.width > around.width ? x - 14 - tip.width : x + 14;
  label.style.left = `${Math.max(0, left)}px`;
  label.style.top = `${Math.max(0, Math.min(y + 14, around.height - tip.height))}px`;
}
