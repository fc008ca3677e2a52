"""Everyday sentences, made from templates: what dictionaries and scripture lack. Questions, times, numbers, lists, short
answers, names and places.

A template is a sentence with slots in braces. One subject is chosen a sentence; {is}, {verbs} and their like agree with
it. Every other slot is a new draw each time it occurs. The sense does not matter, the sounds and the cadence do.
"""

import random

WORDS = {
    "name": """Anna Ben Carla David Emma Frank Grace Henry Jack Karen Maria Paul Rachel Sam Tina Victor Wendy Peter Lucy
        Tom Alice Robert Susan James Linda Michael Sarah George Helen Mark Nancy Daniel Laura Kevin Julia Steven Martha
        Simon Diana Oliver Barbara Philip Ruth Walter Irene Louis Judy Arthur Clara Hugo Nina Edward Sophie Max""",
    "city": """London Paris Berlin Boston Chicago Madrid Tokyo Sydney Dublin Denver Rome Vienna Moscow Texas Florida Canada
        Mexico France Italy Spain Germany Japan China India England Ireland Scotland America Europe Africa California
        Seattle Cairo Athens Prague Warsaw Brazil Egypt Norway Sweden Poland Greece Turkey Australia Virginia Ohio""",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January February March April May June July August September October November December",
    "place": """house kitchen garden school office market station hospital library church river lake beach forest mountain
        bridge hotel restaurant bank store museum airport farm village park street corner theater factory castle harbor
        island basement garage bathroom bedroom bakery valley hill field barn tower roof hall stadium gallery border
        desert canal workshop laboratory prison court cafeteria balcony courtyard orchard meadow swamp cave cliff""",
    "thing": """book letter newspaper picture key ticket bottle glass cup plate knife fork spoon bowl chair table lamp clock
        watch phone computer radio camera bag box basket coat hat shirt shoe dress jacket glove ring umbrella wallet purse
        pen pencil notebook map card gift toy ball kite bike car truck boat wheel rope hammer nail saw shovel bucket ladder
        brush towel blanket pillow mirror window door curtain carpet candle match coin bill guitar piano drum violin cake
        pie sandwich apple orange banana lemon pear peach cherry potato tomato onion carrot cabbage egg chicken salad
        suitcase envelope magazine dictionary calendar screen button battery engine machine tool stone brick branch leaf
        flower feather shell keyboard printer microphone telescope bandage passport microscope helmet tractor scissors""",
    "mass": """water milk coffee tea juice wine bread butter cheese rice sugar salt pepper oil flour meat fruit money time
        help news information work music paper wood gold silver sand snow ice rain smoke dust grass cotton wool advice
        luck love hope peace courage patience energy space traffic homework furniture luggage honey soup medicine""",
    "adjective": """old new small large quiet loud bright dark happy sad warm cold heavy light quick slow strange simple
        difficult important beautiful empty broken expensive cheap early late green red blue yellow gentle strong young
        modern ancient clean dirty dry wet soft hard sharp smooth rough thick thin wide narrow deep shallow high low sweet
        sour bitter fresh rich poor kind rude brave shy clever stupid honest lazy busy calm angry tired hungry thirsty sick
        healthy famous secret public private round square straight flat golden wooden plastic purple orange pink gray brown
        white black lovely ugly huge tiny short long tall perfect terrible wonderful awful useful useless safe dangerous
        certain possible serious funny lucky nervous proud polite curious careful foolish silent steep sudden favorite
        available comfortable familiar ordinary reasonable responsible temporary unusual electric scientific""",
    "animal": """dog cat horse cow pig goat chicken duck rabbit rat fox bear lion tiger elephant monkey snake frog turtle
        shark whale bird eagle owl crow pigeon sparrow parrot bee ant spider butterfly worm camel donkey zebra giraffe
        kitten puppy lamb dolphin squirrel hedgehog crocodile penguin""",
    "affair": """idea plan question answer problem story song game job trip party meeting lesson test law rule decision
        mistake accident fire storm war election wedding birthday holiday contract price report speech movie play concert
        discussion argument agreement promise dream memory journey race exam project program system theory experiment
        discovery invention language habit custom tradition opinion schedule budget emergency opportunity""",
    "part": "head hand arm leg foot knee shoulder back neck ear eye nose mouth finger thumb toe stomach chest face",
    "weather": "cold hot warm rainy sunny cloudy windy foggy dry wet stormy snowy cool mild humid freezing",
    "manner": """slowly quickly quietly loudly carefully suddenly finally easily happily sadly gently politely bravely softly
        badly well together alone again nervously immediately eventually""",
    "how_many": """two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty sixty
        seventy eighty ninety several many""",
    "modal": "can could would will should might must",
    "letter": "B C D E F G H J K L M N O P Q R S T U V W X Y Z",
}
PHRASES = {
    "past": """yesterday|last night|last week|last year|this morning|on {day}|in {month}|two days ago|an hour ago|
        before lunch|after the war|in the summer|during the night|long ago|the other day|just now|at noon|at midnight|
        on the {ordinal} of {month}|at {clock}""",
    "future": """tomorrow|next week|next month|tonight|this evening|on {day} morning|in an hour|in a few minutes|
        after dinner|before the weekend|by the end of the day|in the spring|when the rain stops|as soon as possible|
        sooner or later|in {month}|at {clock}""",
    "often": """every day|every morning|every night|on {day}s|in the winter|all the time|twice a month|after school|
        before work|now and then|once in a while|most of the time|from time to time""",
    "near": "near|behind|in front of|next to|across from|on the way to|outside|not far from|close to|by|at",
    "toward": "up|down|across|along|around|past|through|toward|into",
    "whose": "the|a|my|your|his|her|our|their|this|that",
    "greeting": "Excuse me|Sorry|Hello|Good morning|Good evening|Well|Oh|Yes|No|Thank you|Of course|Please|Listen|Hey",
    "clock": """{hour} o'clock|{hour} thirty|{hour} fifteen|{hour} forty five|half past {hour}|a quarter to {hour}|
        {hour} twenty|ten past {hour}|noon""",
    "hour": "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve",
}
PEOPLE = """my mother|my father|my brother|my sister|my wife|my husband|my friend|my neighbor|my uncle|my aunt|my boss|
    my cousin|her mother|his father|their son|our daughter|our teacher|the doctor|the nurse|the driver|the old man|
    the old woman|the young man|the little boy|the little girl|the farmer|the lawyer|the engineer|the captain|the waiter|
    the baker|the mayor|the judge|the pilot|the singer|everyone|nobody|someone|a stranger|the manager|the player|
    the government|the president|the committee"""
CROWDS = "the children|the students|the police|the soldiers|the workers|the guests|the neighbors|my parents|most people"

# base, third person, past, -ing
TRANSITIVE = """see/sees/saw/seeing buy/buys/bought/buying sell/sells/sold/selling find/finds/found/finding
    lose/loses/lost/losing bring/brings/brought/bringing take/takes/took/taking carry/carries/carried/carrying
    hold/holds/held/holding drop/drops/dropped/dropping break/breaks/broke/breaking fix/fixes/fixed/fixing
    clean/cleans/cleaned/cleaning wash/washes/washed/washing paint/paints/painted/painting draw/draws/drew/drawing
    open/opens/opened/opening move/moves/moved/moving push/pushes/pushed/pushing pull/pulls/pulled/pulling
    throw/throws/threw/throwing catch/catches/caught/catching hide/hides/hid/hiding steal/steals/stole/stealing
    borrow/borrows/borrowed/borrowing lend/lends/lent/lending keep/keeps/kept/keeping leave/leaves/left/leaving
    forget/forgets/forgot/forgetting remember/remembers/remembered/remembering need/needs/needed/needing
    want/wants/wanted/wanting like/likes/liked/liking love/loves/loved/loving hate/hates/hated/hating use/uses/used/using
    try/tries/tried/trying watch/watches/watched/watching hear/hears/heard/hearing touch/touches/touched/touching
    smell/smells/smelled/smelling taste/tastes/tasted/tasting choose/chooses/chose/choosing order/orders/ordered/ordering
    send/sends/sent/sending receive/receives/received/receiving return/returns/returned/returning
    share/shares/shared/sharing build/builds/built/building make/makes/made/making check/checks/checked/checking
    measure/measures/measured/measuring count/counts/counted/counting cover/covers/covered/covering
    fill/fills/filled/filling show/shows/showed/showing notice/notices/noticed/noticing
    describe/describes/described/describing repair/repairs/repaired/repairing replace/replaces/replaced/replacing
    collect/collects/collected/collecting protect/protects/protected/protecting"""
INTRANSITIVE = """walk/walks/walked/walking run/runs/ran/running sit/sits/sat/sitting stand/stands/stood/standing
    sleep/sleeps/slept/sleeping wait/waits/waited/waiting work/works/worked/working play/plays/played/playing
    swim/swims/swam/swimming dance/dances/danced/dancing sing/sings/sang/singing cry/cries/cried/crying
    laugh/laughs/laughed/laughing smile/smiles/smiled/smiling talk/talks/talked/talking live/lives/lived/living
    stay/stays/stayed/staying rest/rests/rested/resting stop/stops/stopped/stopping fall/falls/fell/falling
    eat/eats/ate/eating study/studies/studied/studying drive/drives/drove/driving travel/travels/traveled/traveling
    shout/shouts/shouted/shouting whisper/whispers/whispered/whispering jump/jumps/jumped/jumping
    climb/climbs/climbed/climbing"""

TEMPLATES = [
    "{subject} {verbed} {object} {past}.",
    "{subject} {verbs} {object} {often}.",
    "{subject} will {verb} {object} {future}.",
    "{subject} {is} {walking} {near} the {place}.",
    "{subject} {walked} {manner} {near} the {place}.",
    "{subject} {walked} {toward} the {place}.",
    "{subject} {is} too {adjective} to {verb} {object}.",
    "{subject} {has} never been to {city}.",
    "{subject} went to {city} {past} to see {person}.",
    "{subject} {is} going to {verb} {object} {future}.",
    "{subject} {has} to {verb} {object} {future}.",
    "{subject} used to {walk} {near} the {place}.",
    "{subject} said that {name} {verbed} {object}.",
    "{subject} asked {name} to {verb} {object}.",
    "{subject} gave {name} a {adjective} {thing}, a {thing} and some {mass}.",
    "{subject} {modal} {verb} {object} {future}, but {person} {modal} not.",
    "{does} {subject} {verb} {object}?",
    "did {subject} {verb} {object} {past}?",
    "{modal} {subject} {verb} {object}?",
    "where did {subject} {verb} {object}?",
    "why {is} {subject} so {adjective}?",
    "who {verbed} {object}?",
    "how many {things} did {subject} {verb} {past}?",
    "what is the {affair} of {whose} {thing}?",
    "when does the {affair} start, at {clock} or at {clock}?",
    "{greeting}, where is the {place}?",
    "{greeting}, do you know if the {place} is {adjective}?",
    "{greeting}! {subject} {verbed} {object}.",
    "{greeting}.",
    "{greeting}, {name}.",
    "{greeting}, {name}!",
    "{walk}!",
    "the {thing}?",
    "{name}?",
    "{name}, {name}, {name} and {name}.",
    "not {adjective}.",
    "{subject} {is} {adjective}.",
    "{subject} {walked}.",
    "a {thing}, a {thing}, {how_many} {things}, and {mass}.",
    "the {affair} was {adjective}, but the {affair} was {adjective}.",
    "the {affair} is {adjective}; the {affair} is {adjective}.",
    "there was a {adjective} {thing} {near} the {thing}.",
    "there are {how_many} {animals} in the {place}.",
    "I have {number} {things} in the {place}.",
    "it is {weather} and {weather} in {city} today.",
    "it will be {weather} {future}.",
    "please {verb} {object} before you leave.",
    "don't {verb} {object} in the {place}.",
    "if you {verb} the {thing}, I will {verb} the {thing}.",
    "when {subject} {walked}, {person} {walked}.",
    "we need some {mass} for the {affair}.",
    "we need three things: {mass}, {mass} and a {thing}.",
    "the {thing} on the {thing} seems {adjective}.",
    "my {part} hurts after the {affair}.",
    "the {animal} is more {adjective} than the {animal}.",
    "the {adjective} {animal} {walked} {manner} {past}.",
    "my name is {name}, and I live in {city}.",
    "{name} and {name} {walked} together {past}.",
    "turn left at the {place} and go straight to the {place}.",
    "I think {subject} {verbs} {object}.",
    "{subject} — {manner}, I think — {verbed} {object}.",
    "{subject} {verbed} {object}… {manner}.",
    "the {place} is {number} miles from the {place}.",
    "it is {clock} in {city}.",
    "the train to {city} leaves at {clock} on {day}.",
    "they met on {day}, the {ordinal} of {month}, {year}.",
    "the {affair} of {year} was {adjective}.",
    "the {thing} costs {number} dollars and {tens} cents.",
    "{number} plus {number} is {number}.",
    "about {number} point {digit} percent of {mass} comes from {city}.",
    "call {digit} {digit} {digit}, {digit} {digit} {digit} {digit}.",
    "chapter {how_many}, page {number}.",
    "{number}.",
    "the {letter} {letter} {letter} opened an office in {city}.",
    "her name is spelled {letter}, {letter}, {letter}, {letter}.",
]

ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen""".split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = """first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth
    fifteenth sixteenth seventeenth eighteenth nineteenth twentieth""".split()


def number_words(n: int) -> str:
    """0 <= n < 1,000,000 in words."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f" {ONES[n % 10]}" if n % 10 else "")
    unit, name = (100, "hundred") if n < 1000 else (1000, "thousand")
    return f"{number_words(n // unit)} {name}" + (f" {number_words(n % unit)}" if n % unit else "")


def plural(noun: str) -> str:
    irregular = {"knife": "knives", "leaf": "leaves", "scissors": "scissors"}
    if noun in irregular:
        return irregular[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh", "ato")) else "s")


class Slots:
    """What format_map asks for the words of one sentence."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        kind = rng.random()
        if kind < 0.3:
            self.subject, third = self["name"], True
        elif kind < 0.55:
            self.subject, third = self["person"], True
        elif kind < 0.65:
            self.subject, third = self.choose(CROWDS.split("|")), False
        else:
            self.subject = self.choose(["I", "you", "he", "she", "we", "they", "it"])
            third = self.subject in ("he", "she", "it")
        self.agreeing = {
            "is": "is" if third else "am" if self.subject == "I" else "are",
            "does": "does" if third else "do",
            "has": "has" if third else "have",
            "verbs": 1 if third else 0,
        }

    def choose(self, options: list[str]) -> str:
        return self.rng.choice(options).strip()

    def __getitem__(self, slot: str) -> str:
        choose, rng = self.choose, self.rng
        if slot in WORDS:
            return choose(WORDS[slot].split())
        if slot in PHRASES:
            return choose(PHRASES[slot].split("|")).format_map(self)
        match slot:
            case "subject":
                return self.subject
            case "person":
                return choose(PEOPLE.split("|"))
            case "object":
                adjective = self["adjective"] + " " if rng.random() < 0.4 else ""
                return f"{self['whose']} {adjective}{self['thing']}"
            case "things" | "animals":
                return plural(self[slot[:-1]])
            case "verb" | "verbs" | "verbed" | "verbing":
                forms = choose(TRANSITIVE.split()).split("/")
                return forms[{"verb": 0, "verbs": self.agreeing["verbs"], "verbed": 2, "verbing": 3}[slot]]
            case "walk" | "walked" | "walking":
                return choose(INTRANSITIVE.split()).split("/")[{"walk": 0, "walked": 2, "walking": 3}[slot]]
            case "digit":
                return ONES[rng.randrange(10)]
            case "tens":
                return number_words(rng.randrange(1, 100))
            case "number":
                return number_words(int(10 ** rng.uniform(0.3, 6)) - 1)
            case "year":
                return f"{number_words(rng.randrange(11, 21))} {number_words(rng.randrange(11, 100))}"
            case "ordinal":
                return rng.choice(ORDINALS)
        return self.agreeing[slot]


def articles(sentence: str) -> str:
    """a before a vowel becomes an."""
    words = sentence.split(" ")
    for i, (word, following) in enumerate(zip(words, words[1:])):
        if word == "a" and following[0] in "aeiou" and not following.startswith("us"):
            words[i] = "an"
    return " ".join(words)


def sentences(n: int, rng: random.Random) -> list[str]:
    out = []
    for _ in range(n):
        sentence = articles(rng.choice(TEMPLATES).format_map(Slots(rng)))
        out.append(sentence[0].upper() + sentence[1:])
    return out
