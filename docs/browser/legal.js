// Legal sBIO sequences (O = 0, I = 1, then labels; no I at the start or after O): the best one, and the
// probabilities under all of them, as distill_jax_runtime/legal.py and marginals.py compute them.
//
// `scores` are rows, a score for each tag; in doubles, as there.

const [O, I, FIRST_LABEL] = [0, 1, 2];

const best = (row) => {
  let found = FIRST_LABEL;
  for (let tag = FIRST_LABEL + 1; tag < row.length; tag += 1) if (row[tag] > row[found]) found = tag;
  return found;
};

/** The tags of the legal sequence with the highest sum of scores (Viterbi). Ties go to the lowest tag. */
export function bestTags(scores) {
  if (scores.some((row) => row.some((score) => !(score < Infinity)))) {
    throw new Error("the model's scores are not numbers, so it is damaged; export it anew");
  }
  if (!scores.length || scores[0].length === FIRST_LABEL) return scores.map(() => O);
  const labels = scores.map(best);
  let [outside, inside] = [0, -Infinity];
  const steps = scores.map((row, i) => {
    const opens = row[labels[i]];
    const continued = inside + Math.max(row[I], opens);
    const opened = outside + opens;
    outside = Math.max(outside, inside) + row[O];
    inside = Math.max(continued, opened);
    return { endsInside: inside > outside, fromInside: continued > opened };
  });
  const tags = scores.map(() => O);
  let isInside = false;
  let nextIsOutside = true;
  for (let i = scores.length - 1; i >= 0; i -= 1) {
    // What stands before O, like the last word, is whichever has the higher sum.
    if (nextIsOutside) isInside = steps[i].endsInside;
    if (isInside) tags[i] = steps[i].fromInside && scores[i][I] >= scores[i][labels[i]] ? I : labels[i];
    nextIsOutside = !isInside;
    isInside = steps[i].fromInside;
  }
  return tags;
}

function logAdd(a, b) {
  const [high, low] = a >= b ? [a, b] : [b, a];
  return low === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
}

function logSum(row) {
  const highest = row.reduce((most, score) => Math.max(most, score), -Infinity);
  if (highest === -Infinity) return highest;
  return highest + Math.log(row.reduce((sum, score) => sum + Math.exp(score - highest), 0));
}

/** The distribution over the legal sequences of one sentence (forward-backward). */
export class Marginals {
  constructor(scores) {
    this.scores = scores;
    const opens = scores.map((row) => logSum(row.slice(FIRST_LABEL)));
    this.before = []; // of each word, by the state of the word before it
    let state = { outside: 0, inside: -Infinity };
    scores.forEach((row, i) => {
      this.before.push({ ...state, both: logAdd(state.outside, state.inside) });
      const { both } = this.before[i];
      state = { outside: both + row[O], inside: logAdd(both + opens[i], state.inside + row[I]) };
    });
    this.total = logAdd(state.outside, state.inside);
    this.after = [];
    state = { outside: 0, inside: 0 };
    for (let i = scores.length - 1; i >= 0; i -= 1) {
      this.after[i] = state;
      const [outside, opened] = [scores[i][O] + state.outside, opens[i] + state.inside];
      state = {
        outside: logAdd(outside, opened),
        inside: logAdd(logAdd(outside, opened), scores[i][I] + state.inside),
      };
    }
  }

  /** A row for each word: the probability of each tag. */
  tags() {
    return this.scores.map((row, i) => {
      const { inside, both } = this.before[i];
      const after = this.after[i];
      return row.map((score, tag) => {
        const before = tag === I ? inside : both;
        return Math.exp(score + before + (tag === O ? after.outside : after.inside) - this.total);
      });
    });
  }

  /** The probability that words `start` to `end` (exclusive) are one span of the label with this tag. */
  span(start, end, tag) {
    let sum = this.before[start].both + this.scores[start][tag];
    for (let i = start + 1; i < end; i += 1) sum += this.scores[i][I];
    return Math.exp(Math.min(sum + this.after[end - 1].outside - this.total, 0));
  }
}
