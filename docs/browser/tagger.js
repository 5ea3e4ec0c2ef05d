// Tags text with an exported BiLSTM, as distill_jax_runtime does:
//
//     import * as ort from "./ort/ort.wasm.bundle.min.mjs";
//     import { Tagger } from "./tagger.js";
//
//     const tagger = await Tagger.load(ort, "model");
//     const { spans } = await tagger.tag("call mara on friday");

import { readDirectory } from "./directory.js";
import { bestTags, Marginals } from "./legal.js";
import { charactersOf, wordsOf } from "./text.js";
import { Vocabulary } from "./vocabulary.js";

const KEPT_WORDS = 1 << 16; // spellings that are kept

let lastCreated = Promise.resolve();

/** The session of a graph. One at a time, for files beside graphs have one place in onnxruntime-web, which each session empties. */
function created(ort, { bytes, externalData }) {
  const session = lastCreated.then(() =>
    ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], externalData }));
  lastCreated = session.catch(() => {});
  return session;
}

export class Tagger {
  /** Use `load`. */
  constructor(ort, settings, vocabulary, sessions) {
    this.ort = ort;
    this.settings = settings;
    /** The sBIO tags, in the order of the columns of posteriors. */
    this.labels = settings.tags;
    this.vocabulary = vocabulary;
    this.sessions = sessions;
    this.spellings = new Map();
    this.last = Promise.resolve();
  }

  /**
   * Loads an export from below an address.
   *
   * `ort` is the module of onnxruntime-web. Throws an `Error` in one line, as `readDirectory` does, and for a
   * vocabulary, settings and graphs that do not belong together.
   */
  static async load(ort, base) {
    const { settings, vocabulary, words, spelling } = await readDirectory(base);
    const sessions = { words: await created(ort, words), spelling: await created(ort, spelling) };
    const tagger = new Tagger(ort, settings, new Vocabulary(vocabulary), sessions);
    await tagger.tag("?", "blanks").catch((error) => {
      throw new Error(`${base}: graphs and settings are of different models, or damaged (${error.message})`);
    });
    return tagger;
  }

  /**
   * One text as one sentence: what `distill-jax predict --posteriors` writes for it. `words`; `tags` (IOB2);
   * `spans` (`start`, `end` in words; `start_char`, `end_char` in code points, as everywhere in distill_jax;
   * and `start_utf16`, `end_utf16`, with which `text.slice` is the span's `text`; `label`, `score`);
   * `posteriors`, a row for each word in the order of `labels`. Ends are exclusive.
   *
   * Calls may overlap; they are answered in order.
   */
  tag(text, rule = this.settings.text_words ?? "blanks") {
    const answer = this.last.then(() => this.#tagged(text, rule));
    this.last = answer.catch(() => {});
    return answer;
  }

  async #tagged(text, rule) {
    const places = wordsOf(text, rule);
    const words = places.map(({ word }) => word);
    const scores = words.length ? await this.#scores(words) : [];
    const tagIds = bestTags(scores);
    const temperature = this.settings.temperature ?? 1;
    const marginals = new Marginals(scores.map((row) => row.map((score) => score / temperature)));
    const tags = words.map(() => "O");
    const spans = [];
    for (const { start, end, tag } of spansOf(tagIds)) {
      const label = this.labels[tag];
      const score = marginals.span(start, end, tag);
      if (score < (this.settings.thresholds?.[label] ?? 0)) continue;
      tags.fill(`I-${label}`, start, end)[start] = `B-${label}`;
      const [first, last] = [places[start], places[end - 1]];
      spans.push({
        start, end, label, score,
        text: text.slice(first.start, last.end),
        start_char: first.startChar, end_char: last.endChar,
        start_utf16: first.start, end_utf16: last.end,
      });
    }
    return { words, tags, spans, labels: this.labels, posteriors: marginals.tags() };
  }

  /** Log-probabilities, a row for each word. */
  async #scores(words) {
    await this.#learn(words);
    const vectors = words.map((word) => this.spellings.get(word));
    const size = vectors[0].length;
    const spelling = new Float32Array(words.length * size);
    vectors.forEach((vector, row) => spelling.set(vector, row * size));
    const ids = Int32Array.from(words, (word) => this.vocabulary.wordId(word));
    const { log_probabilities: found } = await this.sessions.words.run({
      word_ids: new this.ort.Tensor("int32", ids, [1, words.length]),
      spelling: new this.ort.Tensor("float32", spelling, [1, words.length, size]),
    });
    const tags = this.labels.length;
    if (found.dims[2] !== tags) throw new Error(`${found.dims[2]} tags in the graph, ${tags} in tagger.json`);
    return words.map((_, row) => Array.from(found.data.subarray(row * tags, (row + 1) * tags)));
  }

  /** Computes the spellings that are not there yet. */
  async #learn(words) {
    if (this.spellings.size > KEPT_WORDS) this.spellings.clear();
    const fresh = [...new Set(words)].filter((word) => !this.spellings.has(word));
    if (!fresh.length) return;
    const most = this.settings.max_chars ?? 20;
    const width = Math.min(most, Math.max(...fresh.map((word) => charactersOf(word).length)));
    const ids = new Int32Array(fresh.length * width);
    fresh.forEach((word, row) => ids.set(this.vocabulary.characterIdsOf(word, most), row * width));
    const { spelling } = await this.sessions.spelling.run({
      char_ids: new this.ort.Tensor("int32", ids, [fresh.length, width]),
    });
    const size = spelling.dims[1];
    fresh.forEach((word, row) => this.spellings.set(word, spelling.data.slice(row * size, (row + 1) * size)));
  }
}

/** The spans of legal sBIO tags: words `start` to `end` (exclusive) and the label's tag. */
function spansOf(tags) {
  const spans = [];
  tags.forEach((tag, at) => {
    if (tag > 1) spans.push({ start: at, end: at + 1, tag });
    else if (tag === 1) spans.at(-1).end = at + 1;
  });
  return spans;
}
