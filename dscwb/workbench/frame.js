// In a page made of a notebook, the living page stands in the widget's place. An application that
// runs notebooks shows the widget itself.
const held = [...document.currentScript.parentElement.querySelectorAll(".dscwb-page")].at(-1);
const live = document.getElementById("jupyter-config-data") || window.google?.colab
  || location.protocol === "vscode-webview:";
const show = async () => {
  for (const view of document.querySelectorAll(
    'script[type="application/vnd.jupyter.widget-view+json"]')) {
    if (view.textContent.includes(held.dataset.model)) view.parentElement.hidden = true;
  }
  const frame = document.createElement("iframe");
  frame.title = "Workbench";
  frame.style.cssText = "width: 100%; height: 70rem; border: 0";
  frame.addEventListener("load", () => {
    const { body } = frame.contentDocument;
    const fit = () => { frame.style.height = `${body.scrollHeight + 8}px`; };
    new ResizeObserver(fit).observe(body);
  });
  frame.srcdoc = await unpackedText(held.textContent);
  held.after(frame);
};
if (!live) show();
