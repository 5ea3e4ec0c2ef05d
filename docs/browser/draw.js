// From answers to elements. Texts become text nodes, never markup.

function element(name, ...content) {
  const made = document.createElement(name);
  made.append(...content);
  return made;
}

const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

/** A hue for each label, neighbours far apart. Its name stands beside it always. */
const hueOf = (label, labels) => (labels.indexOf(label) * 137.5) % 360;

/** A line with its spans marked. */
export function drawLine(text, { spans, labels }) {
  const paragraph = element("p");
  paragraph.dir = "auto";
  let position = 0;
  for (const span of spans) {
    // Apart, so that it does not mingle with text that runs from right to left.
    const said = element("bdi", element("b", span.label), " ", element("small", percent(span.score)));
    const mark = element("mark", span.text, " ", said);
    mark.style.setProperty("--hue", hueOf(span.label, labels));
    paragraph.append(text.slice(position, span.start_utf16), mark);
    position = span.end_utf16;
  }
  paragraph.append(text.slice(position));
  return paragraph;
}

/** A span as a row, with its places in the whole text, of which its line begins at `start` and `startChar`. */
export function drawRow(span, { start, startChar }) {
  const cells = [
    span.text, span.label, percent(span.score),
    `${start + span.start_utf16}–${start + span.end_utf16}`,
    `${startChar + span.start_char}–${startChar + span.end_char}`,
  ].map((content) => element("td", content));
  cells[0].dir = "auto";
  return element("tr", ...cells);
}
