// A pen for HTML canvas: lines, boxes, words and patterns in the colours of the page's theme.

const TICK = 11, SMALL = 9.5, TITLE = 12; // font sizes in pixels

function themeOf(element) {
  const style = getComputedStyle(element);
  const read = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  return {
    font: read("--jp-ui-font-family", "system-ui, sans-serif"),
    text: read("--jp-ui-font-color1", "#222"),
    quiet: read("--jp-ui-font-color2", "#777"),
    grid: read("--jp-border-color2", "#ddd"),
    paper: read("--jp-layout-color0", "#fff"),
  };
}

// Draws on one canvas, cleared; x, y, w, h is the plot within its axes.
class Pen {
  constructor(canvas, plot, theme) {
    Object.assign(this, plot, { ctx: canvas.getContext("2d"), theme });
    this.ctx.setTransform(this.dpr, 0, 0, this.dpr, 0, 0);
    this.ctx.clearRect(0, 0, canvas.width, canvas.height);
  }

  snap = (value) => Math.round(value * this.dpr) / this.dpr; // to a whole pixel of the screen

  get right() { return this.x + this.w; }
  get foot() { return this.y + this.h; }

  font(size, weight = "") { this.ctx.font = `${weight} ${size}px ${this.theme.font}`; }

  widthOf(words, size = TICK, weight = "") {
    this.font(size, weight);
    return this.ctx.measureText(words).width;
  }

  text(words, x, y, { size = TICK, align = "center", colour = this.theme.text, weight = "" } = {}) {
    this.font(size, weight);
    Object.assign(this.ctx, { fillStyle: colour, textAlign: align, textBaseline: "middle" });
    this.ctx.fillText(words, x, y);
  }

  line(points, colour, width = 1, dash = []) {
    this.ctx.beginPath();
    points.forEach(([x, y]) => this.ctx.lineTo(x, y));
    this.ctx.setLineDash(dash);
    Object.assign(this.ctx, { strokeStyle: colour, lineWidth: width });
    this.ctx.stroke();
    this.ctx.setLineDash([]);
  }

  across(y, colour, width, dash) { this.line([[this.x, y], [this.right, y]], colour, width, dash); }
  down(x, colour, width, dash) { this.line([[x, this.y], [x, this.foot]], colour, width, dash); }

  box(x, y, w, h, colour) {
    this.ctx.fillStyle = colour;
    this.ctx.fillRect(x, y, w, h);
  }

  frame(x = this.x, w = this.w) {
    Object.assign(this.ctx, { strokeStyle: this.theme.quiet, lineWidth: 1 });
    this.ctx.strokeRect(x + 0.5, this.y + 0.5, w - 1, this.h - 1);
  }

  shape(points, fill, rim, width) {
    this.ctx.beginPath();
    points.forEach(([x, y]) => this.ctx.lineTo(x, y));
    this.ctx.closePath();
    this.paint(fill, rim, width);
  }

  circle(x, y, radius, fill, rim, width) {
    this.ctx.beginPath();
    this.ctx.arc(x, y, radius, 0, 2 * Math.PI);
    this.paint(fill, rim, width);
  }

  paint(fill, rim, width = 1) {
    Object.assign(this.ctx, { fillStyle: fill, strokeStyle: rim, lineWidth: width });
    if (fill) this.ctx.fill();
    if (rim) this.ctx.stroke();
  }

  disc(x, y) { this.circle(x, y, 6, "white", "black", 2.5); } // stands out on every colour

  inside(draw) {
    this.ctx.save();
    this.ctx.beginPath();
    this.ctx.rect(this.x, this.y, this.w, this.h);
    this.ctx.clip();
    draw();
    this.ctx.restore();
  }

  hatch(colours, step = 7) {
    return this.tiled(step, (ctx, side) => colours.forEach((colour, k) => {
      ctx.fillStyle = colour;
      for (let y = 0; y < side; y += 1) {
        ctx.fillRect((side - y + k * 1.4 * this.dpr) % side, y, this.dpr, 1);
      }
    }));
  }

  dots(colours) {
    return this.tiled(4, (ctx, side) => colours.forEach((colour, k) => {
      ctx.fillStyle = colour;
      ctx.fillRect(k * side / 2, k * side / 2, this.dpr, this.dpr);
    }));
  }

  tiled(step, draw) {
    const tile = document.createElement("canvas");
    const side = tile.width = tile.height = Math.round(step * this.dpr);
    draw(tile.getContext("2d"), side);
    const pattern = this.ctx.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix([1 / this.dpr, 0, 0, 1 / this.dpr, 0, 0]));
    return pattern;
  }
}
