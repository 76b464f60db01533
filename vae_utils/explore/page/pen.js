// The sheet on the page, and the hand that draws on it: mouse, finger, pen or keyboard.

import { clamp } from "./gaussians.js";
import { Picture, furnish, make } from "./elements.js";
import { PIXELS } from "./sheet.js";

const KEYS = "arrow keys move the pen, with Shift by a quarter of a pixel; Space puts it down and lifts it; Delete "
  + "clears; Ctrl+Z takes back";

export class Pen {
  // changed(): the sheet has; beyond(): a line that ends now went over its edge.
  constructor(sheet, { guard, changed, beyond }) {
    Object.assign(this, { sheet, changed, beyond });
    this.thickness = 2.5;                                  // in pixels, about MNIST's
    this.at = [PIXELS / 2, PIXELS / 2];                    // of the keyboard's pen
    this.down = false;                                     // and whether it writes
    const guarded = (act) => (event) => guard(() => act(event));
    this.picture = new Picture("", [PIXELS, PIXELS]);
    this.canvas = furnish(this.picture.canvas, {
      class: "vae-sheet", tabindex: 0, role: "application",
      "aria-label": `sheet of ${PIXELS} by ${PIXELS} pixels to draw on; ${KEYS}`,
      onpointerdown: guarded((event) => this.press(event)), onpointermove: guarded((event) => this.drag(event)),
      onlostpointercapture: guarded((event) => this.release(event)),          // however the line ends
      onkeydown: guarded((event) => this.key(event)), onblur: guarded(() => this.lift()),
    }, []);
    this.tip = make("div", { class: "vae-pen", "aria-hidden": "true" });
    this.place = make("div", { class: "vae-readout vae-place", role: "status" });
    this.element = make("div", { class: "vae-paper" }, this.canvas, this.tip);
    const words = make("details", {}, make("summary", {}, "by keyboard"), `On the sheet, ${KEYS}.`);
    this.help = make("div", {}, words, this.place);
  }

  position(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * PIXELS, (event.clientY - box.top) / box.height * PIXELS];
  }

  press(event) {
    if (event.button || this.pointer !== undefined) return;          // not the main button; a second finger
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);        // the line goes on when the hand leaves the sheet and returns
    this.canvas.focus({ preventScroll: true });
    event.preventDefault();
    this.lift();
    this.sheet.remember();
    this.left = false;                                     // the sheet, so far
    this.last = this.position(event);
    this.lineTo(this.last);
  }

  drag(event) {
    if (event.pointerId !== this.pointer) return;
    const between = event.getCoalescedEvents?.() ?? [];    // where the hand was since the last frame
    for (const each of between.length ? between : [event]) this.lineTo(this.position(each));
  }

  lineTo(place) {
    this.sheet.line(this.last, place, this.thickness);
    this.left ||= place.some((value) => value < 0 || value > PIXELS);
    this.last = place;
    this.changed();
  }

  release(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = undefined;
    if (this.left) this.beyond();
  }

  key(event) {
    const step = event.shiftKey ? 0.25 : 1;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (move) {
      const from = this.at;
      this.at = from.map((value, i) => clamp(value + move[i], 0, PIXELS));           // it stops at the edge
      if (this.down) this.write(from);
    } else if (event.key === " ") {
      this.down = !this.down;
      if (this.down) {
        this.sheet.remember();
        this.write(this.at);
      }
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.sheet.clear();
      this.changed();
    } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
      this.sheet.undo();
      this.changed();
    } else {
      return;
    }
    event.preventDefault();                                // the page does not scroll
    this.tell();
  }

  write(from) {
    this.sheet.line(from, this.at, this.thickness);
    this.changed();
  }

  lift() {
    this.down = false;
    this.tip.classList.remove("vae-shown");
    this.place.textContent = "";
  }

  // Where the keyboard's pen is: to see, and to hear.
  tell() {
    const [x, y] = this.at.map((value) => value / PIXELS);
    this.tip.style.setProperty("left", `${100 * x}%`);
    this.tip.style.setProperty("top", `${100 * y}%`);
    this.tip.style.setProperty("width", `${100 * this.thickness / PIXELS}%`);
    this.tip.classList.add("vae-shown");
    this.tip.classList.toggle("vae-down", this.down);
    this.place.textContent = `pen ${this.down ? "down" : "up"} at (${this.at.join(", ")})`;
  }
}
