// Starts the deck, and makes letters smaller on slides that hold too much: as large as fits, never below what the
// last row can read. slides.css multiplies its sizes by --scale, and ends each at the same floor.
const LARGEST = 26, WRAPPED = 20, SMALLEST = 16;   // px, of letters in code
const SMALLEST_FORMULA = 22;         // px: what is small in it is half of that
const STEP = 0.04, LEAST = 0.5;

function sticksOut(text) {             // not by scrollWidth, which is rounded: half a pixel breaks a line
  const letters = document.createRange();
  letters.selectNodeContents(text);
  return letters.getBoundingClientRect().right > text.getBoundingClientRect().right;
}

function overflows(slide) {
  const end = slide.clientHeight - parseFloat(getComputedStyle(slide).paddingBottom);
  return [...slide.children].some((child) => child.offsetTop + child.offsetHeight > end + 1);
}

function fitWidth(text) {
  const resize = (size) => text.style.setProperty("--size", `${size}px`);
  let size = LARGEST;
  text.style.whiteSpace = "pre";
  for (resize(size); size > SMALLEST && sticksOut(text); resize(size)) size -= 0.5;
  if (sticksOut(text)) resize(WRAPPED);
  text.style.whiteSpace = "";
}

function fit(slide) {
  if (slide.dataset.fitted || slide.classList.contains("stack")) return;
  slide.dataset.fitted = true;
  slide.querySelectorAll(".vae-code pre").forEach(fitWidth);
  for (let scale = 1; scale >= LEAST && overflows(slide); scale -= STEP) slide.style.setProperty("--scale", scale);
  for (const holder of slide.querySelectorAll(".vae-text .vae-formula")) {   // browsers do not break them into lines
    const formula = holder.firstElementChild;
    const size = parseFloat(getComputedStyle(holder).fontSize);
    const wide = Math.max(holder.scrollWidth, formula?.scrollWidth ?? 0);
    if (wide > holder.clientWidth) {
      holder.style.fontSize = `${Math.max(SMALLEST_FORMULA, Math.floor(size * holder.clientWidth / wide) - 1)}px`;
    }
  }
}

Reveal.on("ready", ({ currentSlide }) => fit(currentSlide));
Reveal.on("slidechanged", ({ currentSlide }) => fit(currentSlide));
Reveal.on("pdf-ready", () => document.querySelectorAll(".slides section").forEach(fit));
Reveal.initialize({
  width: 1280, height: 720, margin: 0, center: false, hash: true, transition: "none", slideNumber: "c/t",
  pdfMaxPagesPerSlide: 1, pdfSeparateFragments: false, controlsTutorial: false, plugins: [RevealNotes],
});
