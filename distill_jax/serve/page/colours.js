// How labels are told apart: by a colour, by the line below it, and always by their name beside it.

const HUES = 20;
const LINES = ["solid", "dashed", "dotted", "double"];

/** The look of a label, by its number: 80 are different, neighbours very much so. */
function lookOf(number) {
  const step = (number * 7) % HUES;
  // Of two hues side by side one is deeper.
  return { hue: step * (360 / HUES), deep: step % 2, line: LINES[Math.floor(number / HUES) % LINES.length] };
}

/** Gives an element the look of a label. */
function dress(element, number) {
  const look = lookOf(number);
  element.classList.add("tone", look.line);
  element.style.setProperty("--hue", look.hue);
  element.style.setProperty("--deep", look.deep);
}

/** Numbers for the labels of several models: equal labels look alike. */
function numbered(labelLists) {
  const numbers = new Map();
  for (const label of labelLists.flat()) if (!numbers.has(label)) numbers.set(label, numbers.size);
  return numbers;
}
