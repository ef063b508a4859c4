"""`stroma inspect` on weights and runs of other projects: what they are, and the line that opens them."""

import zipfile
from pathlib import Path

import pytest
import torch

from stroma.core.errors import InvalidData
from stroma.support.describe import describe


@pytest.mark.parametrize("name", ["a ä#.pth", "b.pt", "c.ckpt"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "first format"])
def test_what_torch_writes_is_weights(tmp_path: Path, name: str, zipped: bool) -> None:
    path = tmp_path / name
    torch.save({"w": torch.zeros(3)}, path, _use_new_zipfile_serialization=zipped)
    found = describe(path)
    assert found.kind.startswith("weights (PyTorch")
    assert found.opens == f"import stroma; network = stroma.load_model({str(path)!r})"
    assert found.next.startswith("stroma models import ")


def _run(folder: Path) -> Path:
    for fold in ("fold_P1", "fold_P2"):
        (folder / fold).mkdir(parents=True)
        torch.save({"w": torch.zeros(3)}, folder / fold / "epoch=1.ckpt")
    (folder / "config.json").write_text("// a comment\n{}")
    return folder


def test_a_run_of_htc_as_folder_and_as_archive(tmp_path: Path) -> None:
    run = _run(tmp_path / "image" / "2022_run")
    found = describe(run)
    assert (found.kind, found.facts["folds"]) == ("run folder of htc", 2)
    assert found.next == f"stroma predict {run} CUBES -o predictions"
    archive = tmp_path / "image@2022_run.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in run.rglob("*.*"):
            target.write(path, path.relative_to(tmp_path))
    found = describe(archive)
    assert (found.kind, found.facts["folds"]) == ("archive of a run of htc", 2)


def test_weights_that_were_cut_off_and_other_archives(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"w": torch.zeros(3000)}, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InvalidData, match=r"w\.pth: is cut off or damaged\. Download or copy it again"):
        describe(path)
    other = tmp_path / "some.zip"
    with zipfile.ZipFile(other, "w") as target:
        target.writestr("a.txt", "a")
    assert describe(other).kind == "unknown"
