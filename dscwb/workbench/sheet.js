// What leaves a screen as a file: its views as a picture with words above and under them, and tables.

const SHEET_PX = 1280, GAP_PX = 24, VIEW_PX = 300, LINE_PX = 17, TITLE_PX = 20; // a page, landscape
const SHEET_SCALE = 2; // of a PNG: pixels of the file for each of the page

function download(name, parts, type) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  element("a", null, { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // a browser may ask first where to put it
}

function fileName(subject, ending) {
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  return `dscwb-${subject.replace(/[^\w.-]+/g, "-")}-${time}.${ending}`;
}

// On paper: the drawing that the SVG button gives, and under it what it is.
function fillPaper(paper, sheet) {
  const drawing = new DOMParser().parseFromString(svgOf(sheet), "image/svg+xml").documentElement;
  const caption = document.createElement("figcaption");
  caption.textContent = `${document.title}. ${document.querySelector("footer").textContent}`;
  paper.replaceChildren(document.importNode(drawing, true), caption);
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
  const lines = wrapped(pen, words, SHEET_PX - 2 * GAP_PX, weight);
  lines.forEach((line, k) => pen.text(line, GAP_PX, y + (k + 0.5) * LINE_PX, { align: "left", weight }));
  return y + lines.length * LINE_PX;
}

// Draw a sheet with this brush: words above its views and under them; gives the height that it took.
function drawSheet(brush, { ctx, views, above, below }, dpr) {
  const pen = new Pen(brush, { x: 0, y: 0, w: SHEET_PX, h: 0, width: SHEET_PX, height: 0, dpr }, ctx.theme);
  const wide = (SHEET_PX - 3 * GAP_PX) / 2;
  pen.box(0, 0, SHEET_PX, brush.height ?? 0, ctx.theme.paper);
  let y = GAP_PX / 2;
  above.filter(Boolean).forEach((line, k) => { y = writeLines(pen, line, y, k ? "" : BOLD); });
  for (let k = 0; k < views.length; k += 2) {
    const feet = views.slice(k, k + 2).map((view, column) =>
      drawView(brush, view, ctx, GAP_PX + column * (wide + GAP_PX), y + GAP_PX, wide, dpr));
    y = Math.max(...feet);
  }
  y += GAP_PX / 2;
  for (const line of below) y = writeLines(pen, line, y);
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

const onPaper = (sheet) => ({ ...sheet, ctx: { ...sheet.ctx, lit: null, theme: ON_PAPER } });
const heightOf = (sheet) => Math.ceil(drawSheet(new SvgBrush(SHEET_PX, 0), sheet, 1));

function svgOf(sheet) {
  const drawn = onPaper(sheet), brush = new SvgBrush(SHEET_PX, heightOf(drawn));
  drawSheet(brush, drawn, 1);
  return brush.text();
}

function pngOf(sheet) {
  const drawn = onPaper(sheet), height = heightOf(drawn);
  const canvas = element("canvas", null,
    { width: SHEET_PX * SHEET_SCALE, height: height * SHEET_SCALE });
  const brush = canvas.getContext("2d");
  brush.scale(SHEET_SCALE, SHEET_SCALE);
  brush.fillStyle = ON_PAPER.paper;
  brush.fillRect(0, 0, SHEET_PX, height);
  drawSheet(brush, drawn, SHEET_SCALE);
  return new Promise((done) => canvas.toBlob(done));
}

// --- tables --------------------------------------------------------------------------------------

const quotedCell = (value) => (/[",\n]/.test(value) ? `"${`${value}`.replaceAll('"', '""')}"` : value);
const csvText = (rows) => rows.map((row) => row.map(quotedCell).join(",")).join("\n") + "\n";
