// Draws the figure before this script, once the page is read: plotly.js stands somewhere on it.
(() => {
  const data = document.currentScript.parentElement.querySelectorAll(".dscwb-figure-data");
  const held = [...data].at(-1), place = held.previousElementSibling;
  const unpacked = (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(plain).text();
  };
  const library = async () => {
    const script = document.querySelector(".dscwb-plotly");
    if (!script) {
      throw Error("plotly.js is missing here: run all cells of the notebook, then export it again");
    }
    new Function(await unpacked(script.textContent))();
    return window.Plotly;
  };
  const draw = async () => {
    try {
      window.dscwbPlotly ??= library();
      const [plotly, figure] = [await window.dscwbPlotly, JSON.parse(await unpacked(held.textContent))];
      place.replaceChildren();
      await plotly.newPlot(place, figure.data, figure.layout, figure.config);
    } catch (error) {
      place.append(`${error.message}.`);
    }
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", draw);
  else draw();
})();
