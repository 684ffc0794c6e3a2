"""Numbers, dates and times of day as people write them, such as 1,234.50 € or 3 March 2021.

`shape` tells what a cell may be, as bits. From the bits of all cells of a column, plumbline.sources.spellings chooses
its Spelling. `plain` and `value` read cells by that. The machine's locale and clock do not matter.
"""

import datetime
import functools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable

from plumbline.basics.errors import UserError
from plumbline.tables import columns, duck
from plumbline.tables.store import Spelling, Table

# Bits of a cell that may be a number: how its digits are written
SHORT, LONG, CODE = 1 << 0, 1 << 1, 1 << 2  # 800; 1250; 007, or a number past int64
POINT, COMMA = 1 << 3, 1 << 4  # surely a decimal point (0.5, 1,234.5) or comma (0,5, 1.234,5)
POINT_3, COMMA_3 = 1 << 5, 1 << 6  # 1.842 or 1,842: either thousands or three decimals
ROUND_POINT, ROUND_COMMA = 1 << 7, 1 << 8  # the same with a 0 at the end: 4.200, for which a program would write 4.2
POINTS, COMMAS, SPACES = 1 << 9, 1 << 10, 1 << 11  # surely marks between thousands: 1.234.567, 1,234,567, 1 234
SURE_POINT, SURE_COMMA = POINT | COMMAS, COMMA | POINTS  # if commas are between thousands, decimals have a point
MINUS, PLUS, PERCENT, CURRENCY, BARE = (1 << i for i in range(12, 17))  # BARE: without a unit, and not 0
NUMBER = SHORT | LONG | CODE | POINT | COMMA | POINT_3 | COMMA_3 | POINTS | COMMAS | SPACES
# Bits of a cell that may be a date
DAY, NO_DMY, NO_MDY, NO_YMD = (1 << i for i in range(17, 21))  # DAY: it is one; NO_*: not in this order of its digits
OLD_A, OLD_C = 1 << 21, 1 << 22  # if the first, or last, digits are a year, its century is not clear
TIMED, ZONED, LOCAL = (1 << i for i in range(23, 26))  # with a time of day; with, or without, a time zone
CLOCK, MISSING, TEXT = (1 << i for i in range(26, 29))  # of any cell: a time of day alone, nothing, or none of all this
# The mark between the digits of a date; LED: a year of four digits comes first, and the mark says nothing
LED, SLASHED, DOTTED, DASHED = (1 << i for i in range(29, 33))
MARKS = {"/": SLASHED, ".": DOTTED, "-": DASHED}
WRONG, TRUTH = 1 << 33, 1 << 34  # WRONG: written as a date or time that does not exist, as 2021-02-30 and 25:61
ORDERS = {"dmy": NO_DMY, "mdy": NO_MDY, "ymd": NO_YMD}
IN_WORDS = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}
TRUTHS = ("true", "false")
UNSPELLED = {"number": "DOUBLE", "duration": "DOUBLE", "instant": "TIMESTAMP", "time of day": "TIME"}
CODES = """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF
CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HRK HTG
HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK
MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD
SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV
WST XAF XCD XOF XPF YER ZAR ZMW ZWL"""  # ISO 4217
SIGNS = ["US$", "R$", "A$", "C$", "$", *"€£¥₹₽₩₺₴₪₫฿₦₱₲₵₸₼₾", "zł", "Kč", "kr.", "kr", "Ft", "Fr.", "Rs.", "Rs"]
UNIT = "|".join(map(re.escape, [*SIGNS, *CODES.split(), "%"]))
DIGITS = [*map(chr, range(0xFF10, 0xFF1A)), *map(chr, range(0x660, 0x66A))]  # full-width and Arabic digits
NORMAL = dict(zip("\N{MINUS SIGN}\u2010\u2011\u2013\uff0d\N{RIGHT SINGLE QUOTATION MARK}\uff05", "-----'%"))
NORMAL |= dict(zip(DIGITS, 2 * "0123456789")) | dict.fromkeys(columns.SPACES, " ")
NORMALIZE = str.maketrans(NORMAL)
NUMBERS = (
    rf"(?P<open>\(?) ?(?P<sign>[-+]?) ?(?P<unit>(?:{UNIT})?) ?(?P<sign_2>[-+]?) ?"
    rf"(?P<digits>(?:[0-9.,](?:[0-9.,' ]*[0-9.,])?)(?:[eE][-+]?[0-9]+)?)"
    rf" ?(?P<sign_3>-?) ?(?P<unit_2>(?:{UNIT})?) ?(?P<sign_4>-?) ?(?P<close>\)?)"
)
MOST_DIGITS = 18  # of a whole number that fits an int64
INT, POWER = "(?:0|[1-9][0-9]*)", "(?:[eE][-+]?[0-9]+)"
GROUPS = {
    ",": "(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3})",  # the second as in India
    ".": r"[1-9][0-9]{0,2}(?:\.[0-9]{3})+",
    " ": "[1-9][0-9]{0,2}(?:[ '][0-9]{3})+",
}
DIGITS_BITS = {  # bits by the pattern of a number's digits; the first that matches counts
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
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}(?:[.,][0-9]{1,9})?))?"
    r" ?(?P<half>(?:[ap]\.?m\.?)?) ?(?P<zone>(?:z|utc|gmt|(?:utc|gmt)?[-+][0-9]{2}:?(?:[0-9]{2})?)?)"
)
DATES = (  # the last is a month, for which its first day stands
    "(?P<a>[0-9]{1,4}) ?(?P<mark>[-/.]) ?(?P<b>[0-9]{1,2}) ?(?P<mark_2>[-/.]) ?(?P<c>[0-9]{1,4})",
    rf"(?P<day>[0-9]{{1,2}}){ORDINAL}{TO}(?P<month>{NAME}){TO}'?(?P<year>{YEAR})",
    rf"(?P<month>{NAME}){TO}(?P<day>[0-9]{{1,2}}){ORDINAL}[-/ .,]+(?P<year>{YEAR})",
    rf"(?P<year>[0-9]{{4}}){TO}(?P<month>{NAME}){TO}(?P<day>[0-9]{{1,2}})",
    rf"(?P<month>{NAME}){TO}(?P<year>[0-9]{{4}})",
)
DATED = [re.compile(rf"{date}(?:(?:, ?| at | |t|:){HOURS})?") for date in DATES]


def shape(cell: str) -> tuple[int, str]:
    """What a cell may be, as bits, and its unit or ''."""
    normal = _normalized(cell)
    if re.fullmatch(columns.BLANK, cell):
        return MISSING, ""
    if not re.search("[0-9]", normal):
        return TRUTH if normal.lower() in TRUTHS else TEXT, ""
    sign, digits, unit = _number(normal)
    bits = next((bits for pattern, bits in DIGITS_BITS.items() if re.fullmatch(pattern, digits)), 0)
    if bits:
        bits |= {"": 0, "+": PLUS}.get(sign, MINUS) | (PERCENT if "%" in unit else CURRENCY if unit else 0)
        bits |= CODE if len(re.sub("[^0-9]", "", digits)) > MOST_DIGITS and not bits & (POINT | COMMA) else 0
        return bits | (BARE if not unit and re.search("[1-9]", digits) else 0), unit
    clock = re.fullmatch(HOURS, normal.lower())
    if clock and not clock["zone"]:
        return CLOCK if _clock(clock) else TEXT | WRONG, ""
    d = _dated(normal)
    return (_day_bits(d) if d else TEXT), ""


def plain(cell: str | None, by: Spelling) -> str | None:
    """Rewrite a cell as 1234.5 or 2021-12-31 23:59:00+00:00. None if it does not fit the spelling."""
    normal = _normalized(cell or "")
    if by.type == "BOOLEAN":
        return normal if normal.lower() in TRUTHS else None
    if by.type in ("BIGINT", "DOUBLE"):
        return _plain_number(normal, by)
    if by.type == "TIME":
        clock = re.fullmatch(HOURS, normal.lower())
        return (_clock(clock) or None) if clock and not clock["zone"] else None
    d = _dated(normal)
    if not d or bool(d["zone"]) != (by.type == "TIMESTAMPTZ") or (d["hour"] and by.type == "DATE"):
        return None
    parts, clock = _day_parts(d, by.order), _clock(d) if d["hour"] else ""
    day = _day(parts)
    if not day or _is_old(parts[0]) or (d["hour"] and not clock):
        return None
    return f"{day} {clock}{_zone(d)}" if clock else day


def _normalized(cell: str) -> str:
    """A cell with ASCII digits, spaces, minus signs and apostrophes, and without spaces around it."""
    return cell.translate(NORMALIZE).strip()


# ---- numbers


def _number(normal: str) -> tuple[str, str, str]:
    """Sign, digits with their marks, and unit of a number. All are '' for another cell."""
    n = re.fullmatch(NUMBERS, normal)
    sign = "".join(n.group("sign", "sign_2", "sign_3", "sign_4", "open")) if n else ""  # ( as in (5) is a minus
    if not n or len(sign) > 1 or bool(n["open"]) != bool(n["close"]):
        return "", "", ""
    if n["sign_3"] and n["digits"][-1] in ".,":  # 5.- is 5, without cents
        sign = ""
    return sign, n["digits"], n["unit"] + n["unit_2"]


def _plain_number(normal: str, by: Spelling) -> str | None:
    sign, digits, unit = _number(normal)
    is_share = by.unit == "%" and not unit and re.search("[1-9]", digits)  # 0.05 among percentages may be 5 %
    if unit not in ("", by.unit) or is_share or not _digits(by).fullmatch(digits):
        return None
    return "-" * (sign in ("-", "(")) + re.sub(f"[^0-9eE+{by.decimal}-]", "", digits).replace(by.decimal, ".")


@functools.cache
def _digits(by: Spelling) -> re.Pattern:
    """The pattern of digits in a column's spelling."""
    whole, mark = "|".join([INT, *(GROUPS[each] for each in by.thousands)]), re.escape(by.decimal)
    some = "(?:[0-9]{1,2}|[0-9]{4,})?" if by.thousands and by.type == "BIGINT" else "[0-9]*"  # 1.842 is ambiguous
    return re.compile(f"(?:{whole})(?:{mark}{some})?{POWER}?|{mark}[0-9]+{POWER}?")


# ---- dates and times of day


def _dated(normal: str) -> dict[str, str] | None:
    """The parts of a date, with or without a time of day, by group name; '' for none. None for another cell."""
    text = normal.lower()
    if re.search(r"[^\W\d_]{3}", text):  # a month's name, which may have accents
        text = "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))
        text = re.sub(WEEKDAY, "", text)
    found = next(filter(None, (date.fullmatch(text) for date in DATED)), None)
    return defaultdict(str, found.groupdict("")) if found else None


def _day_bits(d: dict[str, str]) -> int:
    """The bits of a cell with the parts of a date."""
    bits = 0
    for order, fails in ORDERS.items():
        parts = _day_parts(d, order)
        if not _day(parts):
            bits |= fails
        elif _is_old(parts[0]):
            bits |= OLD_A if order == "ymd" else OLD_C
    if bits == sum(ORDERS.values()) or (d["hour"] and not _clock(d)):
        return TEXT | WRONG
    mark = LED if len(d["a"]) == 4 else MARKS[d["mark"]] if d["mark"] else 0
    return DAY | bits | mark | (TIMED if d["hour"] else 0) | (ZONED if d["zone"] else LOCAL)


def _day_parts(d: dict[str, str], order: str) -> tuple[str, str, str] | None:
    """Year, month and day. None if the date's digits cannot be in this order: dmy, mdy or ymd, or '' for unknown."""
    if d["month"]:
        return d["year"], str(MONTH[d["month"]]), d["day"] or "1"
    first, last = len(d["a"]), len(d["c"])
    if d["mark"] != d["mark_2"]:
        return None
    if first == 4 and last < 3:
        return d["a"], d["b"], d["c"]
    fits = first == 2 and last < 3 if order == "ymd" else first < 3 and last in (2, 4)
    if not order or not fits:
        return None
    digits = dict(zip(order, (d["a"], d["b"], d["c"])))
    return digits["y"], digits["m"], digits["d"]


@functools.lru_cache
def _day(parts: tuple[str, str, str] | None) -> str:
    """A day in ISO 8601, or '' if it does not exist. Years of two digits are 1930 to 2029, as in Excel."""
    if not parts:
        return ""
    year = parts[0] if len(parts[0]) == 4 else ("20" if parts[0] < "30" else "19") + parts[0]
    try:
        return datetime.date(int(year), int(parts[1]), int(parts[2])).isoformat()
    except ValueError:
        return ""


def _is_old(year: str) -> bool:
    """Whether programs disagree on the century of a year of two digits: Excel changes it at 30, POSIX at 69."""
    return len(year) == 2 and "30" <= year <= "68"


def _clock(d: re.Match | dict[str, str]) -> str:
    """A time of day in ISO 8601, or '' if it does not exist."""
    hour, minute, second = int(d["hour"]), int(d["minute"]), (d["second"] or "00").replace(",", ".")
    if d["half"]:
        hour = hour % 12 + 12 * (d["half"][0] == "p") if 1 <= hour <= 12 else 99
    is_end = hour == 24 and minute == float(second) == 0  # 24:00, the end of a day
    exists = is_end or (hour < 24 and minute < 60 and float(second) < 60)
    return f"{hour:02}:{d['minute']}:{second}" if exists else ""


def _zone(d: dict[str, str]) -> str:
    """A time zone in ISO 8601, or '' if there is none."""
    hours = re.fullmatch("(?:utc|gmt)?([-+][0-9]{2}):?([0-9]{0,2})", d["zone"])
    return f"{hours[1]}:{hours[2] or '00'}" if hours else "+00:00" * bool(d["zone"])


# ---- in SQL


def value(cell: str, by: Spelling, kind: str = "") -> str:
    """SQL of a cell's value by a column's spelling. NULL if it is missing, or does not fit.

    kind: DuckDB's type of the value, if not the spelling's own.
    """
    return f"try_cast({duck.function(_reader(by))}({cell}) AS {kind or by.type})"


@functools.cache
def _reader(by: Spelling) -> Callable[[str | None], str | None]:
    return functools.lru_cache(2**16)(lambda cell: plain(cell, by))  # many dates come again


def number(table: Table, name: str, kind: str, by: Spelling | None) -> str:
    """SQL of a column of text as DOUBLE, as `columns.number_or_nan` of a column of numbers. Missing cells are nan.

    kind: number, instant, time of day or duration. by: the training table's spelling, if the column was text there.
    UserError for the first cell that does not fit.
    """
    used, cell = by or Spelling(UNSPELLED[kind], ""), f"{duck.name(name)}::VARCHAR"
    if used.type in ("BIGINT", "DOUBLE"):
        read = value(cell, used, "DOUBLE")
    else:
        read = f"{value(cell, used)}::DOUBLE" if used.type == "BOOLEAN" else f"epoch({value(cell, used)})"
    is_odd = f"({read}) IS NULL AND {columns.text(name)} IS NOT NULL"
    if found := columns.first(table, name, is_odd, duck.name(name)):
        row, odd = found
        such = f" such as {by.example!r}" if by else ""
        raise UserError(
            f"column {name!r} holds {odd!r} in {table.placed(row)}, and the model was trained on {in_words(used)}"
            f"{such} there; mend the row, or train anew"
        )
    return f"coalesce({read}, 'nan'::DOUBLE)"


def in_words(by: Spelling) -> str:
    """A spelling in words."""
    if by.type not in ("BIGINT", "DOUBLE"):
        thing = {"DATE": "dates", "TIME": "times of day", "BOOLEAN": "truth values"}.get(by.type, "dates with times")
        return f"{thing}, {IN_WORDS[by.order]}" if by.order else thing
    marks = " with decimal commas" if by.decimal == "," and by.type == "DOUBLE" else ""
    return f"numbers{marks}" + (f" in {by.unit}" if by.unit else "")


def key(cell: str) -> str:
    """SQL of a key that only cells of the same shape share, so that `shape` has to look at few.

    Digits of a number become 9, except zeros. Minutes and seconds of a time of day become 00.
    """
    around = f"[^0-9A-Za-z]*(?:{UNIT})?[^0-9A-Za-z]*"
    space = "[,.'\N{RIGHT SINGLE QUOTATION MARK}" + columns.SPACES + "]"
    number = f"{around}[0-9]+(?:{space}[0-9]{{3}})*(?:[.,][0-9]*)?{around}"
    return (
        f"CASE WHEN regexp_full_match({cell}, {duck.text(number)}) THEN translate({cell}, '12345678', '99999999') "
        f"WHEN contains({cell}, ':') THEN regexp_replace({cell}, ':[0-5][0-9](?:[.,][0-9]+)?', ':00', 'g') "
        f"ELSE {cell} END"
    )
