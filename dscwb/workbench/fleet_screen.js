// The page of a fleet: sliders of deadline and share, strategies to choose from, the answer, two plots.

const FLEET_VIEWS = [latencyView, shareView];
const RESTED_MS = 500; // a hand that rests so long wants to hear the answer

class FleetScreen {
  constructor(source, parent) {
    const study = new FleetRuns(source);
    this.state = { study, stop: AS_RUN, share: 900, measure: "mean", chosen: study.start, lit: null };
    this.root = element("div", parent, { className: "dscwb" });
    this.root.dscwb = this; // for those who want the numbers behind the picture
    this.build(study);
    this.draws = 0;
    new ResizeObserver(() => this.schedule()).observe(this.root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.schedule());
  }

  get ctx() { return { ...this.state, theme: this.theme, best: this.state.chosen, pinned: this.state.chosen }; }

  change(changes) {
    Object.assign(this.state, changes);
    this.schedule();
  }

  build(study) {
    const { root } = this, part = (tag, parent, className, more = {}) => element(tag, parent, { className, ...more });
    const answer = part("div", root, "answer");
    this.first = element("strong", part("p", answer, "says"));
    this.rest = part("p", answer, "about");
    this.spoken = part("div", root, "spoken");
    this.spoken.setAttribute("role", "status");
    const desk = part("div", root, "desk"), form = part("form", desk, "controls", { ariaLabel: "What is asked" });
    form.addEventListener("submit", (event) => event.preventDefault());
    const main = part("div", form, "main"), set = (name) => (value) => this.change({ [name]: value });
    const about = (name, label, help, choices = []) => ({ name, label, help, choices });
    this.controls = {
      stop: new Slider(main, about("stop", "Deadline", "From a request's coming to its answer"), set("stop")),
      share: new Slider(main, about("share", "Share", "Of all requests, to be answered within the deadline"), set("share")),
      measure: new Choice(main, about("measure", "Latency plot", "What the plot of latency shows",
        [["the mean", "mean"], ["for the share", "share"]]), set("measure")),
    };
    this.options = {
      stop: study.stops.map((stop) => [formatSeconds(study.secondsOf(stop)), stop]),
      share: SHARES.map((share) => [percentOf(share), share]),
    };
    element("div", form, { className: "field", textContent: "Strategy", id: "dscwb-strategy" });
    this.chips = part("div", form, "key");
    this.chips.setAttribute("role", "group");
    this.chips.setAttribute("aria-labelledby", "dscwb-strategy");
    const of = ({ target }) => Number(target.closest("[data-split]")?.dataset.split ?? NaN);
    this.chips.addEventListener("click", (event) => of(event) >= 0 && this.change({ chosen: of(event) }));
    this.chips.addEventListener("pointerover", (event) => this.light(of(event)));
    this.chips.addEventListener("pointerleave", () => this.light(NaN));
    const views = part("div", desk, "views");
    this.boxes = FLEET_VIEWS.map((view) => new ViewBox(views, view));
    this.tip = part("div", root, "tip", { hidden: true });
    this.tip.setAttribute("role", "tooltip");
    for (const box of this.boxes) {
      box.canvas.addEventListener("pointermove", (event) => this.hover(box, event));
      box.canvas.addEventListener("pointerleave", (event) => this.hover(box, event));
      box.canvas.addEventListener("click", () => this.state.lit !== null && this.change({ chosen: this.state.lit }));
    }
    this.fold = part("details", root, "fold");
    element("summary", this.fold, { textContent: "All numbers as a table" });
    this.table = part("table", this.fold, "comparison");
    this.fold.addEventListener("toggle", () => this.schedule());
    const files = part("div", root, "files");
    element("span", files, { textContent: "Download:" });
    for (const [kind, title, make, type] of [
      ["PNG", "Both plots as a picture", () => pngOf(this.sheet()), "image/png"],
      ["SVG", "Both plots as a drawing", () => svgOf(this.sheet()), "image/svg+xml"],
      ["CSV", "All numbers as a table", () => csvText(this.rows()), "text/csv"],
    ]) {
      element("button", files, { type: "button", textContent: kind, title: `${title}, to download` })
        .addEventListener("click", async () =>
          download(fileName(this.state.study.model, kind.toLowerCase()), [await make()], type));
    }
  }

  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.paint();
    });
  }

  paint() {
    this.theme = themeOf(this.root);
    const { ctx } = this, says = fleetAnswer(ctx);
    paintBoxes(this.boxes, ctx);
    for (const [name, control] of Object.entries(this.controls)) {
      control.show(ctx[name], { options: this.options[name] });
    }
    fillKey(this.chips, { key: strategyKey }, ctx);
    setText(this.first, says);
    setText(this.rest, strategiesAnswer(ctx));
    for (const { canvas, title, sub } of this.boxes) {
      canvas.setAttribute("aria-label", `${title.textContent}: ${sub.textContent}. ${says}`);
    }
    if (this.fold.open) this.fillTable();
    clearTimeout(this.resting);
    this.resting = setTimeout(() => setText(this.spoken, says), RESTED_MS);
    this.draws += 1;
    this.root.dataset.draws = this.draws;
  }

  light(split) {
    const lit = isNaN(split) ? null : split;
    if (lit !== this.state.lit) this.change({ lit });
  }

  hover(box, event) {
    const { ctx } = this, place = event.type === "pointermove" ? box.placeOf(ctx, event) : null;
    this.light(place?.split ?? NaN);
    this.tip.hidden = !place;
    if (!place) return;
    this.tip.textContent = fleetTip(ctx, place).join("\n");
    placeTip(this.tip, this.root, event);
  }

  // --- what leaves the page ----------------------------------------------------------------------

  sheet() {
    const { ctx } = this, { about } = ctx.study;
    return { ctx, views: FLEET_VIEWS, above: [fleetAnswer(ctx), strategiesAnswer(ctx)], below: [about] };
  }

  rows() {
    const { study, share, stop } = this.state, seconds = study.secondsOf(stop);
    return [["strategy", "devices", "requests", "mean_s", "share", "share_answered_within_s", "deadline_s", "share_within_deadline"],
      ...study.strategies.flatMap(({ words, cells }) => cells.map((cell, k) => [words, study.numbers[k], cell.requests,
        cell.mean_s, share / 1000, study.quantile(cell, share), seconds, study.within(cell, stop) / cell.requests]))];
  }

  fillTable() {
    const { ctx } = this, [, ...rows] = this.rows(), row = (parent, tag, cells) => element("tr", parent, {},
      ...cells.map((cell) => element(tag, null, { textContent: cell, ...(tag === "th" ? { scope: "col" } : {}) })));
    this.table.replaceChildren();
    row(element("thead", this.table), "th", ["Strategy", "Devices", "Requests", "Mean latency",
      `${percentOf(ctx.share)} answered within`, `Answered within ${deadlineOf(ctx)}`]);
    const body = element("tbody", this.table);
    for (const [words, number, requests, mean, , seconds, , within] of rows) {
      row(body, "td", [words, number, requests, formatSeconds(mean), formatSeconds(seconds), formatPercent(within)]);
    }
  }
}
