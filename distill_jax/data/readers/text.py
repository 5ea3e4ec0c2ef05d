"""Plain text, and the lines `text<TAB>tags`."""

from collections.abc import Iterator

from distill_jax.data.readers.source import Line, Located, Source, is_blank
from distill_jax.errors import UserError
from distill_jax.tagging.sentence import Sentence
from distill_jax_runtime.text import TextWords


def read_text(lines: Iterator[Line], source: Source) -> Iterator[Located]:
    """A sentence a line, by default with words parted by white space; a blank line is a sentence without
    words."""
    rule = source.options.text_words or "blanks"
    source.report.layout = (
        "a sentence a line, words parted by blanks"
        if rule == "blanks"
        else "a sentence a line, words and punctuation"
    )
    for number, line in lines:
        yield Located(number, sentence_of_text(line, rule, source, number))


def sentence_of_text(text: str, rule: TextWords, source: Source, line: int) -> Sentence:
    """The words of a text. Raises `UserError`, naming file and line, if the model takes none."""
    try:
        return Sentence.of_text(text, rule)
    except UserError as error:
        source.fail(line, str(error))


def read_tsv(lines: Iterator[Line], source: Source) -> Iterator[Located]:
    """Lines `text<TAB>tags`, both parted by blanks; a blank line is a sentence without words."""
    source.report.layout = "a sentence a line: words, a tab, as many tags"
    for number, line in lines:
        if is_blank(line):
            yield Located(number, Sentence((), ()))
            continue
        columns = line.split("\t")
        if len(columns) != 2:
            source.fail(
                number,
                f"{len(columns)} columns instead of 2; write the words, one tab, and as many tags",
            )
        words, tags = columns[0].split(), columns[1].split()
        if words[:1] == ["BOS"] and words[-1:] == ["EOS"] and len(words) == len(tags) > 1:
            source.report.note("sentence_marks", number)  # that of EOS is the intent
            words, tags = words[1:-1], tags[1:-1]
        if len(words) != len(tags):
            source.fail(
                number,
                f"{len(words)} words but {len(tags)} tags; give every word exactly one tag",
            )
        yield Located(number, Sentence(tuple(words), source.tags.read(words, tags, number)))
