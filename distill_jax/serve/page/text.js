// Offsets count Unicode code points, as the server's do; strings of this language are UTF-16.

/** The characters of a text, a code point each. */
const characters = (text) => Array.from(text);

/** The lines that are not blank: their text, and the character at which each begins. */
function linesOf(text) {
  const lines = [];
  let start = 0;
  for (const line of text.split("\n")) {
    if (line.trim()) lines.push({ text: line, start });
    start += characters(line).length + 1;
  }
  return lines;
}
