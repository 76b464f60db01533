// What the pages of the site do: search, theme, links to copy, parts that scroll by the keys, print.

const root = document.documentElement;
const said = document.querySelector(".vae-said");
let silence;

function say(words) {
  said.textContent = words;
  clearTimeout(silence);
  silence = setTimeout(() => { said.textContent = ""; }, 5000);
}

// --- theme: as the system, light, dark

const THEMES = { "": ["Auto", "as the system"], light: ["Light", "light"], dark: ["Dark", "dark"] };
const themeButton = document.querySelector(".vae-theme-button");

function showTheme() {
  const [word, meaning] = THEMES[root.dataset.theme] ?? THEMES[""];
  themeButton.textContent = word;
  themeButton.setAttribute("aria-label", `${word}: the theme is ${meaning}; change it`);
}

themeButton.onclick = () => {
  const names = Object.keys(THEMES);
  root.dataset.theme = names[(names.indexOf(root.dataset.theme ?? "") + 1) % names.length];
  try { localStorage.setItem("vae-theme", root.dataset.theme); } catch { /* for this page only */ }
  showTheme();
};
showTheme();

// --- contents: open where there is room beside the text

const contents = document.querySelector(".vae-contents");
const wide = matchMedia("(min-width: 64em)");
if (contents) {
  const fit = () => { contents.open = wide.matches; };
  wide.addEventListener("change", fit);
  fit();
  const links = new Map([...contents.querySelectorAll("ol a")].map((link) => [link.hash.slice(1), link]));
  const headings = [...links.keys()].map((id) => document.getElementById(decodeURIComponent(id)));
  const mark = () => {                                     // the section that is being read
    const passed = headings.filter((heading) => heading && heading.getBoundingClientRect().top < 120);
    const here = links.get(passed.at(-1)?.id);
    for (const link of links.values()) link.classList.toggle("vae-now", link === here);
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; mark(); });
  }, { passive: true });
  mark();
}

// --- links to copy

for (const link of document.querySelectorAll("a.anchor-link")) {
  link.addEventListener("click", async () => {
    const address = new URL(link.getAttribute("href"), location.href).href;
    try {
      // A browser that asks its reader for leave first may never answer.
      await Promise.race([navigator.clipboard.writeText(address), new Promise((_, refuse) => setTimeout(refuse, 1000))]);
      say("Link copied");
    } catch {
      say("The link is in the address bar");               // where a page may not write to the clipboard
    }
  });
}

// --- what is too wide scrolls, by the keys too

function reachable() {
  const parts = [...document.querySelectorAll("article :is(pre, p, li), .vae-formula, .vae-wide, .jp-RenderedHTML")];
  const wider = parts.map((part) => part.scrollWidth > part.clientWidth + 1);
  for (const [i, part] of parts.entries()) {
    part.classList.toggle("vae-wider", wider[i]);
    const { name } = part.dataset;                         // a table has one
    const needs = { tabindex: 0, ...(name && { role: "region", "aria-label": name }) };
    for (const [key, value] of Object.entries(needs)) {
      if (wider[i]) part.setAttribute(key, value);
      else part.removeAttribute(key);
    }
  }
}
reachable();
addEventListener("resize", reachable);
addEventListener("toggle", reachable, true);               // what is folded has no width before

// --- print: folded parts open for browsers whose style sheets cannot do it

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("main details:not([open])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => { for (const part of opened) part.open = false; });

// --- search

const dialog = document.querySelector(".vae-search");
const asked = dialog.querySelector("input"), found = dialog.querySelector(".vae-found"), list = dialog.querySelector("ol");
const MOST = 20, AROUND = 70;
let index = null;

const simple = (text) => text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase();

// The index is a script, because a page that was opened from a disk may not fetch.
function loadIndex() {
  return index ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = dialog.dataset.index;
    const refuse = () => {
      index = null;
      reject(new Error(`The index of the search was expected in ${script.src}, but it is missing or damaged; get this site again.`));
    };
    script.onerror = refuse;
    script.onload = () => (globalThis.vaeIndex ? resolve(globalThis.vaeIndex.map(prepared)) : refuse());
    document.head.append(script);
  });
}

const prepared = ([address, page, heading, text]) => ({ address, page, heading, text, title: simple(heading), words: simple(text) });

// Sections that hold every word of the question, at the beginning of one of theirs; those with it in the heading first.
function search(entries, question) {
  const words = simple(question).split(/\s+/).filter(Boolean);
  const begins = words.map((word) => new RegExp(`(?<![\\p{L}\\p{N}])${word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`, "gu"));
  const score = ({ title, words: text }) => begins.reduce((sum, begin) => {
    const hits = 20 * (title.match(begin)?.length ?? 0) + Math.min(10, text.match(begin)?.length ?? 0);
    return hits ? sum + hits : -Infinity;
  }, 0);
  const scored = entries.map((entry) => [score(entry), entry]).filter(([points]) => points > 0);
  return { begins, hits: scored.sort(([a], [b]) => b - a).map(([, entry]) => entry) };
}

function row({ address, page, heading, text, words }, begins) {
  const link = document.createElement("a");
  link.href = address;
  link.onclick = () => dialog.close();
  const place = document.createElement("span"), name = document.createElement("strong"), around = document.createElement("span");
  place.textContent = page;
  name.textContent = heading;
  const at = words.search(new RegExp(begins[0].source, "u"));
  const from = at > AROUND ? text.indexOf(" ", at - AROUND) + 1 : 0;             // at the beginning of a word
  around.textContent = `${from ? "… " : ""}${text.slice(from, from + 3 * AROUND)} …`;
  link.append(place, " ", name, " ", around);
  const item = document.createElement("li");
  item.append(link);
  return item;
}

async function answer() {
  try {
    const question = asked.value.trim(), entries = await loadIndex();
    if (question !== asked.value.trim()) return;
    const { hits, begins } = question ? search(entries, question) : { hits: [], begins: [] };
    list.replaceChildren(...hits.slice(0, MOST).map((entry) => row(entry, begins)));
    const shown = hits.length > MOST ? `${hits.length} places, the first ${MOST} of them` : `${hits.length} places`;
    found.textContent = question ? (hits.length === 1 ? "1 place" : hits.length ? shown : "Nothing found: try fewer or other words") : "";
  } catch (error) {
    found.textContent = error.message;
  }
}

function openSearch() {
  dialog.showModal();
  asked.select();
  answer();
}

asked.addEventListener("input", answer);
asked.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;                       // goes to the first place
  event.preventDefault();
  list.querySelector("a")?.click();
});
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const stops = [asked, ...list.querySelectorAll("a")];
  stops[Math.min(stops.length - 1, Math.max(0, stops.indexOf(document.activeElement) + step))].focus();
});
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
document.querySelector(".vae-search-button").onclick = openSearch;
addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openSearch();
  }
});
