// Draws the figure before this script, once the page is read: plotly.js stands somewhere on it.
const held = [...document.currentScript.parentElement.querySelectorAll(".dscwb-figure-data")].at(-1);
const place = held.previousElementSibling;
const library = async () => {
  const script = document.querySelector(".dscwb-plotly");
  if (!script) {
    throw Error("plotly.js is missing here: run all cells of the notebook, then export it again");
  }
  new Function(await unpackedText(script.textContent))();
  return window.Plotly;
};
const draw = async () => {
  try {
    window.dscwbPlotly ??= library();
    const [plotly, text] = [await window.dscwbPlotly, await unpackedText(held.textContent)];
    const { data, layout, config } = JSON.parse(text);
    place.replaceChildren();
    await plotly.newPlot(place, data, layout, config);
  } catch (error) {
    place.append(`${error.message}.`);
  }
};
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", draw);
else draw();
