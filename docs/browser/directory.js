// The files of an export, fetched and checked.

const AGAIN = "copy the directory again, or export the model anew";

async function fetched(url) {
  let answer;
  try {
    answer = await fetch(url);
  } catch {
    throw new Error(`${url}: cannot be fetched; does the server run, and is it the page's own?`);
  }
  if (!answer.ok) throw new Error(`${url}: cannot be read (${answer.status}); ${AGAIN}`);
  return answer.arrayBuffer();
}

function parsed(url, content) {
  try {
    return JSON.parse(new TextDecoder().decode(content));
  } catch {
    throw new Error(`${url}: not valid JSON; ${AGAIN}`);
  }
}

async function check(url, content, expected) {
  // Browsers have hashes where the page comes by https or from this machine.
  if (!globalThis.crypto?.subtle) return;
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const found = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== expected) throw new Error(`${url}: damaged, or not what was exported; ${AGAIN}`);
}

/**
 * What `distill-jax export --to onnx` wrote of a BiLSTM, below the address `base`: the `settings` of `tagger.json`,
 * the `vocabulary`, and the graphs, `words` and `spelling`, each with the file of its large tables if it has one. Throws
 * an `Error` in one line that names the file, if one is missing, damaged or of another kind.
 */
export async function readDirectory(base) {
  const at = (name) => `${base.replace(/\/$/, "")}/${name}`;
  const settings = parsed(at("tagger.json"), await fetched(at("tagger.json")));
  const files = settings.onnx?.files;
  if (!files) throw new Error(`${base}: not an export; write one with \`distill-jax export --to onnx\``);
  if (!("spelling.onnx" in files)) {
    throw new Error(`${base}: the graph of a tagger of subwords; this page runs exports of a BiLSTM`);
  }
  const read = async (name) => {
    if (!(name in files)) return undefined;
    const content = await fetched(at(name));
    await check(at(name), content, files[name]);
    return content;
  };
  const graph = async (name) => {
    const tables = `${name}.data`;
    const [bytes, data] = await Promise.all([read(name), read(tables)]);
    return { bytes, externalData: data ? [{ path: tables, data: new Uint8Array(data) }] : [] };
  };
  const [content, frozen, words, spelling] = await Promise.all([
    read("word_vocabulary.json"), read("frozen_words.txt"), graph("model.onnx"), graph("spelling.onnx"),
  ]);
  const vocabulary = parsed(at("word_vocabulary.json"), content);
  if (frozen) vocabulary.frozen_words = new TextDecoder().decode(frozen).split("\n").slice(0, -1);
  return { settings, vocabulary, words, spelling };
}
