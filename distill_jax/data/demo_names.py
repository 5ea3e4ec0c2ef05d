"""Names for the embedded data set: open vocabularies composed from syllables and word lists.

Every maker takes a `Stream` and returns the words of one slot value, lower case. The lists are
shared between types on purpose (see `demo.py`); what separates the types is the context.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1


class Stream:
    """SplitMix64 (Steele, Lea and Flood 2014): the same numbers on every platform and version."""

    def __init__(self, seed: str) -> None:
        self._state = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")

    def below(self, bound: int) -> int:
        """An integer in [0, bound), uniform up to a bias of bound / 2**64."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return (z ^ (z >> 31)) % bound

    def choice(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def percent(self, probability: int) -> bool:
        """True with a probability given in percent."""
        return self.below(100) < probability


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ONSETS = _list("b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh st t tr v w z")
VOWELS = _list("a e i o u ai ea ie oo ou")
CODAS = _list("b ck d g l ll m n nd ng r rn rt s sk t th x")
CITY_ENDINGS = _list("burg bury field ford ham haven mont mouth port stead ton ville wick")
CITY_FIRST = _list("east fort lake mount new north port saint san upper west")
CITY_LAST = _list("beach city creek falls heights hills springs valley")
CITIES = _list(
    "austin berlin boston cairo chicago dallas dublin florence geneva havana houston kyoto lima "
    "london madrid memphis milan oslo paris phoenix prague rome savannah sydney tokyo venice "
    "vienna"
)
FIRST_NAMES = _list(
    "adam alice anna april august ben carla chris clara david diana ella eva frank grace hugo "
    "ivan jack jon june kate laura leo lily lucas maria mark may mia nina noah olga oscar paul "
    "rosa ruth sara sofia tom vera victor"
)
SURNAME_ENDINGS = _list("berg ez ini ley man ova sen ski son stein")
NOUNS = _list(
    "angel apple arrow autumn bird boat bottle bridge butter candle castle circle cloud crown "
    "dance desert diamond dream dust eagle echo ember engine feather fire flower forest fox "
    "friend garden ghost glass gold harbor heart hill honey horse hour house island jacket "
    "journey jungle key king kitchen ladder lantern letter light lion machine mirror moon "
    "morning mountain night ocean orange orchard paper pepper piano pilot planet pocket queen "
    "rain ribbon river road robot room rose sailor salt shadow ship shore silver sister snow "
    "soldier spring star station stone storm stranger street summer sun thief thunder tiger "
    "time tower train tree valley violin voice wagon wall water whisper wind window winter wolf "
    "wonder"
)
ADJECTIVES = _list(
    "ancient bitter black blue brave bright broken burning cold crimson crooked dark deep "
    "distant electric empty endless fading final frozen gentle golden green happy hidden hollow "
    "hungry last little lonely lost lucky midnight old pale perfect quiet red restless rising "
    "sacred scarlet secret silent sleeping slow sweet tender twisted velvet violet wandering "
    "warm white wicked wild"
)
GERUNDS = _list(
    "breaking building chasing counting crossing dancing drifting driving falling finding "
    "flying hiding hunting leaving living losing painting racing running sailing saving "
    "stealing waiting waking walking"
)
NUMBERS = _list("two three four five six seven eight nine ten eleven twelve")
WEEKDAYS = _list("monday tuesday wednesday thursday friday saturday sunday")
MONTHS = _list(
    "january february march april may june july august september october november december"
)
CUISINES = _list(
    "cuban ethiopian french georgian german greek indian italian japanese korean lebanese "
    "mexican moroccan nepalese persian peruvian polish spanish syrian thai turkish vegan "
    "vietnamese"
)
SERVICE_ENDINGS = _list("box cast ify ly stream tune wave zo")
GROCERIES = _list(
    "apples bananas beans bread butter cheese coffee cream eggs flour garlic ham honey lemons "
    "milk mushrooms noodles onions oranges pasta pears pepper potatoes rice salt soap spinach "
    "sugar tea tofu tomatoes yogurt"
)
GROCERY_KINDS = _list("brown dried fresh frozen green organic red smoked soy white")
DEVICES = _list(
    "blinds camera dishwasher dryer fan fireplace freezer heater humidifier kettle lamp light "
    "lights oven projector purifier radio router speaker stereo television thermostat toaster "
    "vacuum"
)
DEVICE_KINDS = _list(
    "bedside ceiling corner desk door electric fancy floor little night old reading silver "
    "smart standing table tall wall white window"
)
ROOMS = _list(
    "attic basement bathroom bedroom cellar garage garden hall hallway kitchen library nursery "
    "office pantry porch studio"
)
ROOM_KINDS = _list(
    "back blue dining family front green guest laundry living music red sewing white"
)
STORMS = _list("drizzle hail pour rain sleet snow storm")
SKIES = _list(
    "breezy chilly clear cloudy dry foggy freezing humid icy rainy snowy stormy sunny windy"
)
WEATHER_KINDS = _list("extremely fairly heavily lightly mostly partly quite really slightly very")
MEALS = _list("bistro brasserie cafe canteen cantina diner grill house kitchen tavern")
PLAYLIST_ENDINGS = _list("anthems beats classics essentials favorites hits jams mix mood vibes")
PLAYLIST_MOODS = _list("chill evening gym party road roadtrip sleepy study summer sunday workout")


def syllables(stream: Stream, count: int) -> str:
    """A made-up stem of `count` syllables, the last one closed by a consonant."""
    parts = [stream.choice(ONSETS) + stream.choice(VOWELS) for _ in range(count)]
    return "".join(parts) + stream.choice(CODAS)


def first_name(stream: Stream) -> str:
    if stream.percent(45):
        return stream.choice(FIRST_NAMES)
    stem = stream.choice(ONSETS) + stream.choice(VOWELS) + stream.choice(CODAS)
    return stem + stream.choice(("a", "ia", "ina", "io", "o", "us", "y"))


def surname(stream: Stream) -> str:
    return syllables(stream, 1) + stream.choice(SURNAME_ENDINGS)


def person(stream: Stream) -> list[str]:
    name = [first_name(stream)]
    return [*name, surname(stream)] if stream.percent(40) else name


def city(stream: Stream) -> list[str]:
    if stream.percent(35):
        return [stream.choice(CITIES)]
    name = syllables(stream, 1) + stream.choice(CITY_ENDINGS)
    kind = stream.below(4)
    if kind == 0:
        return [stream.choice(CITY_FIRST), name]
    if kind == 1:
        return [name, stream.choice(CITY_LAST)]
    return [name]


def title(stream: Stream) -> list[str]:
    """The title of a track or a film, free of words that end one (by, on, to, from, for)."""
    noun, other = stream.choice(NOUNS), stream.choice(NOUNS)
    adjective = stream.choice(ADJECTIVES)
    kind = stream.below(12)
    if kind == 0:
        return [adjective, noun]
    if kind == 1:
        return ["the", adjective, noun]
    if kind == 2:
        return [noun, "of", "the", other]
    if kind == 3:
        return [stream.choice(GERUNDS), "in", *city(stream)]
    if kind == 4:
        return city(stream)
    if kind == 5:
        return [first_name(stream)]
    if kind == 6:
        return [stream.choice(GERUNDS), "the", noun]
    if kind == 7:
        return ["my", adjective, noun]
    if kind == 8:
        return [noun, "and", other]
    if kind == 9:
        return [syllables(stream, 1 + stream.below(2))]
    if kind == 10:
        return [noun + "s", "of", *city(stream)]
    return [first_name(stream), "and", "the", noun]


def track(stream: Stream) -> list[str]:
    # Days are kept to tracks, whose templates have no date for them to be mistaken for.
    if stream.percent(8):
        return [stream.choice(ADJECTIVES), stream.choice(WEEKDAYS)]
    return title(stream)


def artist(stream: Stream) -> list[str]:
    kind = stream.below(8)
    if kind <= 1:
        return [first_name(stream), surname(stream)]
    if kind == 2:
        return ["the", stream.choice(NOUNS) + "s"]
    if kind == 3:
        return ["the", stream.choice(ADJECTIVES), stream.choice(NOUNS) + "s"]
    if kind == 4:
        return city(stream)
    if kind == 5:
        return [stream.choice(("dj", "mc", "lady")), syllables(stream, 1)]
    if kind == 6:
        return [stream.choice(ADJECTIVES), stream.choice(NOUNS)]
    return [syllables(stream, 1 + stream.below(2))]


def playlist(stream: Stream) -> list[str]:
    kind = stream.below(6)
    if kind == 0:
        return ["best", "of", *artist(stream)]
    if kind == 1:
        return [*artist(stream), stream.choice(PLAYLIST_ENDINGS)]
    if kind == 2:
        return [stream.choice(PLAYLIST_MOODS), stream.choice(PLAYLIST_ENDINGS)]
    if kind == 3:
        return [stream.choice(ADJECTIVES), stream.choice(NOUNS)]
    if kind == 4:
        return [stream.choice(NOUNS), stream.choice(PLAYLIST_ENDINGS)]
    return ["songs", "of", *city(stream)]


def restaurant(stream: Stream) -> list[str]:
    kind = stream.below(7)
    if kind == 0:
        return [syllables(stream, 1 + stream.below(2)), stream.choice(MEALS)]
    if kind == 1:
        return ["the", stream.choice(ADJECTIVES), stream.choice(NOUNS)]
    if kind == 2:
        return ["chez", first_name(stream)]
    if kind == 3:
        return [*city(stream), stream.choice(MEALS)]
    if kind == 4:
        return [stream.choice(NUMBERS), stream.choice(NOUNS) + "s"]
    if kind == 5:
        return [stream.choice(NOUNS), "and", stream.choice(NOUNS)]
    return [first_name(stream), "'s", stream.choice(MEALS)]


def cuisine(stream: Stream) -> list[str]:
    if stream.percent(50):
        return [stream.choice(CUISINES)]
    return [syllables(stream, 1) + stream.choice(("an", "ese", "ian", "ish"))]


def service(stream: Stream) -> list[str]:
    return [syllables(stream, 1) + stream.choice(SERVICE_ENDINGS)]


def item(stream: Stream) -> list[str]:
    grocery = stream.choice(GROCERIES)
    return [stream.choice(GROCERY_KINDS), grocery] if stream.percent(35) else [grocery]


def device(stream: Stream) -> list[str]:
    kind = stream.below(5)
    if kind <= 1:
        return [stream.choice(DEVICES)]
    if kind == 2:
        return [syllables(stream, 1), stream.choice(DEVICES)]
    return [stream.choice(DEVICE_KINDS), stream.choice(DEVICES)]


def room(stream: Stream) -> list[str]:
    if stream.percent(50):
        return [stream.choice(ROOMS)]
    return [stream.choice(ROOM_KINDS), "room"]


def storm(stream: Stream) -> list[str]:
    return [stream.choice(STORMS)]


def sky(stream: Stream) -> list[str]:
    condition = stream.choice(SKIES)
    return [stream.choice(WEATHER_KINDS), condition] if stream.percent(40) else [condition]


def time(stream: Stream) -> list[str]:
    hour = 1 + stream.below(12)
    kind = stream.below(6)
    if kind == 0:
        return [stream.choice(NUMBERS)]
    if kind == 1:
        return [str(hour), stream.choice(("am", "pm"))]
    if kind == 2:
        return ["half", "past", stream.choice(NUMBERS)]
    if kind == 3:
        return [str(hour), stream.choice(("15", "30", "45")), stream.choice(("am", "pm"))]
    if kind == 4:
        return ["quarter", stream.choice(("past", "to")), stream.choice(NUMBERS)]
    return [stream.choice(("noon", "midnight"))]


def clock(stream: Stream) -> list[str]:
    """A time that says so by itself, for places without the word `at` before it."""
    return [str(1 + stream.below(12)), stream.choice(("am", "pm"))]


def day(stream: Stream) -> list[str]:
    """A date that follows `on`."""
    kind = stream.below(4)
    if kind <= 1:
        return [stream.choice(WEEKDAYS)]
    if kind == 2:
        return [stream.choice(MONTHS), str(1 + stream.below(28))]
    return ["the", str(4 + stream.below(17)) + "th", "of", stream.choice(MONTHS)]


def relative_day(stream: Stream) -> list[str]:
    """A date that needs no preposition."""
    kind = stream.below(4)
    if kind == 0:
        return [stream.choice(("today", "tomorrow", "tonight"))]
    if kind == 1:
        return [stream.choice(("next", "this")), stream.choice(WEEKDAYS)]
    if kind == 2:
        return ["this", stream.choice(("afternoon", "evening", "morning", "weekend"))]
    return ["tomorrow", stream.choice(("afternoon", "evening", "morning", "night"))]


def small_number(stream: Stream) -> list[str]:
    return [stream.choice(NUMBERS)] if stream.percent(50) else [str(2 + stream.below(11))]


def duration(stream: Stream) -> list[str]:
    number = small_number(stream) if stream.percent(60) else [str(5 * (1 + stream.below(11)))]
    return [*number, stream.choice(("hours", "minutes", "seconds"))]


def temperature(stream: Stream) -> list[str]:
    return small_number(stream) if stream.percent(25) else [str(13 + stream.below(70))]


MAKERS: dict[str, Callable[[Stream], list[str]]] = {
    "artist": artist,
    "city": city,
    "cuisine": cuisine,
    "date": relative_day,
    "device": device,
    "duration": duration,
    "item": item,
    "movie": title,
    "party_size": small_number,
    "person": person,
    "playlist": playlist,
    "playlist_owner": person,
    "restaurant": restaurant,
    "room": room,
    "service": service,
    "temperature": temperature,
    "time": time,
    "track": track,
    "weather": sky,
}
"""The makers a template names by their slot alone: `{city}`."""

VARIANTS: dict[str, Callable[[Stream], list[str]]] = {
    "clock": clock,
    "day": day,
    "first_name": lambda stream: [first_name(stream)],
    "storm": storm,
}
"""The makers a template names after the slot: `{date:day}`."""
