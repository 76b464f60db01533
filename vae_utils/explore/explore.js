// The interactive pieces of the lessons, drawn in the reader's browser: what JupyterLab and an exported page call.
//
// A widget is a class made of (model, root): `model` gives the values that Python sent (model.get), `root` is an
// empty <div> in the page. Each has a file in page/, beside what they share. widgets.py and drawing.py hold the
// other half, explore.css says how they look, and scripts.py makes one text of all, for loader.js in JupyterLab
// and for an exported page alike. No library, no build step, no network.

import { DrawingPad } from "./page/drawing.js";
import { FramePlayer } from "./page/frames.js";
import { GapExplorer } from "./page/gap.js";
import { LatentExplorer } from "./page/latent.js";
import { make } from "./page/elements.js";

const WIDGETS = { latent: LatentExplorer, gap: GapExplorer, frames: FramePlayer, draw: DrawingPad };
// For screen readers.
const NAMES = {
  latent: "latent explorer", gap: "gap of the ELBO", frames: "stored pictures", draw: "a digit of your own",
};

// Fill `el`; returns a function that frees what was made.
function render({ model, el }) {
  const message = make("div", { class: "vae-message", role: "status" });
  const error = make("div", { class: "vae-error", role: "alert" });
  const tell = (text) => { message.textContent = text; };
  const guard = (act) => {                                 // whatever goes wrong, the reader sees it
    try {
      act();
      error.textContent = "";
    } catch (problem) {
      error.textContent = problem.message;
    }
  };
  const kind = model.get("kind");
  const names = { "data-kind": kind, "data-still": model.get("name"), "aria-label": NAMES[kind] };
  const root = make("div", { class: "vae-live", role: "group", ...names });
  el.append(root);
  let widget;
  guard(() => { widget = new WIDGETS[kind](model, root, { guard, tell }); });
  if (widget) guard(() => widget.show());
  root.append(message, error);
  // JupyterLab keeps its own arrow keys away from elements that say so.
  for (const element of root.querySelectorAll("button, input, select, summary, [tabindex]")) {
    element.setAttribute("data-lm-suppress-shortcuts", "true");
  }
  return () => {
    if (widget) widget.close();
    root.remove();
    root.replaceChildren();                                // JupyterLab keeps `el`: without this, all that hangs on it
  };
}

// What anywidget calls when a model begins, and by the function that it gets when Python has closed it. JupyterLab keeps
// such models too, so what is large has to go.
function initialize({ model }) {
  return () => { for (const name of ["script", "weights", "codes", "images", "digits", "frames"]) model.set(name, null); };
}

export default { initialize, render };
