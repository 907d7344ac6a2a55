"""Writes KDD Census-Income as train, valid and test parquet files with three binary tasks.

python datasets/census_income/prepare.py [--source FOLDER] [--out FOLDER]
"""

import argparse
import gzip
import hashlib
import http.client
import io
import lzma
import tarfile
import urllib.request
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from nextrec_like.errors import InputError

DAMAGED = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError)
FOLDER = Path(__file__).resolve().parent
URL = "https://archive.ics.uci.edu/static/public/117/census+income+kdd.zip"
TRAIN_FILE, TEST_FILE = "census-income.data", "census-income.test"
NOMINAL_FILE = "census-income-full-nominal.arff"

HEADER = """
age class_worker det_ind_code det_occ_code education wage_per_hour hs_college marital_stat major_ind_code
major_occ_code race hisp_origin sex union_member unemp_reason full_or_part_emp capital_gains capital_losses
stock_dividends tax_filer_stat region_prev_res state_prev_res det_hh_fam_stat det_hh_summ instance_weight
mig_chg_msa mig_chg_reg mig_move_reg mig_same mig_prev_sunbelt num_emp fam_under_18 country_father
country_mother country_self citizenship own_or_self vet_question vet_benefits weeks_worked year income_50k
"""
COLUMNS = HEADER.split()
NUMERIC = ("age", "wage_per_hour", "capital_gains", "capital_losses", "stock_dividends", "num_emp", "weeks_worked")
WEIGHT, CLASS = "instance_weight", "income_50k"
NOMINAL = [name for name in COLUMNS if name not in (*NUMERIC, WEIGHT, CLASS)]

POSITIVE = {
    "income": (CLASS, ["50000+."]),
    "never_married": ("marital_stat", ["Never-married"]),
    "college": (
        "education",
        [
            "Bachelors-degree(BA-AB-BS)",
            "Masters-degree(MA-MS-MEng-MEd-MSW-MBA)",
            "Prof-school-degree-(MD-DDS-DVM-LLB-JD)",
            "Doctorate-degree(PhD-EdD)",
        ],
    ),
}

CLASS_COUNTS = {
    "train": {"--50000.": 187_141, "50000+.": 12_382},
    "test": {"--50000.": 93_576, "50000+.": 6_186},
}
DIGESTS = {
    "train": "2dbf2afda58d39c4b37b6b9f5f0dfc96c1658cca87fa2d75568ed4568a5b2f2b",
    "test": "f4b46f88ae578bb50099df908e0a1a7d355bec0a214e5595fb8bb4faa7c80ce0",
}


def members(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Base name and content of a file, or of every file in it if it is an archive, archives within included.

    Everything stays in memory: no path that an archive names is ever written to.
    """
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield from members(entry.filename, archive.read(entry))
    elif name.endswith((".tar", ".tar.gz", ".tgz", ".tar.xz")):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                stream = archive.extractfile(member)  # None for folders and devices
                if stream is not None:
                    yield from members(member.name, stream.read())
    elif name.endswith(".gz"):
        yield from members(name.removesuffix(".gz"), gzip.decompress(content))
    else:
        yield PurePosixPath(name).name, content


def find_files(folder: Path) -> dict[str, bytes]:
    """The data files in a folder, or inside the archives in it, by name.

    Raises:
        InputError: If the folder is missing, an archive is damaged, or the files do not suffice.
    """
    wanted = (TRAIN_FILE, TEST_FILE, NOMINAL_FILE)
    if not folder.is_dir():
        raise InputError(f"`--source` should be a folder. Received {folder}, which is not one.")
    found: dict[str, bytes] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.startswith("census"):
            try:
                inside = members(path.name, path.read_bytes())
                found |= {name: content for name, content in inside if name in wanted}
            except DAMAGED as error:
                raise InputError(f"{path} is damaged ({error}). Delete it and fetch it again: {URL}") from error
    if TEST_FILE not in found or not {TRAIN_FILE, NOMINAL_FILE} & found.keys():
        raise InputError(
            f"{folder} should hold {TEST_FILE} and either {TRAIN_FILE} or {NOMINAL_FILE}, plain or in archives whose "
            f"names start with `census`. Found: {', '.join(found) or 'none of them'}. They are at {URL}"
        )
    return found


def read_table(name: str, content: bytes, columns: Sequence[str]) -> pa.Table:
    """Comma-separated rows without a header, as strings in one spelling: stripped, blanks as "-".

    Raises:
        InputError: If a row does not have one value per column.
    """
    try:
        table = pa_csv.read_csv(
            io.BytesIO(content),
            read_options=pa_csv.ReadOptions(column_names=list(columns)),
            parse_options=pa_csv.ParseOptions(quote_char=False),
            convert_options=pa_csv.ConvertOptions(column_types={column: pa.string() for column in columns}),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"{name} should have {len(columns)} columns in every row. {error}") from error
    return map_columns(table, lambda values: pc.replace_substring(pc.utf8_trim_whitespace(values), " ", "-"))


def map_columns(table: pa.Table, function: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> pa.Table:
    return pa.table({name: function(table[name]) for name in table.column_names})


def read_nominal(name: str, content: bytes) -> pa.Table:
    """The ARFF file: attribute ``attN`` is the N-th of ``COLUMNS``, and the last attribute is the class."""
    header, marker, rows = content.partition(b"@data")
    attributes = [line.split()[1] for line in header.decode().splitlines() if line.startswith("@attribute")]
    columns = [COLUMNS[int(attribute.removeprefix("att")) - 1] for attribute in attributes[:-1]]
    if not marker or columns != NOMINAL:
        raise InputError(f"{name} should be an ARFF file with the attributes of the columns {', '.join(NOMINAL)}.")
    return read_table(name, rows.lstrip(), [*NOMINAL, CLASS])


def lines(table: pa.Table, columns: Sequence[str]) -> list[str]:
    """Each row as one string."""
    return pc.binary_join_element_wise(*table.select(columns).columns, ",").to_pylist()


def remove_rows(full: pa.Table, test: pa.Table) -> pa.Table:
    """What is left of ``full`` after each row of ``test`` is taken out once (a difference of multisets).

    Raises:
        InputError: If a row of ``test`` is not in ``full``.
    """
    columns = full.column_names
    surplus = Counter(lines(test, columns))
    keep = []
    for line in lines(full, columns):
        is_left = surplus[line] == 0
        keep.append(is_left)
        if not is_left:
            surplus[line] -= 1
    if missing := surplus.total():
        raise InputError(f"{missing:,} rows of {TEST_FILE} are not in {NOMINAL_FILE}: they do not belong together.")
    return full.filter(pa.array(keep, pa.bool_()))


def read_parts(files: dict[str, bytes]) -> dict[str, pa.Table]:
    """The official training and test tables, every value a string; the former may lack the numeric columns."""
    test = read_table(TEST_FILE, files[TEST_FILE], COLUMNS)
    if TRAIN_FILE in files:
        train = read_table(TRAIN_FILE, files[TRAIN_FILE], COLUMNS)
    else:
        train = remove_rows(read_nominal(NOMINAL_FILE, files[NOMINAL_FILE]), test)
    return {"train": train, "test": test}


def digest(rows: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def verify(parts: dict[str, pa.Table]) -> None:
    """Compares the content with the published data set, whatever the source was.

    The training file is compared as a set of rows, and in the nominal columns and the class only: that is what
    its two sources have in common. The test file is compared as it is, because it is halved by position.

    Raises:
        InputError: Names the file and what differs.
    """
    for part, name in (("train", TRAIN_FILE), ("test", TEST_FILE)):
        counts = dict(Counter(parts[part][CLASS].to_pylist()))
        if counts != CLASS_COUNTS[part]:
            raise InputError(f"{name} should have these rows per class: {CLASS_COUNTS[part]}. Received {counts}.")
    found = {
        "train": digest(sorted(lines(parts["train"], [*NOMINAL, CLASS]))),
        "test": digest(lines(parts["test"], COLUMNS)),
    }
    for part, name in (("train", TRAIN_FILE), ("test", TEST_FILE)):
        if found[part] != DIGESTS[part]:
            raise InputError(
                f"{name} has the published number of rows, but other values: the SHA-256 of its content should be "
                f"{DIGESTS[part]}. Received {found[part]}."
            )


def finish(table: pa.Table) -> pa.Table:
    """Types, missing values and labels; the survey weight and the class text are dropped."""
    columns, fields = [], []
    for name in table.column_names:
        if name in (WEIGHT, CLASS):
            continue
        values = table[name]
        if name in NUMERIC:
            columns.append(pc.cast(values, pa.int32()))
        else:
            columns.append(pc.if_else(pc.equal(values, "?"), None, values))
        fields.append(pa.field(name, columns[-1].type))
    for label, (source, positive) in POSITIVE.items():
        columns.append(pc.cast(pc.is_in(table[source], pa.array(positive)), pa.int8()))
        fields.append(pa.field(label, pa.int8(), metadata={"derived_from": source}))
    return pa.table(columns, schema=pa.schema(fields))


def halve(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Two random halves, each in the order of the file, always the same ones."""
    order = np.random.default_rng(0).permutation(len(table))
    first, second = np.sort(order[: len(table) // 2]), np.sort(order[len(table) // 2 :])
    return table.take(first), table.take(second)


def download(folder: Path) -> Path:
    """Fetches the archive into a folder unless it is there; returns the folder.

    Raises:
        InputError: If the download fails; says how to do without it.
    """
    target = folder / "census+income+kdd.zip"
    if target.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(URL, timeout=60) as response:
            content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"Could not download {URL} ({error}). Fetch it by hand and pass its folder with `--source`."
        ) from error
    target.write_bytes(content)
    return folder


def summary(parts: dict[str, pa.Table]) -> str:
    """A table of the size of each part and of its rates."""
    report = [f"{'part':<6} {'rows':>8} {'columns':>8} " + " ".join(f"{label:>14}" for label in POSITIVE)]
    for name, part in parts.items():
        rates = " ".join(f"{pc.mean(part[label]).as_py():>14.2%}" for label in POSITIVE)
        report.append(f"{name:<6} {len(part):>8,} {part.num_columns:>8} {rates}")
    return "\n".join(report)


def prepare(source: Path) -> dict[str, pa.Table]:
    """Everything from a folder of raw files to the three tables."""
    raw = read_parts(find_files(source))
    verify(raw)
    valid, test = halve(finish(raw["test"].select(raw["train"].column_names)))
    return {"train": finish(raw["train"]), "valid": valid, "test": test}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Prepare the KDD Census-Income data set.")
    parser.add_argument("--source", type=Path, help="folder with the raw files; without it they are downloaded")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for train, valid and test.parquet")
    arguments = parser.parse_args(argv)
    try:
        parts = prepare(arguments.source or download(FOLDER / "raw"))
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        pq.write_table(part, arguments.out / f"{name}.parquet")
    print(summary(parts))


if __name__ == "__main__":
    main()
