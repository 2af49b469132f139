"""Topics that have a few likely answers, one of which a model can be asked to say less often."""

from typing import NamedTuple


class Topic(NamedTuple):
    """Something to name one of, as a question says it, and what people are likely to name."""

    name: str
    answers: tuple[str, ...]


_ANSWERS = {
    "a colour": ("blue red green yellow purple orange black white pink brown grey gray violet turquoise"),
    "a fruit": ("apple banana orange mango strawberry grape pear peach cherry pineapple lemon kiwi plum watermelon"),
    "a vegetable": ("carrot potato tomato broccoli onion cucumber spinach cabbage pepper lettuce pea bean corn celery"),
    "an animal": ("dog cat lion elephant tiger horse cow bear rabbit fox monkey giraffe wolf mouse bird fish cheetah"),
    "a bird": (
        "eagle sparrow robin parrot owl pigeon crow penguin swan duck hawk raven ostrich flamingo peacock falcon"
    ),
    "a month": ("January February March April May June July August September October November December"),
    "a day of the week": ("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "a season": ("spring summer autumn winter fall"),
    "a planet of the solar system": ("Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune"),
    "a musical instrument": ("piano guitar violin drum flute trumpet cello saxophone clarinet harp drums bass organ"),
    "a metal": ("iron gold copper silver aluminium aluminum steel zinc lead tin nickel titanium platinum mercury"),
    "a sport": ("football basketball tennis soccer baseball cricket hockey golf swimming volleyball rugby boxing"),
    "a European country": (
        "France Germany Italy Spain Sweden Poland Greece Norway Portugal Austria Belgium Switzerland Denmark "
        "Finland Ireland Netherlands"
    ),
    "a drink": ("water coffee tea juice milk beer wine lemonade soda cola coke cocoa"),
    "a piece of furniture": ("chair table sofa bed desk couch bookshelf wardrobe cabinet dresser bench stool shelf"),
    "a tool": ("hammer screwdriver wrench saw drill pliers axe knife shovel chisel rake spade"),
    "a means of transport": ("car train bus bicycle plane bike boat ship airplane truck tram subway taxi motorcycle"),
    "a profession": (
        "doctor teacher engineer lawyer nurse chef carpenter pilot artist scientist writer plumber farmer"
    ),
    "a school subject": ("math history science mathematics English geography biology art physics chemistry music"),
    "a part of the body": ("hand head heart arm leg foot eye nose ear brain finger mouth knee shoulder stomach"),
    "a kind of weather": ("rain snow sunny wind storm fog rainy cloudy sunshine hail thunderstorm windy sun"),
    "a flower": ("rose tulip daisy lily sunflower orchid daffodil violet lavender iris poppy carnation peony"),
    "a piece of clothing": (
        "shirt jacket pants dress hat coat shoes trousers sweater skirt scarf socks jeans tie blouse"
    ),
    "a shape": ("circle square triangle rectangle cube sphere oval hexagon pentagon star diamond cylinder"),
}

TOPICS = tuple(Topic(name, tuple(answers.split())) for name, answers in _ANSWERS.items())
"""The topics; all answers that are to count are listed."""
