// From words to ids, as distill_jax_runtime/word_ids.py looks them up.

import { charactersOf } from "./text.js";

const UNKNOWN = 1; // 0 is padding
const FIRST = 2;

export class Vocabulary {
  /** Of what `word_vocabulary.json` holds, and with `frozen_words`, an export's `frozen_words.txt`. */
  constructor({ words, characters, lowercase, frozen_words: frozen = [] }) {
    this.lowercase = lowercase;
    // A word that is trained and frozen has the id of the trained one.
    this.wordIds = new Map(frozen.map((word, row) => [word, FIRST + words.length + row]));
    words.forEach((word, row) => this.wordIds.set(word, FIRST + row));
    this.characterIds = new Map(characters.map((character, row) => [character, FIRST + row]));
  }

  wordId(word) {
    return this.wordIds.get(this.lowercase ? word.toLowerCase() : word) ?? UNKNOWN;
  }

  /** The ids of a word's characters, of its first and its last if there are more than `most`. */
  characterIdsOf(word, most) {
    const characters = charactersOf(word);
    const tail = Math.floor(most / 2);
    if (characters.length > most) characters.splice(most - tail, characters.length - most);
    return characters.map((character) => this.characterIds.get(character) ?? UNKNOWN);
  }
}
