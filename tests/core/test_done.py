import polars as pl
import pytest

from stroma.core.done import done_path, first_difference, is_complete, write_done
from stroma.core.errors import InvalidData, MissingFile, NewerFormat, OutputConflict
from stroma.core.files import read_json, write_json, write_text
from stroma.core.provenance import InputRecord, Provenance, fingerprint
from stroma.core.tables import read_provenance, read_table, require_columns, write_table


@pytest.fixture
def made(tmp_path):
    source = write_text(tmp_path / "in" / "image.txt", "pixels")
    provenance = Provenance("thing/1", {"a": {"b": 1}}, (InputRecord.of("image", source),))
    output = write_text(tmp_path / "out" / "result.txt", "result")
    record = write_done(done_path(tmp_path / "out", "im/age"), provenance, [output])
    return record, provenance, output, source


def test_a_complete_item_is_recognised(made):
    record, provenance, _, _ = made
    assert record.name == "im%2Fage.done.json"
    assert is_complete(record, provenance) and is_complete(record, provenance, verify=True)


def test_a_missing_or_shortened_output_is_made_again(made):
    record, provenance, output, _ = made
    output.write_text("resul")
    assert not is_complete(record, provenance)
    output.unlink()
    assert not is_complete(record, provenance)


def test_verify_notices_a_changed_byte(made):
    record, provenance, output, _ = made
    output.write_text("resulT")
    assert is_complete(record, provenance)
    assert not is_complete(record, provenance, verify=True)


def test_a_torn_record_counts_as_not_done(made):
    record, provenance, _, _ = made
    record.write_text(record.read_text()[:40])
    assert not is_complete(record, provenance)


def test_other_settings_are_an_error_that_names_the_first_key(made):
    record, provenance, _, _ = made
    with pytest.raises(OutputConflict, match=r"a\.b was 1, is 2.*--overwrite"):
        is_complete(record, Provenance("thing/1", {"a": {"b": 2}}, provenance.inputs))


def test_a_changed_input_is_an_error_that_names_it(made):
    record, provenance, _, source = made
    source.write_text("PIXELS")
    with pytest.raises(OutputConflict, match="'image' has changed"):
        is_complete(record, Provenance("thing/1", provenance.settings, (InputRecord.of("image", source),)))


def test_provenance_has_no_time_host_or_absolute_path(made, tmp_path):
    record, *_ = made
    assert set(read_json(record)) == {"format", "stroma", "settings", "fingerprint", "inputs", "outputs"}
    assert str(tmp_path) not in record.read_text()


def test_the_fingerprint_depends_on_values_not_on_order():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})


def test_first_difference_names_added_and_removed_keys():
    assert first_difference({"a": 1}, {"a": 1}) == ""
    assert first_difference({"a": 1}, {}) == "a was 1, is not set"
    assert first_difference({}, {"x": {"y": [1]}}) == 'x was not set, is {"y":[1]}'


def test_input_records_of_folders_see_every_file(tmp_path):
    write_text(tmp_path / "d" / "a", "1")
    before = InputRecord.of("d", tmp_path / "d")
    write_text(tmp_path / "d" / "b", "2")
    assert InputRecord.of("d", tmp_path / "d").hash != before.hash
    with pytest.raises(MissingFile):
        InputRecord.of("x", tmp_path / "x")


def test_tables_carry_provenance_and_have_equal_bytes(tmp_path):
    table = pl.DataFrame({"x": list(range(5000)), "name": ["ü"] * 5000})
    provenance = Provenance("tiles/1", {"size": 4})
    first, second = (write_table(table, tmp_path / f"{n}.parquet", provenance) for n in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert read_table(first, format="tiles/1").equals(table)
    assert read_provenance(first).settings == {"size": 4}


def test_a_newer_format_is_refused_and_another_kind_named(tmp_path):
    path = write_table(pl.DataFrame({"x": [1]}), tmp_path / "t.parquet", Provenance("tiles/2"))
    with pytest.raises(NewerFormat, match="Update Stroma"):
        read_table(path, format="tiles/1")
    with pytest.raises(InvalidData, match="is a 'tiles/2' file where a 'features' file was expected"):
        read_table(path, format="features/1")


def test_a_broken_table_is_named(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(InvalidData, match="not a readable Parquet file"):
        read_table(tmp_path / "t.parquet")
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "foreign.parquet")
    with pytest.raises(InvalidData, match="no provenance"):
        read_table(tmp_path / "foreign.parquet", format="tiles/1")
    write_json(tmp_path / "x.json", {})


def test_input_records_of_files_see_beginning_end_and_size(tmp_path):
    content = bytearray(200_000)
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    records = [InputRecord.of("a", path)]
    for place in (0, 65_535, 200_000 - 65_536, 199_999):
        changed = content.copy()
        changed[place] = 1
        path.write_bytes(changed)
        records.append(InputRecord.of("a", path))
    path.write_bytes(content + b"\0")
    records.append(InputRecord.of("a", path))
    assert len({(record.size, record.hash) for record in records}) == 6
    assert records[0].size == 200_000


def test_input_records_of_folders_add_sizes_and_see_names(tmp_path):
    write_text(tmp_path / "d" / "a", "12")
    write_text(tmp_path / "d" / "b" / "c", "345")
    before = InputRecord.of("d", tmp_path / "d")
    assert before.size == 5
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "A2")
    assert InputRecord.of("d", tmp_path / "d").hash != before.hash


def test_what_carries_no_whole_provenance_is_told(tmp_path):
    with pytest.raises(InvalidData, match="no valid provenance record"):
        Provenance.from_dict({"format": "tiles/1", "inputs": []})
    path = tmp_path / "t.parquet"
    pl.DataFrame({"x": [1]}).write_parquet(path, metadata={"stroma": "{"})
    with pytest.raises(InvalidData, match="damaged provenance"):
        read_provenance(path)
    with pytest.raises(MissingFile, match="no such table"):
        read_table(tmp_path / "none.parquet")


def test_missing_columns_are_named_beside_those_that_are_there():
    table = pl.DataFrame({"x": [1], "y": [2]})
    require_columns(table, ["y"], where="t")
    with pytest.raises(InvalidData, match="has no column 'z', 'w'. Its columns are x, y"):
        require_columns(table, ["x", "z", "w"], where="t")
