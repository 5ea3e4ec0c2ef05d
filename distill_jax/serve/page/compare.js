// Which spans are shown, and in what two models differ.

/** Whether a span is sure enough to be shown; one without a score always is. */
const isShown = (span, threshold) => span.score === null || span.score >= threshold;

/** The spans of a reading that are shown, with their places in the whole text. */
function shownSpans(reading, lines, threshold) {
  return reading.answers.flatMap((answer, number) =>
    answer.entities
      .filter((span) => isShown(span, threshold))
      .map((span) => ({
        start: lines[number].start + span.start,
        end: lines[number].start + span.end,
        label: span.entity_group,
        text: span.word,
        score: span.score,
      })),
  );
}

const placeOf = (span) => `${span.start}-${span.end}`;

/** What stands at the same place in both with another label, and what only one has; in the text's order. */
function differences(first, second) {
  const seconds = new Map(second.map((span) => [placeOf(span), span]));
  const firsts = new Map(first.map((span) => [placeOf(span), span]));
  const found = [];
  for (const span of first) {
    const other = seconds.get(placeOf(span));
    if (!other || other.label !== span.label) found.push({ first: span, second: other });
  }
  for (const span of second) if (!firsts.has(placeOf(span))) found.push({ second: span });
  return found.sort((one, other) => (one.first ?? one.second).start - (other.first ?? other.second).start);
}
