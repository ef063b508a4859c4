"""Without the extra `learn` the core works, and what needs it says so in one line."""

import subprocess
import sys

import pytest

from tests.tiny import cube_study

BLOCKED = """
import sys

class Missing:
    names = {"torch", "torchvision", "lightning", "timm", "kornia", "safetensors", "segmentation_models_pytorch"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Missing())
from stroma.cli.main import main
main(sys.argv[1:])
"""


def stroma(*arguments):
    command = [sys.executable, "-c", BLOCKED, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def config(tmp_path):
    cube_study(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text("data: {study: study.yaml}\n")
    return path


def test_training_names_the_extra_and_the_pip_command(config, tmp_path):
    result = stroma("train", config, "-o", tmp_path / "run")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert 'python -m pip install "stroma[learn]"' in result.stderr  # these quotes work in every shell
    assert not (tmp_path / "run").exists()


def test_importing_weights_names_it_too(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"weights")
    result = stroma("models", "import", tmp_path / "a.pth", "-o", tmp_path / "out")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert 'python -m pip install "stroma[learn]"' in result.stderr


VERBS = [
    "train",
    "predict",
    "evaluate",
    "tile",
    "embed",
    "cluster",
    "inspect",
    "init",
    "models import",
    "models export",
]


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_works_without_it(verb):
    result = stroma(*verb.split(), "--help")
    assert result.returncode == 0, result.stderr
