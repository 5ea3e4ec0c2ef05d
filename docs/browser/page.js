// What happens when. `?model=DIR` names another model than `model/`.

import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { drawLine, drawRow } from "./draw.js";
import { Tagger } from "./tagger.js";
import { linesOf } from "./text.js";

const $ = (id) => document.getElementById(id);

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

let tagger = null;
let asked = 0;

async function tag() {
  if (!tagger) return;
  const own = (asked += 1);
  const lines = linesOf($("text").value);
  if (!lines.length) {
    $("results").hidden = true;
    say("Write or paste a text first.");
    return;
  }
  say("Tagging…");
  try {
    const answers = [];
    for (const line of lines) {
      answers.push(await tagger.tag(line.text));
      if (own !== asked) return; // a later question is being answered
    }
    $("readings").replaceChildren(...lines.map((line, number) => drawLine(line.text, answers[number])));
    const rows = lines.flatMap((line, number) => answers[number].spans.map((span) => drawRow(span, line)));
    $("rows").replaceChildren(...rows);
    $("spans").hidden = !rows.length;
    $("results").hidden = false;
    say(`${rows.length} span${rows.length === 1 ? "" : "s"}.`);
  } catch (error) {
    say(error.message, true);
  }
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

try {
  ort.env.wasm.numThreads = 1; // threads need headers that plain file servers do not send
  tagger = await Tagger.load(ort, new URLSearchParams(location.search).get("model") ?? "model");
  $("tag").disabled = false;
  say(`Ready: ${tagger.settings.name || "a model"} with ${tagger.labels.length - 2} labels.`);
} catch (error) {
  say(error.message, true);
}
