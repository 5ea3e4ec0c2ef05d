"""The embedded data set: voice-assistant commands from a small grammar, for the demo and for tests.

What makes it a fair small stand-in for a slot-filling set:

* Names are composed (syllables, word combinations), so most entity words of a test sentence do not
  occur in a hundred labelled sentences and have to be read from their context.
* The words shared between types are many: a city's name is also a track, an artist or part of a
  restaurant's name; `may` is a month, a person and a modal verb; a number is a time, a party size,
  a temperature, a duration or the beginning of a restaurant's name.
* Spans look nested (a reminder's text that contains a time, a playlist named after an artist), and
  spans touch: of different types (`kitchen` `ceiling fan`, `may 4` `7 pm`) and of one type
  (`invite anna tom and maria`, the items of a shopping list).
* The context decides: templates are written so that their slots cannot be confused or shifted, and
  an F1 near 1 is possible.

Everything is a function of (split, size, seed) alone, on every platform and Python version. For
n < m, `generate(split, n, seed)` is a prefix of `generate(split, m, seed)`. A sentence belongs to a
split by the hash of its words, so two splits never share one, whatever the sizes and seeds.
"""

import re

from distill_jax.data import demo_names
from distill_jax.data.demo_names import Stream
from distill_jax.errors import UserError
from distill_jax.tagging.labels import LabelSet
from distill_jax.tagging.sentence import Sentence

LABELS = LabelSet(names=tuple(sorted({*demo_names.MAKERS, "reminder"})))
"""The 20 slot types of the embedded data set."""

SPLITS = ("train", "valid", "test")
MIN_WORDS, MAX_WORDS = 4, 14

# The first hexadecimal digit of a sentence's hash decides its split.
_DIGITS = {"train": "01234567", "valid": "89ab", "test": "cdef"}
# So many rejected sentences in a row mean that the grammar has run out of new ones.
_MAX_REJECTED = 50_000

# Grammar: `<name>` is replaced by one of the rule's alternatives, `(a|b)` by a or b, `{slot}` or
# `{slot:maker}` by the words of a span. Innermost parentheses are expanded first.
_RULES: dict[str, tuple[str, ...]] = {
    "polite": (
        *[""] * 8,
        "please",
        "hey",
        "ok now",
        "can you",
        "could you",
        "could you please",
        "would you kindly",
        "i want you to",
        "i need you to",
        "go ahead and",
        "assistant",
    ),
    "thanks": (*[""] * 8, "please", "for me", "thanks", "if you can"),
    "play": ("play", "put on", "start playing", "queue up", "spin", "let me hear"),
    "watch": ("show me", "stream", "start the movie", "i want to watch", "let us watch", "put on"),
    "book": ("book", "reserve", "get me", "find me", "arrange"),
    "day": ("on {date:day}", "{date}"),
    "when": (
        "<day>",
        "at {time}",
        "<day> at {time}",
        "at {time} <day>",
        "{date} {time:clock}",
        "on {date:day} {time:clock}",
    ),
    "meeting": ("a meeting", "lunch", "a call", "an interview", "a quick chat"),
    "first_names": ("{person:first_name} {person:first_name} and {person:first_name}",),
    "list": ("shopping list", "grocery list", "shopping basket"),
    "items": (
        "{item}",
        "{item} and {item}",
        "{item} {item} and {item}",
        "{item} {item} {item} {item}",
    ),
    # The words of a reminder's span; its slots stay unmarked.
    "reminder": (
        "call {person}",
        "call {person} at {time}",
        "pay the {device} bill before {date:day}",
        "buy {item} and {item}",
        "buy {item} for {person}",
        "water the plants in the {room}",
        "book a table for {party_size} at {time}",
        "pick up the tickets for {movie}",
        "listen to {track} by {artist}",
        "take the {device} to {city}",
        "walk the dog {date}",
        "turn off the {device}",
        "leave for {city} at {time}",
        "finish the {room} project by {date}",
        "renew my {service} subscription",
    ),
}

_INTENTS: dict[str, tuple[str, ...]] = {
    "music": (
        "<polite> <play> {track} by {artist} <thanks>",
        "<polite> <play> {track} by {artist} (on|from|using|through) {service}",
        "<polite> <play> the (song|track|tune) {track} <thanks>",
        "<polite> <play> (something|some music|anything|songs|a tune) (by|from) {artist} <thanks>",
        "<polite> <play> some {artist} (on|using|through) {service}",
        "(i want|i would like|i am in the mood) to (hear|listen to) {track} by {artist}",
        "may i (hear|listen to) {track} by {artist} <thanks>",
        "who (sings|wrote|recorded|composed) the (song|hit|ballad) {track}",
        "(when|in what year) did {artist} (record|release|write) {track}",
    ),
    "playlist": (
        "<polite> <play> (my|the) {playlist} playlist <thanks>",
        "<polite> <play> the playlist (called|named|titled) {playlist}",
        "<polite> <play> {playlist_owner} 's {playlist} playlist <thanks>",
        "<polite> (add|append|save) {track} by {artist} to my {playlist} playlist",
        "<polite> (add {track} to|put {track} on) {playlist_owner} 's {playlist} playlist",
        "<polite> (add {artist} to|put {artist} on) the playlist (called|named|titled) {playlist}",
        "<polite> (remove|delete) {track} from {playlist_owner} 's {playlist} playlist <thanks>",
        "(what is|which songs are) on {playlist_owner} 's {playlist} playlist",
        "<polite> (share|sync) my {playlist} playlist with {person} <thanks>",
        "<polite> (rename|change) my {playlist} playlist to {playlist}",
    ),
    "movie": (
        "<watch> {movie} on {service}",
        "<polite> <play> the (movie|film|trailer for) {movie}",
        "(is|why is) {movie} (showing|playing|on) in {city} <day>",
        "<polite> <book> {party_size} (tickets|seats) for {movie} <when>",
        "<polite> <book> {party_size} (tickets|seats) for {movie} at the cinema in {city}",
        "who (directed|starred in|produced|wrote) the (movie|film) {movie}",
        "<polite> <play> the (soundtrack|theme song) of the (film|movie) {movie}",
        "what (rating|reviews) did the (movie|film) {movie} get",
    ),
    "restaurant": (
        "<polite> <book> a table for {party_size} at {restaurant} <when>",
        "<polite> <book> a table at {restaurant} for {party_size} <when>",
        "<polite> <book> a table at {restaurant} in {city} <when>",
        "<polite> <book> a table <when> at {restaurant} in {city}",
        "<polite> <book> a {cuisine} (restaurant|place|diner) (in|near|close to) {city}",
        "(where|how) can (i|we) (get|find|eat|order) {cuisine} food in {city} <day>",
        "<polite> order {cuisine} food from {restaurant} for {party_size}",
        "does {restaurant} in {city} (serve|offer|have) {cuisine} (dishes|food)",
        "(is|will) {restaurant} (be open|open|be busy) <day>",
        "<polite> cancel my (table|reservation|booking) at {restaurant} <when>",
    ),
    "weather": (
        "will it {weather:storm} in {city} <day>",
        "(is it|will it be) {weather} in {city} <day>",
        "is it going to (be {weather}|{weather:storm}) in {city} <day>",
        "what is the (weather|forecast|temperature) (in|for) {city} <day>",
        "(weather|forecast|weather report) {city} {date}",
        "how (likely|probable) is it to {weather:storm} <when> in {city}",
        "do i need (an umbrella|a coat|a hat) in {city} <day>",
    ),
    "home": (
        "<polite> (turn|switch) (on|off) the {device} in the {room} <thanks>",
        "<polite> (turn|switch) the {room} {device} (on|off) <thanks>",
        "<polite> (start|stop|dim|check|reset) the {room} {device} <when>",
        "<polite> (set|turn|change) the {device} (in the {room} to|to) {temperature} degrees",
        "<polite> (heat|cool|warm) the {room} to {temperature} <thanks>",
        "<polite> (set|turn|change) the {room} {device} to {temperature} <day>",
        "<polite> (run|leave on) the {device} for {duration} <thanks>",
        "<polite> (lock|unlock|open|close) the {room} (door|window) at {time}",
    ),
    "timer": (
        "<polite> set (a|the) timer for {duration} <thanks>",
        "<polite> (start|begin) a countdown of {duration} <thanks>",
        "<polite> set (an|the|my) alarm for {time} <day>",
        "<polite> wake (me|{person}) up <when>",
        "<polite> (snooze|delay) the {time:clock} alarm (for|by) {duration}",
        "<polite> (cancel|remove) my {date} {time:clock} alarm <thanks>",
        "<polite> pause the {device} for {duration} <thanks>",
        "how long (until|before) {time} in {city}",
    ),
    "people": (
        "<polite> (call|phone|ring|text|message) {person} <when>",
        "<polite> (tell|text|message) {person} (i am late|dinner is ready|we are leaving) <thanks>",
        "<polite> invite <first_names> to (lunch|my party)",
        "<polite> invite {person} to (lunch|dinner|my party) <when>",
        "<polite> (schedule|plan|set up) <meeting> with {person} <when>",
        "<polite> (move|shift) my (meeting|call|lunch) with {person} to {time} <day>",
        "<polite> (share|send) my location (with|to) {person} for {duration}",
        "when (does|will) {person} (arrive in|get to|leave for) {city}",
    ),
    "reminder": (
        "<polite> remind me to {reminder}",
        "<polite> remind me <when> to {reminder}",
        "<polite> remind {person} <day> to {reminder}",
        "<polite> (set|create|add) a reminder for {time} to {reminder}",
        "(do not|never) let {person} forget to {reminder}",
        "<polite> (put|note) {reminder} on my to do list <thanks>",
    ),
    "errand": (
        "<polite> (add <items> to|put <items> on) (my|the|our) <list> <thanks>",
        "<polite> (remove|delete|strike) <items> from (my|the|our) <list>",
        "how (far|long) is the (drive|trip|ride) from {city} to {city}",
        "<polite> (navigate|drive|take me) to {restaurant} in {city} <thanks>",
        "<polite> (give|show) me (directions|the way) from {city} to {city}",
        "(what time|which day) is it in {city}",
        "<polite> find (trains|flights|a bus) (to {city} from|from {city} to) {city} <when>",
        "<polite> (order|buy) <items> (from|on|through) {service} <thanks>",
    ),
}

_CHOICE = re.compile(r"\(([^()]*)\)")
_RULE = re.compile(r"<([a-z_]+)>")
_SLOT = re.compile(r"\{([a-z_]+)(?::([a-z_]+))?\}")


def _expand(template: str, stream: Stream) -> str:
    """The template with rules and choices replaced; slots stay."""
    while (match := _CHOICE.search(template)) or (match := _RULE.search(template)):
        head, tail = template[: match.start()], template[match.end() :]
        options = match[1].split("|") if match.re is _CHOICE else _RULES[match[1]]
        template = head + stream.choice(options) + tail
    return template


def _span_words(slot: str, maker: str | None, stream: Stream) -> list[str]:
    if slot == "reminder":
        inner = _expand("<reminder>", stream)
        words: list[str] = []
        for token in inner.split():
            match = _SLOT.fullmatch(token)
            words += _span_words(match[1], match[2], stream) if match else [token]
        return words
    return (demo_names.VARIANTS[maker] if maker else demo_names.MAKERS[slot])(stream)


def _sentence(stream: Stream) -> Sentence:
    """One sentence of a uniformly drawn intent and template, of any length."""
    template = stream.choice(_INTENTS[stream.choice(tuple(_INTENTS))])
    words: list[str] = []
    tags: list[str] = []
    for token in _expand(template, stream).split():
        match = _SLOT.fullmatch(token)
        if match is None:
            words.append(token)
            tags.append("O")
            continue
        span = _span_words(match[1], match[2], stream)
        words += span
        tags += [f"B-{match[1]}", *[f"I-{match[1]}"] * (len(span) - 1)]
    return Sentence(words=tuple(words), tags=tuple(tags))


def generate(split: str, size: int, seed: int = 0) -> list[Sentence]:
    """`size` different sentences of 4 to 14 words with IOB2 tags.

    Args:
      split: one of `SPLITS`; different splits never share a sentence, whatever the seeds.
      size: the number of sentences.
      seed: the random stream; another seed gives other sentences of the same distribution.

    Raises:
      UserError: an unknown split, or a size below zero or beyond what the grammar can give.
    """
    if split not in _DIGITS:
        raise UserError(f"demo data: no split {split!r}; use one of {', '.join(SPLITS)}")
    if size < 0:
        raise UserError(f"demo data: the size must not be negative, but is {size}")
    stream = Stream(f"distill_jax demo {split} {seed}")
    sentences: list[Sentence] = []
    seen: set[str] = set()
    rejected = 0
    while len(sentences) < size:
        sentence = _sentence(stream)
        identity = sentence.example_id
        if (
            identity in seen
            or identity[0] not in _DIGITS[split]
            or not MIN_WORDS <= len(sentence.words) <= MAX_WORDS
        ):
            rejected += 1
            if rejected > _MAX_REJECTED:
                raise UserError(
                    f"demo data: the grammar gives no more than {len(sentences)} different "
                    f"sentences of the {split} split; ask for fewer than {size}"
                )
            continue
        rejected = 0
        seen.add(identity)
        sentences.append(sentence)
    return sentences
