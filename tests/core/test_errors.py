import pickle

import pytest

from stroma.core.errors import ConfigError, InvalidData, OutputConflict, StromaError, UnreadableImage, nearest


def test_an_error_is_one_line_with_where_what_and_the_next_step():
    error = UnreadableImage("is 1,024 bytes,\n a cube needs more", where="a b.dat", next_step="Copy it again")
    assert str(error) == "a b.dat: is 1,024 bytes, a cube needs more. Copy it again."


def test_a_question_keeps_its_mark():
    assert str(StromaError("no 'a'", next_step="Did you mean 'b'?")) == "no 'a'. Did you mean 'b'?"


@pytest.mark.parametrize(
    ("kind", "code"), [(StromaError, 1), (InvalidData, 1), (OutputConflict, 1), (ConfigError, 2)]
)
def test_exit_codes(kind, code):
    assert kind("x").exit_code == code


def test_errors_travel_between_processes():
    error = InvalidData("wrong", where="file", next_step="Mend it")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), str(copy)) == (InvalidData, str(error))


def test_nearest_names_the_typo_and_lists_what_is_known():
    assert nearest("lerning_rate", ["learning_rate", "batch_size"]) == "Did you mean 'learning_rate'?"
    assert nearest("zzz", ["b", "a"]) == "Known: a, b"
    assert nearest("zzz", []) == ""
