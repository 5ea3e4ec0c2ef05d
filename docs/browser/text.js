// From a text to its words, as distill_jax_runtime/text.py finds them: that file has the rules, this one their port.
//
// Which characters are letters is a matter of the browser's version of Unicode, there of Python's: they differ in
// characters that the older of the two does not know.

const BLANK = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/u; // Python's str.isspace
const JOINER = "\u200d";
const REGIONAL = /[\u{1f1e6}-\u{1f1ff}]/u;
const MARK = /[\p{M}\u{1f3fb}-\u{1f3ff}]/u;
const FORMAT = /(?!\u200b)\p{Cf}/u; // without the zero-width space
const LETTER = /[\p{L}\p{N}]/u;
const UNSPACED = new RegExp(
  "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f" + // Thai to Myanmar
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff" + // Han
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f\u{1aff0}-\u{1b16f}" + // kana
    "\u{20000}-\u{3ffff}]", // Han beyond the basic plane
  "u",
);

// Over the classes of a text, a letter for each character.
const RUN = "(?:w[wm]*|m[wm]*|rrm*|[rus]m*)";
const RULES = {
  blanks: /[^ ]+/g,
  punctuation: new RegExp(`(?:${RUN}|j)(?:j|(?<=j)${RUN})*`, "g"),
};

/** Blank, joiner, regional indicator, mark, word, unspaced script or symbol. */
function classOf(character) {
  if (BLANK.test(character)) return " ";
  if (character === JOINER) return "j";
  if (REGIONAL.test(character)) return "r";
  if (MARK.test(character) || FORMAT.test(character)) return "m";
  if (LETTER.test(character)) return UNSPACED.test(character) ? "u" : "w";
  return "s";
}

const classes = new Map();

function classesOf(characters) {
  let found = "";
  for (const character of characters) {
    let own = classes.get(character);
    if (own === undefined) classes.set(character, (own = classOf(character)));
    found += own;
  }
  return found;
}

/** The characters of a string, a code point each; a surrogate without its other half is one. */
export const charactersOf = (text) => Array.from(text);

/**
 * The words of a text by a rule, `blanks` or `punctuation`, in order: `word`; `start` and `end` (exclusive) in
 * UTF-16 code units, with which `text.slice(start, end)` is the word; `startChar` and `endChar` in code points.
 */
export function wordsOf(text, rule) {
  const pattern = RULES[rule];
  if (!pattern) throw new Error("this model reads words as they are given and no text");
  const characters = charactersOf(text);
  const words = [];
  let at = 0; // in code points, and
  let unit = 0; // the same place in UTF-16
  const to = (place) => {
    for (; at < place; at += 1) unit += characters[at].length;
    return unit;
  };
  for (const { 0: run, index } of classesOf(characters).matchAll(pattern)) {
    const startChar = index;
    const endChar = index + run.length;
    const [start, end] = [to(startChar), to(endChar)];
    words.push({ word: text.slice(start, end), start, end, startChar, endChar });
  }
  return words;
}

/** The lines of a text that are not blank: `text`, and where it begins: `start` in UTF-16, `startChar` in code points. */
export function linesOf(text) {
  const lines = [];
  let start = 0;
  let startChar = 0;
  for (const line of text.split("\n")) {
    if (charactersOf(line).some((character) => !BLANK.test(character))) lines.push({ text: line, start, startChar });
    start += line.length + 1;
    startChar += charactersOf(line).length + 1;
  }
  return lines;
}
