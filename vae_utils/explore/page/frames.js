// Lessons 02 and 03: pictures that were stored, one for each position of a slider.

import { make, makePlayer, makeSlider } from "./elements.js";

export class FramePlayer {
  constructor(model, root, { guard }) {
    const { labels, name, start, width, height } = model.get("spec");
    const canvas = make("canvas", { class: "vae-frame", width, height, role: "img" });
    const context = canvas.getContext("2d");
    const readout = make("div", { class: "vae-readout" });
    const last = labels.length - 1;
    let shown = start;
    const show = (k) => {
      shown = k;
      if (this.failed) throw this.failed;
      if (this.frames) context.drawImage(this.frames[k], 0, 0);
      canvas.dataset.frame = k;
      canvas.setAttribute("aria-label", `${name} ${labels[k]}`);
      slider.show(k);
      readout.textContent = `frame ${k + 1} of ${last + 1}`;
    };
    const slider = makeSlider(name, { min: 0, max: last, step: 1, index: 0, describe: (k) => labels[k] }, (k) => {
      player.stop();
      guard(() => show(k));
    });
    const player = makePlayer(Math.max(2, 0.35 * last), (share) => guard(() => show(Math.round(share * last))));
    this.stop = player.stop;
    root.append(canvas, make("div", { class: "vae-line" }, slider.element, player.button, readout));
    this.show = () => show(shown);
    // Decoded once: from then on a frame costs a copy.
    Promise.all(model.get("frames").map((view) => createImageBitmap(new Blob([view], { type: "image/png" }))))
      .then((frames) => guard(() => { this.frames = frames; show(shown); }))
      .catch((error) => { this.failed = error; guard(() => show(shown)); });
  }

  close() {
    this.stop();
    if (this.frames) for (const frame of this.frames) frame.close();
  }
}
