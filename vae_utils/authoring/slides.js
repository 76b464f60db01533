// Starts the deck, and makes formulas narrower that are too wide: browsers do not break them into lines.
const SMALLEST = 22;    // px, of a formula's letters

function fit(slide) {
  for (const holder of slide.querySelectorAll(".vae-text .vae-formula")) {
    const formula = holder.firstElementChild;
    if (!formula || holder.dataset.fitted) continue;
    holder.dataset.fitted = true;
    const size = parseFloat(getComputedStyle(holder).fontSize);
    const wide = Math.max(holder.scrollWidth, formula.scrollWidth ?? 0);
    if (wide > holder.clientWidth) {
      holder.style.fontSize = `${Math.max(SMALLEST, Math.floor(size * holder.clientWidth / wide) - 1)}px`;
    }
  }
}

Reveal.on("ready", ({ currentSlide }) => fit(currentSlide));
Reveal.on("slidechanged", ({ currentSlide }) => fit(currentSlide));
Reveal.on("pdf-ready", () => document.querySelectorAll(".slides section").forEach(fit));
Reveal.initialize({
  width: 1280, height: 720, margin: 0, center: false, hash: true, transition: "none", slideNumber: "c/t",
  controlsTutorial: false, plugins: [RevealNotes],
});
