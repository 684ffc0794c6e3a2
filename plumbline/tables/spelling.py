"""Numbers, dates and times of day that are not written as programs write them: told apart.

`shape` says of a cell what it may be, as bits that a column's cells are or-ed by; whoever looks at a whole column makes
a Spelling of them, and plumbline.tables.spelled reads cells by it. No locale or clock of the machine has a say.
"""

import datetime
import re
import unicodedata

from plumbline.tables import columns, duck

# Of a number: how its digits are written
SHORT, LONG, CODE = 1 << 0, 1 << 1, 1 << 2  # 800; 1250; 007, or past int64
POINT, COMMA = 1 << 3, 1 << 4  # surely a decimal point, or comma: 0.5 or 1,234.5; 0,5 or 1.234,5
POINT_3, COMMA_3 = 1 << 5, 1 << 6  # 1.842 or 1,842: a thousand, or three decimals
ROUND_POINT, ROUND_COMMA = 1 << 7, 1 << 8  # and such with a zero at the end: 4.200, which a program would write 4.2
POINTS, COMMAS, SPACES = 1 << 9, 1 << 10, 1 << 11  # surely marks of thousands: 1.234.567, 1,234,567, 1 234
MINUS, PLUS, PERCENT, CURRENCY, BARE = (1 << i for i in range(12, 17))  # BARE: without a unit, and not 0
NUMBER = SHORT | LONG | CODE | POINT | COMMA | POINT_3 | COMMA_3 | POINTS | COMMAS | SPACES
# Of a date
DAY, NO_DMY, NO_MDY, NO_YMD = (1 << i for i in range(17, 21))  # DAY: it is one; NO_*: not if its digits come so
OLD_A, OLD_C = 1 << 21, 1 << 22  # the first, or the last digits are of no clear century, if they are a year
TIMED, ZONED, LOCAL = (1 << i for i in range(23, 26))
CLOCK, MISSING, TEXT = (1 << i for i in range(26, 29))
# Between the digits of a date; LED: whatever is there, for a year of four digits comes first
LED, SLASHED, DOTTED, DASHED = (1 << i for i in range(29, 33))
MARKS = {"/": SLASHED, ".": DOTTED, "-": DASHED}
TRUTH = 1 << 34
WRONG = 1 << 33  # text in the digits of a date or clock: 2021-02-30, 25:61
ORDERS = {"dmy": NO_DMY, "mdy": NO_MDY, "ymd": NO_YMD}
CODES = """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF
CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HRK HTG
HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK
MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD
SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV
WST XAF XCD XOF XPF YER ZAR ZMW ZWL"""  # ISO 4217
SIGNS = ["US$", "R$", "A$", "C$", "$", *"€£¥₹₽₩₺₴₪₫฿₦₱₲₵₸₼₾", "zł", "Kč", "kr.", "kr", "Ft", "Fr.", "Rs.", "Rs"]
UNIT = "|".join(map(re.escape, [*SIGNS, *CODES.split(), "%"]))
WIDE = [*map(chr, range(0xFF10, 0xFF1A)), *map(chr, range(0x660, 0x66A))]  # digits of East Asia, and Arabic ones
UNEVEN = "\N{MINUS SIGN}\u2010\u2011\u2013\uff0d\N{RIGHT SINGLE QUOTATION MARK}\uff05" + "".join(WIDE) + columns.SPACES
EVEN = "-----'%" + 2 * "0123456789" + " " * len(columns.SPACES)
EVENED = str.maketrans(UNEVEN, EVEN)
NUMBERS = (
    rf"(?P<o>\(?) ?(?P<s>[-+]?) ?(?P<u>(?:{UNIT})?) ?(?P<r>[-+]?) ?"
    rf"(?P<b>(?:[0-9.,](?:[0-9.,' ]*[0-9.,])?)(?:[eE][-+]?[0-9]+)?)"
    rf" ?(?P<t>-?) ?(?P<v>(?:{UNIT})?) ?(?P<w>-?) ?(?P<c>\)?)"
)
MOST_DIGITS = 18  # of a whole number, in an int64
INT, POWER = "(?:0|[1-9][0-9]*)", "(?:[eE][-+]?[0-9]+)"
GROUPS = {
    ",": "(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3})",  # the second as in India
    ".": r"[1-9][0-9]{0,2}(?:\.[0-9]{3})+",
    " ": "[1-9][0-9]{0,2}(?:[ '][0-9]{3})+",
}
BODIES = {  # the first that fits
    "0|[1-9][0-9]{0,2}": SHORT,
    r"0[0-9]+(?:[.,][0-9]*)?": CODE,
    "[1-9][0-9]{3,}": LONG,
    r"[1-9][0-9]{0,2}\.[0-9]{2}0": POINT_3 | ROUND_POINT,
    r"[1-9][0-9]{0,2}\.[0-9]{3}": POINT_3,
    "[1-9][0-9]{0,2},[0-9]{2}0": COMMA_3 | ROUND_COMMA,
    "[1-9][0-9]{0,2},[0-9]{3}": COMMA_3,
    rf"{INT}\.[0-9]*{POWER}?|\.[0-9]+{POWER}?|{INT}{POWER}": POINT,
    rf"{INT},[0-9]*{POWER}?|,[0-9]+{POWER}?": COMMA,
    GROUPS[" "]: SPACES,
    GROUPS[","]: COMMAS,
    GROUPS["."]: POINTS,
    rf"{GROUPS[',']}\.[0-9]*": POINT | COMMAS,
    rf"{GROUPS['.']},[0-9]*": COMMA | POINTS,
    rf"{GROUPS[' ']}\.[0-9]*": POINT | SPACES,
    rf"{GROUPS[' ']},[0-9]*": COMMA | SPACES,
}

MONTHS = """jan january januar janvier janv janeiro januari enero ene gennaio gen janner
feb february februar fevrier fevr fev fevereiro februari febrero febbraio
mar march marz mars marco maart marzo mrz mrt maerz
apr april avril avr abril abr aprile
may mai maio mei mayo maggio mag maj
jun june juni juin junho junio giugno giu
jul july juli juillet juil julho julio luglio lug
aug august aout agosto ago augustus augusti
sep sept september septembre setembro set septiembre settembre
oct october oktober okt octobre outubro out octubre ottobre ott
nov november novembre novembro noviembre
dec december dezember dez decembre dezembro diciembre dic dicembre""".splitlines()  # without accents
MONTH = {name: number for number, line in enumerate(MONTHS, 1) for name in line.split()}
NAME = "|".join(sorted(" ".join(MONTHS).split(), key=len, reverse=True))
WEEKDAY = r"^(?:mon|tue|tues|wed|wednes|thu|thur|thurs|fri|sat|satur|sun)(?:day)?[,.]? +"
TO, ORDINAL, YEAR = "[-/. ,]*(?:de |of )?", r"(?:st|nd|rd|th|er|\.)?", "[0-9]{4}|[0-9]{2}"
HOURS = (
    r"(?P<h>[0-9]{1,2}):(?P<i>[0-9]{2})(?::(?P<k>[0-9]{2}(?:[.,][0-9]{1,9})?))? ?(?P<m>(?:[ap]\.?m\.?)?)"
    r" ?(?P<z>(?:z|utc|gmt|(?:utc|gmt)?[-+][0-9]{2}:?(?:[0-9]{2})?)?)"
)
DATES = (
    "(?:(?P<a>[0-9]{1,4}) ?(?P<s>[-/.]) ?(?P<b>[0-9]{1,2}) ?(?P<t>[-/.]) ?(?P<c>[0-9]{1,4})"
    rf"|(?P<d1>[0-9]{{1,2}}){ORDINAL}{TO}~(?P<n1>[0-9]+)_{TO}'?(?P<y1>{YEAR})"
    rf"|~(?P<n2>[0-9]+)_{TO}(?P<d2>[0-9]{{1,2}}){ORDINAL}[-/ .,]+(?P<y2>{YEAR})"
    rf"|(?P<y3>[0-9]{{4}}){TO}~(?P<n3>[0-9]+)_{TO}(?P<d3>[0-9]{{1,2}})"
    rf"|~(?P<n4>[0-9]+)_{TO}(?P<y4>[0-9]{{4}}))"  # a month, which is its first day
    rf"(?:(?:, ?| at | |t|:){HOURS})?"
)


def shape(cell: str) -> tuple[int, str]:
    """What a cell may be, in bits, and its unit, '' for none."""
    even = cell.translate(EVENED).strip()
    if re.fullmatch(columns.BLANK, cell):
        return MISSING, ""
    if not re.search("[0-9]", even):
        return TRUTH if even.lower() in ("true", "false") else TEXT, ""
    n = re.fullmatch(NUMBERS, even)
    signs = "".join(n.group("s", "r", "t", "w", "o")) if n else ""
    if n and len(signs) < 2 and bool(n["o"]) == bool(n["c"]):
        bits = next((bits for pattern, bits in BODIES.items() if re.fullmatch(pattern, n["b"])), 0)
        if bits:
            unit, signs = n["u"] + n["v"], "" if n["b"][-1] in ".," and n["t"] else signs  # 5.- is 5, without cents
            bits |= {"": 0, "+": PLUS}.get(signs, MINUS) | (PERCENT if "%" in unit else CURRENCY if unit else 0)
            bits |= CODE if len(re.sub("[^0-9]", "", n["b"])) > MOST_DIGITS and not bits & (POINT | COMMA) else 0
            return bits | (BARE if not unit and re.search("[1-9]", n["b"]) else 0), unit
    d = re.fullmatch(HOURS, even.lower())
    if d and not d["z"]:
        return CLOCK if _clock(d) else TEXT | WRONG, ""
    d = re.fullmatch(DATES, _numbered(even))
    return (_day_bits(d) if d else TEXT), ""


def _numbered(even: str) -> str:
    """A cell that may be a date without accents and weekday, the name of a month as its number."""
    text = unicodedata.normalize("NFD", even.lower())
    text = re.sub(WEEKDAY, "", "".join(letter for letter in text if not unicodedata.combining(letter)))
    name = re.search(f"(?:^|[^a-z])({NAME})(?:[^a-z]|$)", text)
    return text.replace(name[1], f"~{MONTH[name[1]]}_") if name else text


def _day_bits(d: re.Match) -> int:
    """The bits of a cell whose pieces are a date's, or TEXT."""
    year, month = d["y1"] or d["y2"] or d["y3"] or d["y4"], d["n1"] or d["n2"] or d["n3"] or d["n4"]
    named = (year, month, d["d1"] or d["d2"] or d["d3"] or "1")
    fails = sum(bit for order, bit in ORDERS.items() if not _is_day(named if named[1] else _in_order(d, order)))
    if fails == sum(ORDERS.values()) or (d["h"] and not _clock(d)):
        return TEXT | WRONG
    old_a = OLD_A if _is_old(d["a"] or named[0]) else 0
    old_c = OLD_C if _is_old(named[0] or (d["c"] if len(d["a"]) < 4 else "")) else 0
    mark = LED if len(d["a"] or "") == 4 else MARKS[d["s"]] if d["s"] else 0
    return DAY | fails | old_a | old_c | mark | (TIMED if d["h"] else 0) | (ZONED if d["z"] else LOCAL)


def _in_order(d: re.Match, order: str) -> tuple[str, str, str] | None:
    """Year, month and day of a date in digits; None if it is not so written."""
    first, _, last = map(len, d.group("a", "b", "c"))
    if d["s"] != d["t"]:
        return None
    if first == 4 and last < 3:
        return d.group("a", "b", "c")
    fits = first == 2 and last < 3 if order == "ymd" else first < 3 and last in (2, 4)
    return tuple(d["abc"[order.index(part)]] for part in "ymd") if fits else None


def _is_day(parts: tuple[str, str, str] | None) -> bool:
    """Whether there is such a day."""
    if not parts:
        return False
    year = parts[0] if len(parts[0]) == 4 else ("20" if parts[0] < "30" else "19") + parts[0]
    try:
        return bool(datetime.date(int(year), int(parts[1]), int(parts[2])))
    except ValueError:
        return False


def _clock(d: re.Match) -> bool:
    """Whether there is such a time of day."""
    hour, minute, second = int(d["h"]), int(d["i"]), float((d["k"] or "0").replace(",", "."))
    is_end = hour == 24 and minute == second == 0 and not d["m"]  # of a day
    return is_end or ((1 <= hour <= 12 if d["m"] else hour < 24) and minute < 60 and second < 60)


def _is_old(year: str) -> bool:
    """Whether two digits are of a year whose century programs do not agree on: Excel turns at 30, POSIX at 69."""
    return len(year) == 2 and "30" <= year <= "68"


def key(cell: str) -> str:
    """SQL of what is the same for cells that are of the same shape, so that few are looked at closely.

    The digits of a number, but for zeros, and the minutes and seconds of a clock.
    """
    around = f"[^0-9A-Za-z]*(?:{UNIT})?[^0-9A-Za-z]*"
    space = "[,.'\N{RIGHT SINGLE QUOTATION MARK}" + columns.SPACES + "]"
    number = f"{around}[0-9]+(?:{space}[0-9]{{3}})*(?:[.,][0-9]*)?{around}"
    return (
        f"CASE WHEN {fits(cell, number)} THEN translate({cell}, '12345678', '99999999') "
        f"WHEN contains({cell}, ':') THEN regexp_replace({cell}, ':[0-5][0-9](?:[.,][0-9]+)?', ':00', 'g') "
        f"ELSE {cell} END"
    )


def fits(text: str, pattern: str) -> str:
    """SQL of whether all of a text is of a pattern."""
    return f"regexp_full_match({text}, {duck.text(pattern)})"
