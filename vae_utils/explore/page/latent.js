// Lessons 02 to 04 and 06: the latent explorer.

import { legend } from "./axes.js";
import { between, closest, gaussianDraw, logPrior, rows, squares } from "./gaussians.js";
import { Picture, ink, make, makeButton, makePlayer, makeSlider, number, saveSoon, subscript } from "./elements.js";
import { MAP_SIDE, MOST_FOR_A_MAP, Plane } from "./plane.js";
import { makeProgram, readHalf } from "./program.js";

export class LatentExplorer {
  constructor(model, root, { guard, tell }) {
    Object.assign(this, model.get("spec"));                // names, latent_size, extent, labels, ...
    Object.assign(this, { model, guard, tell });
    this.z = this.start = [...model.get("z")];
    this.codes = model.get("codes").map((view) => rows(view, this.latent_size));
    this.images = model.get("images");                     // bytes, all pixels of each test image
    this.c = model.get("c");                               // the class, if the models are conditional
    this.decoders = model.get("weights").map((view, m) => {
      const run = makeProgram(this.steps[m], readHalf(view));
      return this.conditional ? (z) => run([...z, ...this.class_names.map((_, k) => Number(k === this.c))]) : run;
    });
    this.chosen = null;                                    // the number of the test image that is shown
    this.dots = this.labels.length > 0 && this.latent_size === 2;
    this.mappable = this.decoders.length > 0 && this.products < MOST_FOR_A_MAP / MAP_SIDE ** 2;
    this.map = !this.dots && this.mappable;
    this.build(root);
    this.listen();
  }

  build(root) {
    const single = this.names.length === 1, flat = this.latent_size === 2;
    this.ofTheFirst = single ? "" : ` of ${this.names[0]}`;        // whose codes paths and neighbours are
    const shown = this.compact ? "the picture at the ring" : "mean of p(x|z)";
    this.pictures = this.names.map((name) => new Picture(single ? shown : `${name}: ${shown}`, this.size));
    this.test = this.labels.length ? new Picture("", this.size) : null;
    if (this.test) this.test.caption.setAttribute("aria-live", "polite");      // which digit was chosen is read out
    this.planes = flat ? this.names.map((_, m) => new Plane(this, m)) : [];
    this.readout = make("div", { class: "vae-readout" });
    const pictures = this.pictures.map((picture) => picture.element), test = this.test ? [this.test.element] : [];
    const row = (...figures) => make("div", { class: "vae-pictures" }, ...figures);
    const column = (...children) => make("div", { class: "vae-column" }, ...children);
    const columns = [];
    if (flat && single) {
      const below = this.compact ? [] : [this.readout];
      columns.push(column(this.planes[0].element), column(row(...pictures, ...test), this.coordinates(), ...below));
    } else if (flat) {
      columns.push(...this.planes.map((plane, m) => column(this.names[m], plane.element, pictures[m])),
        column(this.coordinates(), this.readout, row(...test)));
    } else {
      columns.push(column(row(...pictures, ...test), this.readout), column(this.coordinates()));
    }
    root.classList.toggle("vae-compact", this.compact);
    root.classList.toggle("vae-pair", flat && !single);
    root.append(make("div", { class: "vae-row" }, ...columns));
    if (this.conditional) root.append(this.selector());
    if (!this.compact) root.append(this.controls(), this.paths());
    if (!this.compact && this.dots) root.append(legend(this.colours));
    root.append(make("div", { class: "vae-where" }, this.where));
  }

  // A slider for each latent, in the order of its KL; those that carry nothing are folded away.
  coordinates() {
    this.sliders = this.order.map((index) => {
      const kl = this.kl ? ` (KL ${number(this.kl[index])})` : "";
      const range = { min: -this.extent, max: this.extent, step: 0.05, index, describe: (value) => number(value) + kl };
      return makeSlider(`z${subscript(index + 1)}`, range, (value) => this.guard(() => {
        this.moveTo(this.z.map((old, i) => (i === index ? value : old)));
      }));
    });
    const folded = this.order.map((index) => this.collapsed.includes(index));
    const elements = (which) => this.sliders.filter((_, i) => folded[i] === which).map((slider) => slider.element);
    const box = make("div", { class: "vae-sliders" }, ...elements(false));
    if (this.collapsed.length) {
      const title = `${this.collapsed.length} collapsed latents: unused, their q(z|x) is the prior`;
      box.append(make("details", {}, make("summary", {}, title), ...elements(true)));
    }
    return box;
  }

  selector() {
    const options = this.class_names.map((name, k) => make("option", { value: k }, name));
    const onchange = () => this.guard(() => this.give(Number(this.select.value)));
    this.select = make("select", { "aria-label": "class of the pictures", "data-action": "class", onchange }, ...options);
    this.select.value = this.c;
    return make("div", { class: "vae-line" }, make("label", {}, "class ", this.select));
  }

  // The one way in which c changes: maps of the plane are of one class.
  give(c) {
    this.c = c;
    this.select.value = c;
    for (const plane of this.planes) {
      plane.maps = {};
      plane.redraw();
    }
    this.show();
    this.model.set("c", c);
    try { this.model.save_changes(); } catch { this.lost(); }
  }

  controls() {
    const button = (action, text, act) => makeButton(action, text, () => this.guard(act));
    const tick = (text, checked, act) => {
      const box = make("input", { type: "checkbox", checked, onchange: () => this.guard(() => {
        act(box.checked);
        for (const plane of this.planes) plane.redraw();
        this.show();
      }) });
      return make("label", {}, box, text);
    };
    const parts = [button("random", "random draw", () => this.moveTo(this.z.map(gaussianDraw)))];
    if (this.labels.length) parts.push(button("nearest", `nearest test image${this.ofTheFirst}`, () => this.nearest()));
    parts.push(button("reset", "reset", () => this.moveTo([...this.start])));
    if (this.planes.length) {
      parts.push(tick("quantiles", false, (on) => { for (const plane of this.planes) plane.quantiles = on; }));
      if (this.labels.length) parts.push(tick("test images", this.dots, (on) => { this.dots = on; }));
      if (this.mappable) parts.push(tick("map of digits", this.map, (on) => { this.map = on; }));
    }
    return make("div", { class: "vae-line" }, ...parts);
  }

  // Two ends, each a digit (its most typical test image) or a point where the reader has been; a way to play.
  paths() {
    const option = (value, text) => make("option", { value }, text);
    const digits = this.typical.map((_, digit) => option(digit, `a ${digit}${this.ofTheFirst}`));
    this.ends = [1, 7].map((digit) => this.typical[digit] || this.start);
    const end = (e, word, which) => {
      const chosen = () => {
        this.ends[e] = select.value === "here" ? [...this.z] : this.typical[select.value];
        begin();
      };
      const select = make("select", { "aria-label": `${which} of the path`, "data-end": e, onchange: chosen },
        ...digits.map((choice) => choice.cloneNode(true)), option("here", "a point"));
      select.value = digits.length ? [1, 7][e] : "here";
      const here = makeButton(`here-${e}`, "here", () => this.guard(() => {
        this.ends[e] = [...this.z];
        select.value = "here";
        layOut();
        slider.show(e);
        this.show();
      }));
      here.setAttribute("aria-label", `${which} the path here`);
      return make("span", { class: "vae-end" }, word, select, here);
    };
    const kind = make("select", { "aria-label": "kind of path", "data-action": "kind", onchange: () => begin() },
      option("straight", "straight"), option("sphere", "along the sphere"));
    const at = (t) => between(...this.ends, t, kind.value === "sphere");
    const go = (t) => this.guard(() => { this.moveTo(at(t), { playing: true }); slider.show(t); });
    const range = { min: 0, max: 1, step: 0.01, index: "path", label: "place along the path" };
    const slider = makeSlider("along it", range, (t) => {
      player.stop();
      go(t);
    });
    const player = makePlayer(3, go);
    this.stopPlaying = player.stop;
    // The line that the planes draw: anew whenever an end or the kind has changed.
    const layOut = () => {
      player.stop();
      this.way = Array.from({ length: 41 }, (_, i) => at(i / 40));
    };
    const begin = () => {
      layOut();
      go(0);
    };
    layOut();
    slider.show(0);
    return make("div", { class: "vae-line vae-path" },
      "path", end(0, "from", "start"), end(1, "to", "end"), kind, player.button, slider.element);
  }

  // The one way in which z changes.
  moveTo(z, { playing = false, chosen = null } = {}) {
    if (!z.every(Number.isFinite)) throw new Error(`a position was expected as finite numbers, got ${z}`);
    if (!playing && this.stopPlaying) this.stopPlaying();
    this.z = z;
    this.chosen = chosen;
    this.show();
    saveSoon(this, "z", () => this.lost());
  }

  choose(i, code) {
    this.test.say(`test image: a ${this.class_names[this.labels[i]] ?? this.labels[i]}`);
    const pixels = this.channels * this.size[0] * this.size[1];
    if (this.conditional) this.give(this.labels[i]);
    this.test.show(ink(Array.from({ length: pixels }, (_, k) => this.images.getUint8(pixels * i + k) / 255), this.light));
    this.moveTo([...code], { chosen: i });
  }

  nearest() {
    const chosen = closest(this.codes[0], this.z);
    this.choose(chosen, this.codes[0][chosen]);
  }

  show() {
    for (const plane of this.planes) plane.show();
    for (const [i, slider] of this.sliders.entries()) slider.show(this.z[this.order[i]]);
    if (this.test) this.test.element.hidden = this.chosen === null;
    const z = this.latent_size > 2 ? "" : `z = (${this.z.map((value) => number(value)).join(", ")})   `;
    const length = number(Math.sqrt(squares(this.z)));
    this.readout.textContent = `${z}log p(z) = ${number(logPrior(this.z))} nats   |z| = ${length}`;
    if (this.decoders.length) this.decoders.forEach((decode, m) => this.draw(m, this.z, ink(decode(this.z), this.light)));
    else this.ask();
  }

  draw(m, z, paper) {
    this.pictures[m].show(paper);
    this.pictures[m].canvas.dataset.z = z.join();
  }

  // A decoder in the kernel: one question at a time, and the next is about where the point is then.
  ask() {
    if (this.asked) return;
    if (this.model.kernel === false) return this.lost();   // an exported page
    const { z, c } = this;
    try { this.model.send({ z, c }); } catch { return this.lost(); }
    this.asked = { z, c };
    clearTimeout(this.patience);
    this.patience = setTimeout(() => {
      this.asked = null;                                   // or no move would ever be asked about again
      this.tell("No answer from the kernel for 3 seconds: it is busy with another cell, or it has ended. The picture "
        + "is the last one that it sent. When it is idle, move the point; after a restart, run the cells again.");
    }, 3000);
  }

  lost() {
    this.tell(this.decoders.length
      ? "The kernel has ended. The picture is decoded in this page and still follows the point."
      : "This decoder needs a kernel, and none answers: the picture does not follow the point. In JupyterLab, "
        + "run the cells again.");
  }

  answer({ z, c, error }, buffers) {
    const isAt = (place) => z.join() === place.z.join() && c === place.c;
    if (!this.asked || isAt(this.asked)) {                 // or it answers another view of this widget
      clearTimeout(this.patience);
      this.asked = null;
      if (!isAt(this)) this.ask();                         // the point has moved on
    }
    if (error) throw new Error(error);
    this.tell("");
    buffers.forEach((view, m) => this.draw(m, z, new Uint8Array(view.buffer, view.byteOffset, view.byteLength)));
  }

  listen() {
    this.handlers = {
      "change:z": () => {
        const z = this.model.get("z");
        if (z.join() !== this.z.join()) this.guard(() => { this.z = [...z]; this.chosen = null; this.show(); });
      },
      "change:c": () => {
        if (this.conditional && this.model.get("c") !== this.c) this.guard(() => this.give(this.model.get("c")));
      },
      "msg:custom": (content, buffers) => this.guard(() => this.answer(content, buffers)),
      "comm_live_update": () => this.lost(),
    };
    for (const [event, handler] of Object.entries(this.handlers)) this.model.on(event, handler);
  }

  close() {
    if (this.stopPlaying) this.stopPlaying();
    clearTimeout(this.timer);
    clearTimeout(this.patience);
    for (const [event, handler] of Object.entries(this.handlers)) this.model.off(event, handler);
  }
}
