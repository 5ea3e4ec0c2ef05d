// From answers to elements. Texts become text nodes, never markup.

/** An element with a class and content. */
function element(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

const percent = (share) => (share === null ? "" : `${(100 * share).toFixed(share > 0.0005 && share < 0.9995 ? 1 : 0)}\u00a0%`);

/** A line of a reading: its words, each of which can be pointed at, in the marks of their spans. */
function drawLine(line, answer, look) {
  const text = characters(line.text);
  const paragraph = element("p");
  paragraph.dir = "auto";
  const spans = answer.entities;
  let position = 0;
  let next = 0;
  let mark = null;
  answer.words.forEach((word, number) => {
    while (next < spans.length && spans[next].end <= word.start) next += 1;
    const span = next < spans.length && spans[next].start <= word.start ? spans[next] : null;
    const into = span && mark ? mark : paragraph;
    into.append(text.slice(position, word.start).join(""));
    if (span && !mark) {
      mark = markOf(span, look);
      paragraph.append(mark);
    }
    (mark ?? paragraph).append(wordOf(word, number, look));
    position = word.end;
    if (span && span.end <= word.end) {
      if (isShown(span, look.threshold)) mark.append(" ", element("b", "", span.entity_group), " ", element("small", "", percent(span.score)));
      mark = null;
    }
  });
  paragraph.append(text.slice(position).join(""));
  return paragraph;
}

function markOf(span, look) {
  const mark = element("mark");
  if (!isShown(span, look.threshold)) {
    mark.className = "below";
    mark.title = `${span.entity_group}, ${percent(span.score)}: below the threshold`;
    return mark;
  }
  dress(mark, look.numbers.get(span.entity_group) ?? 0);
  if (look.differs(span)) mark.classList.add("differs");
  return mark;
}

function wordOf(word, number, look) {
  const made = element("span", "word", word.word);
  made.setAttribute("role", "button");
  made.setAttribute("aria-pressed", "false");
  made.tabIndex = -1;
  made.dataset.reading = look.reading;
  made.dataset.line = look.line;
  made.dataset.word = number;
  return made;
}

/** The most probable tags of a word, and what all others add up to. */
function drawTags(title, tag, labels, posteriors, most = 8) {
  const order = [...posteriors.keys()].sort((one, other) => posteriors[other] - posteriors[one]);
  const rest = order.slice(most).reduce((sum, number) => sum + posteriors[number], 0);
  const rows = order.slice(0, most).map((number) => tagRow(labels[number], posteriors[number]));
  if (order.length > most) rows.push(tagRow(`${order.length - most} others`, rest));
  return element("div", "", element("h3", "", `${title}: `, element("b", "", tag)), element("ol", "", ...rows));
}

function tagRow(name, share) {
  const bar = element("i");
  bar.style.setProperty("width", `${100 * share}%`);
  const track = element("span", "track", bar);
  track.setAttribute("aria-hidden", "true");
  return element("li", "", element("span", "", name), track, element("span", "", percent(share)));
}

/** A table of differences between two models. */
function drawDifferences(found, names) {
  if (!found.length) return element("p", "", "None: both models found the same spans.");
  const said = (span) => (span ? `${span.label} ${percent(span.score)}` : "–");
  const head = element("tr", "", ...["Text", ...names].map((name) => {
    const cell = element("th", "", name);
    cell.scope = "col";
    return cell;
  }));
  const rows = found.map(({ first, second }) =>
    element("tr", "", ...[(first ?? second).text, said(first), said(second)].map((text) => element("td", "", text))));
  const table = element("table", "", element("thead", "", head), element("tbody", "", ...rows));
  const scroll = element("div", "scroll", table);
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Differences, a row each");
  return scroll;
}
