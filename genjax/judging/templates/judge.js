"use strict";
const content = JSON.parse(document.getElementById("content").textContent);
const element = (id) => document.getElementById(id);
const questions = {
  real: "Which one is real?",
  timed: "Which one is real? Both are shown for a moment.",
  preference: "Which one is better?",
};
const storage = `genjax judge ${content.page}`;
let state = load();
let current = null;

function random(count) {
  return crypto.getRandomValues(new Uint32Array(1))[0] % count;
}

function shuffled(values) {
  const result = [...values];
  for (let i = result.length - 1; i > 0; i--) {
    const j = random(i + 1);
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}

function load() {
  try {
    const stored = JSON.parse(localStorage.getItem(storage));
    if (stored) return stored;
  } catch { /* a browser may keep nothing */ }
  const session = Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, "0")).join("");
  return { page: content.page, session, rater: "", order: shuffled(content.trials.keys()), answers: [] };
}

function store() {
  try { localStorage.setItem(storage, JSON.stringify(state)); } catch { /* the answers are kept by this page alone */ }
}

function show(id) {
  for (const section of ["start", "trial", "end"]) element(section).hidden = section !== id;
}

function medium(name, side) {
  const { kind, content: value } = content.media[name];
  const node = document.createElement({ image: "img", sound: "audio", text: "p" }[kind]);
  if (kind === "text") node.textContent = value;
  else node.src = value;
  if (kind === "image") node.alt = `${side} image`;
  if (kind === "sound") { node.controls = true; node.setAttribute("aria-label", `${side} sound`); }
  return node;
}

function next() {
  const number = state.answers.length;
  if (number === content.trials.length) return end();
  const index = state.order[number];
  const trial = content.trials[index];
  const [left, right] = shuffled(trial.options);
  current = { trial: index, left, right };
  element("question").textContent = questions[trial.task];
  element("progress").max = content.trials.length;
  element("progress").value = number;
  element("progress-text").textContent = `${number + 1} of ${content.trials.length}`;
  show("trial");
  const media = [["left", left, "Left"], ["right", right, "Right"]].map(([id, name, side]) => {
    const node = medium(name, side);
    element(id).replaceChildren(node);
    return node;
  });
  const begin = () => {
    current.began = performance.now();
    if (trial.task !== "timed") return;
    const shown = current;
    setTimeout(() => { if (current === shown) for (const id of ["left", "right"]) element(id).replaceChildren(); }, content.exposure);
  };
  // The time of exposure begins when both images are there.
  Promise.allSettled(media.map((node) => (node.decode ? node.decode() : null))).then(() => requestAnimationFrame(begin));
}

function choose(side) {
  if (current === null || current.began === undefined) return;
  state.answers.push({
    trial: current.trial,
    left: current.left,
    chosen: current[side],
    milliseconds: Math.round(performance.now() - current.began),
  });
  current = null;
  store();
  next();
}

function end() {
  const { page, session, rater, answers } = state;
  const text = JSON.stringify({ page, session, rater, answers }, null, 1);
  element("answers").value = text;
  element("save").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  element("save").download = `answers-${(rater || session).replace(/[^\p{L}\p{N}]+/gu, "_")}.json`;
  show("end");
}

element("count").textContent = `There are ${content.trials.length} questions about two examples each.` +
  (state.answers.length ? ` You have answered ${state.answers.length} of them.` : "");
element("rater").value = state.rater;
element("begin").addEventListener("click", () => { state.rater = element("rater").value.trim(); store(); next(); });
for (const side of ["left", "right"]) {
  element(`choose-${side}`).addEventListener("click", () => choose(side));
  element(side).addEventListener("click", (event) => { if (event.target.tagName === "IMG") choose(side); });
}
document.addEventListener("keydown", (event) => {
  if (element("trial").hidden || event.repeat || event.target.tagName === "AUDIO") return;
  if (event.key === "ArrowLeft") choose("left");
  if (event.key === "ArrowRight") choose("right");
});
