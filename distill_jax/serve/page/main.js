// What happens when.

const $ = (id) => document.getElementById(id);
const state = { lines: [], text: "", readings: [], models: [], asked: null };

async function ask(path, body, signal) {
  const headers = { "content-type": "application/json" };
  if ($("token").value) headers.authorization = `Bearer ${$("token").value}`;
  const options = body ? { method: "POST", body: JSON.stringify(body) } : {};
  const answer = await fetch(path, { ...options, headers, signal });
  const content = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (answer.status === 401) $("token-row").hidden = false;
  if (!answer.ok) throw new Error(content.error ?? `the server answered ${answer.status}`);
  return content;
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

async function listModels() {
  const { models } = await ask("models");
  state.models = models;
  const options = models.map(({ name }) => new Option(name, name));
  $("first").replaceChildren(...options);
  $("second").replaceChildren(new Option("no other model", ""), ...options.map((option) => option.cloneNode(true)));
}

async function tag() {
  state.asked?.abort();
  const asked = (state.asked = new AbortController());
  const text = $("text").value.replaceAll("\r\n", "\n");
  const lines = linesOf(text);
  if (!lines.length) {
    $("results").hidden = true;
    say("Write or paste a text first.");
    return;
  }
  say("Tagging…");
  try {
    if (!state.models.length) await listModels();
    const names = [...new Set([$("first").value, $("second").value])].filter(Boolean);
    const parameters = { aggregation_strategy: "simple", posteriors: true };
    const answers = await Promise.all(names.map((name) =>
      ask(`models/${encodeURIComponent(name)}/predict`, { inputs: lines.map((line) => line.text), parameters }, asked.signal)));
    if (asked.signal.aborted) return;
    const labelsOf = (name) => state.models.find((model) => model.name === name)?.labels ?? [];
    state.readings = names.map((name, number) => ({ name, answers: answers[number], labels: labelsOf(name) }));
    Object.assign(state, { lines, text });
    show();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
  }
}

function show() {
  const threshold = Number($("threshold").value);
  $("threshold-shown").textContent = threshold.toFixed(2);
  const shown = state.readings.map((reading) => shownSpans(reading, state.lines, threshold));
  const compared = state.readings.length === 2 ? differences(...shown) : [];
  const differing = new Set(compared.flatMap(({ first, second }) => [first, second]).filter(Boolean).map(placeOf));
  const numbers = numbered(state.readings.map((reading) => reading.labels));
  const articles = state.readings.map((reading, number) => {
    const paragraphs = state.lines.map((line, lineNumber) => drawLine(line, reading.answers[lineNumber], {
      threshold, numbers, reading: number, line: lineNumber,
      differs: (span) => differing.has(`${line.start + span.start}-${line.start + span.end}`),
    }));
    const all = reading.answers.reduce((sum, answer) => sum + answer.entities.length, 0);
    const hidden = all - shown[number].length;
    const count = `${all} span${all === 1 ? "" : "s"}${hidden ? `, ${hidden} below the threshold` : ""}`;
    return element("article", "reading", element("h3", "", reading.name, element("small", "", count)), ...paragraphs);
  });
  $("readings").replaceChildren(...articles);
  $("readings").className = articles.length === 2 ? "two" : "";
  for (const article of articles) {
    const first = article.querySelector(".word");
    if (first) first.tabIndex = 0;
  }
  const found = [...new Set(shown.flat().map((span) => span.label))];
  $("legend").replaceChildren(...[...numbers.keys()].filter((label) => found.includes(label)).map((label) => {
    const item = element("li", "", label);
    dress(item, numbers.get(label));
    return item;
  }));
  $("differences").hidden = state.readings.length !== 2;
  $("differences-table").replaceChildren(drawDifferences(compared, state.readings.map((reading) => reading.name)));
  $("word").hidden = true;
  $("results").hidden = false;
  const spans = shown[0].length;
  say(`${spans} span${spans === 1 ? "" : "s"} shown${state.readings.length === 2 ? `; ${compared.length} differences` : ""}.`);
}

function showWord(made) {
  const { line, word } = made.dataset;
  for (const other of document.querySelectorAll(".word[aria-pressed='true']")) other.setAttribute("aria-pressed", "false");
  made.setAttribute("aria-pressed", "true");
  const own = state.readings[made.dataset.reading].answers[line].words[word];
  const parts = [];
  for (const reading of state.readings) {
    const answer = reading.answers[line];
    // Models may split a text in different ways: what the other has there is the word at this place.
    const number = answer.words.findIndex((other) => other.start <= own.start && own.start < other.end);
    if (number >= 0) parts.push(drawTags(reading.name, answer.words[number].tag, answer.labels, answer.posteriors[number]));
  }
  $("word-title").textContent = own.word;
  $("word-tags").replaceChildren(...parts);
  $("word").hidden = false;
}

function move(made, key) {
  const words = [...made.closest(".reading").querySelectorAll(".word")];
  const at = words.indexOf(made);
  const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: words.length - 1 }[key];
  const next = words[to];
  if (!next) return;
  made.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

async function copy() {
  const threshold = Number($("threshold").value);
  const models = state.readings.map((reading) => ({
    model: reading.name, spans: shownSpans(reading, state.lines, threshold),
  }));
  const json = JSON.stringify({ text: state.text, threshold, models }, null, 2);
  try {
    await navigator.clipboard.writeText(json);
  } catch {
    // Without https, or permission, there is no clipboard but for what is selected.
    const field = element("textarea", "");
    field.value = json;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    $("copy").focus();
    if (!copied) return say("The browser does not let this page copy.", true);
  }
  say("Copied.");
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  tag();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    tag();
  }
});
for (const id of ["first", "second"]) $(id).addEventListener("change", () => { if (state.readings.length) tag(); });
$("threshold").addEventListener("input", () => { if (state.readings.length) show(); });
$("copy").addEventListener("click", copy);
for (const event of ["mouseover", "focusin", "click"]) {
  $("readings").addEventListener(event, ({ target }) => {
    const made = target.closest(".word");
    if (made) showWord(made);
  });
}
$("readings").addEventListener("keydown", (event) => {
  const made = event.target.closest(".word");
  if (!made) return;
  if (["ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) {
    event.preventDefault();
    move(made, event.key);
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    showWord(made);
  }
});
listModels().catch((error) => say(error.message, true));
