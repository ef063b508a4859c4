import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stroma.core.errors import InvalidData, MissingFile
from stroma.core.files import (
    atomic_path,
    canonical_json,
    href,
    id_to_name,
    name_to_id,
    read_json,
    write_json,
    write_text,
)

STRANGE = ["a b", "Größe", "P086#2021_04_15@x,y+z", "a/b/c", "..", ".hidden", "con", "NUL.txt", "tail.", "100%", "~"]


@pytest.mark.parametrize("identifier", STRANGE)
def test_any_id_becomes_one_file_name_and_back(identifier, tmp_path):
    name = id_to_name(identifier)
    assert name_to_id(name) == identifier
    write_text(tmp_path / name, identifier)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert name.partition(".")[0].lower() not in {"con", "nul"}


def test_long_ids_are_cut_and_stay_different():
    names = {id_to_name("ä" * 200 + end) for end in "ab"}
    assert len(names) == 2
    assert max(map(len, names)) <= 180


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    target = write_text(tmp_path / "result.txt", "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_links_are_relative_and_percent_encoded(tmp_path):
    assert href(tmp_path / "a b" / "P1#2,ü.png", tmp_path / "report") == "../a%20b/P1%232%2C%C3%BC.png"


def test_canonical_json_does_not_depend_on_key_order():
    assert canonical_json({"b": 1, "a": [1.5, None]}) == canonical_json({"a": [1.5, None], "b": 1})


def test_read_json_says_what_is_wrong(tmp_path):
    with pytest.raises(MissingFile):
        read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InvalidData, match="not valid JSON"):
        read_json(tmp_path / "bad.json")
    assert read_json(write_json(tmp_path / "ä.json", {"x": "ü"})) == {"x": "ü"}


def test_json_knows_paths_sets_and_numpy_values(tmp_path):
    values = {"p": Path("a/ü"), "s": {2, 1, 3}, "n": np.float32(0.5), "i": np.int64(7), "a": np.arange(3)}
    assert canonical_json(values) == '{"a":[0,1,2],"i":7,"n":0.5,"p":"a/ü","s":[1,2,3]}'
    assert "ü" in write_json(tmp_path / "x.json", {"x": "ü"}).read_text(encoding="utf-8")
    with pytest.raises(TypeError, match="object cannot be written"):
        canonical_json({"x": object()})


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))  # writing more is refused by the system, as on a full disk
from pathlib import Path
import polars as pl
from stroma.core.errors import DiskFull
from stroma.core.files import write_bytes
from stroma.core.provenance import Provenance
from stroma.core.tables import write_table
table = pl.DataFrame({"number": range(9000)})
made = Provenance("x/1", {})
for write in (lambda p: write_bytes(p, bytes(9000)), lambda p: write_table(table, p, made),
              lambda p: write_table(table.lazy(), p, made)):
    try:
        write(Path(sys.argv[1]) / "result.parquet")
    except DiskFull as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are POSIX")
def test_a_disk_that_is_full_is_named_whoever_writes_and_nothing_half_written_stays(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert (
        found
        == [f"{tmp_path}: there is no space left. Free some and run the same command again: what is complete stays."]
        * 3
    )
    assert not list(tmp_path.iterdir())
