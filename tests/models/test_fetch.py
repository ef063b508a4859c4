"""Downloads go on where they stopped, are verified, and errors tell what to do without a network."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

import stroma
from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.models import catalogue, fetch
from stroma.models.card import PublishedFile
from stroma.models.spectra import SpectrumMLP
from tests.models import originals as o

CONTENT = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """A server of one file that can break off, and remembers what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    tag: str = '"one"'
    break_after: int | None = None
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            if self.path.endswith("absent"):
                self.send_error(404)
                return
            start = 0
            if wanted and self.headers.get("If-Range") == state.tag:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("ETag", state.tag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if state.break_after is None else body[: state.break_after])

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def test_an_interrupted_download_goes_on_and_is_verified(tmp_path: Path, server: Server) -> None:
    target = tmp_path / "a+b.zip"
    server.break_after = 300_000
    with pytest.raises(fetch.Unreachable, match=r"broke off after 300,000 of 1,048,576 bytes"):
        fetch.download(f"{server.url}/a+b.zip", target)
    assert not target.exists()
    assert (tmp_path / "a+b.zip.part").stat().st_size == 300_000
    server.break_after = None
    assert fetch.download(f"{server.url}/a+b.zip", target, size=len(CONTENT), digest=DIGEST).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a+b.zip", "a+b.zip.source.json"]


def test_a_file_that_has_changed_meanwhile_begins_again(tmp_path: Path, server: Server) -> None:
    target = tmp_path / "w.pth"
    server.break_after = 1000
    with pytest.raises(fetch.Unreachable):
        fetch.download(f"{server.url}/w.pth", target)
    server.break_after, server.tag, server.content = None, '"two"', CONTENT[::-1]
    assert fetch.download(f"{server.url}/w.pth", target).read_bytes() == CONTENT[::-1]


def test_another_file_than_published_is_deleted(tmp_path: Path, server: Server) -> None:
    with pytest.raises(InvalidData, match="was published; it was deleted"):
        fetch.download(f"{server.url}/w.pth", tmp_path / "w.pth", digest="0" * 64)
    with pytest.raises(InvalidData, match="1048576 bytes where 7 was published"):
        fetch.download(f"{server.url}/w.pth", tmp_path / "w.pth", size=7)
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_error_names_file_size_and_folder(tmp_path: Path, server: Server) -> None:
    file = PublishedFile(name="w.pth", url=f"{server.url}/absent", size_estimate=358_000_000)
    with pytest.raises(MissingFile) as caught:
        fetch.fetched(file, tmp_path, what="deepcmorph/tcga")
    text = str(caught.value)
    assert "deepcmorph/tcga needs the file 'w.pth' (about 358 MB)" in text
    assert "404" in text
    assert f"Put it into {tmp_path}" in text
    assert "--weights-dir" in text
    nowhere = PublishedFile(name="w.pth", url="http://127.0.0.1:9/w.pth")
    with pytest.raises(MissingFile, match="of unknown size"):
        fetch.fetched(nowhere, tmp_path, what="x")


def test_a_changed_file_fails_verification(tmp_path: Path, server: Server) -> None:
    path = fetch.download(f"{server.url}/w.pth", tmp_path / "w.pth")
    assert fetch.verify(PublishedFile(name="w.pth"), path) == "SHA-256 noted when it was fetched"
    assert fetch.verify(PublishedFile(name="w.pth", sha256=DIGEST), path) == "published SHA-256"
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(InvalidData, match="differs from the SHA-256"):
        fetch.verify(PublishedFile(name="w.pth"), path)


def test_a_published_archive_is_fetched_unpacked_and_loaded(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = SpectrumMLP(channels=3, classes=19)
    name = "pixel@2022-02-03_22-58-44_generated_default_rgb_model_comparison"
    run = o.htc_run(tmp_path / name.partition("@")[2], {"fold_A,B": network.state_dict()}, o.htc_config("pixel", 3))
    server.content = o.zipped(run, "pixel", tmp_path / "archive.zip").read_bytes()
    card = catalogue.catalogue()[name]
    file = PublishedFile(name=f"{name}.zip", url=f"{server.url}/x.zip", folder_hash=fetch.folder_hash(run))
    monkeypatch.setattr("stroma.models.locate.find", lambda _: [card.model_copy(update={"file": file})])
    model = stroma.load_model(name, weights_dir=tmp_path / "weights")
    assert torch.equal(model.fc1.weight, network.fc1.weight)
    (tmp_path / "weights" / "pixel" / run.name / "fold_A,B" / "epoch=100-dice_metric=0.74.ckpt").unlink()
    wrong = file.model_copy(update={"folder_hash": "0" * 64})
    monkeypatch.setattr("stroma.models.locate.find", lambda _: [card.model_copy(update={"file": wrong})])
    with pytest.raises(InvalidData, match="folder hash"):
        stroma.load_model(name, weights_dir=tmp_path / "other")


def test_a_non_commercial_licence_is_accepted_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="CC BY-NC-SA 4.0.*--accept-licence"):
        stroma.load_model("deepcmorph/crc", weights_dir=tmp_path)
    card = catalogue.catalogue()["deepcmorph/crc"]
    from stroma.models.weights_folder import require_licence

    require_licence(card, tmp_path, accept=True)
    require_licence(catalogue.catalogue()["deepcmorph/tcga"], tmp_path, accept=False)
    with pytest.raises(UsageError):
        require_licence(card, tmp_path / "elsewhere", accept=False)


def test_each_source_without_a_network_names_file_size_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """htc, DeepCMorph, HistoEncoder, the glomeruli network and the Hub; what is put there by hand is then found."""
    monkeypatch.setattr(fetch, "download", lambda *_, **__: (_ for _ in ()).throw(fetch.Unreachable("no route")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    name = "image@2025-03-09_19-38-10_baseline_pig_nested-1-2"
    cases = {
        name: (f"{name}.zip", "629 MB", tmp_path),
        "deepcmorph/tcga": ("DeepCMorph_Pan_Cancer_32_classes_acc_8273.pth", "358 MB", tmp_path),
        "prostate_medium": ("prostate_medium.pth", "336 MB", tmp_path),
        "glomeruli": ("1AUc4VuqFIB-zN36ifnjZCO9nlPXAdfbF", "3,280 MB", tmp_path / "glomeruli"),
        "uni2-h": ("model.safetensors or pytorch_model.bin", "2,726 MB", tmp_path / "MahmoodLab" / "UNI2-h"),
        "lunit-dino-16": ("model.safetensors", "87 MB", tmp_path / "1aurent/vit_small_patch16_224.lunit_dino"),
        "resnet18.a1_in1k": ("model.safetensors", "45 MB", tmp_path / "timm/resnet18.a1_in1k"),
        "hf-hub:lab/pathology": ("config.json", "1 kB", tmp_path / "lab/pathology"),
    }
    for model, (file, size, folder) in cases.items():
        with pytest.raises(MissingFile) as caught:
            stroma.load_model(model, weights_dir=tmp_path, accept_licence=True)
        text = str(caught.value)
        assert all(word in text for word in (file, size, str(folder), "--weights-dir")), text
    from safetensors.torch import save_file

    from stroma.models.timm_network import timm_network

    network = timm_network(encoder="vit_small_patch16_224")
    folder = cases["lunit-dino-16"][2]
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    found = stroma.load_model("lunit-dino-16", weights_dir=tmp_path)
    assert torch.equal(found.norm.weight, network.norm.weight)


def test_a_network_of_the_hub_that_was_copied_by_hand_is_found_and_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its description and its weights lie in the weights folder; what is imported needs neither."""
    from safetensors.torch import save_file

    from stroma.cli.main import run as cli
    from stroma.models.encoders import load_encoder
    from stroma.models.timm_network import timm_network

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "weights" / "lab" / "pathology"
    folder.mkdir(parents=True)
    options = {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 32}
    network = timm_network(encoder="vit_tiny_patch16_224", options=options).eval()
    description = {
        "architecture": "vit_tiny_patch16_224", "model_args": options,
        "pretrained_cfg": {"mean": [0.7, 0.5, 0.6], "std": [0.2, 0.2, 0.2], "input_size": [3, 32, 32]},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(description))
    save_file(network.state_dict(), folder / "model.safetensors")
    found = stroma.load_model("hf-hub:lab/pathology", weights_dir=tmp_path / "weights")
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found(image), network(image))
    assert found.loaded.description.prepare.steps[1].parameters["mean"] == [0.7, 0.5, 0.6]
    encoder = load_encoder(
        "hf-hub:lab/pathology", weights_dir=tmp_path / "weights", device="cpu", precision="float32"
    )  # fmt: skip
    assert encoder.dim == 24
    arguments = ["models", "import", "hf-hub:lab/pathology", "-o", str(tmp_path / "own")]
    assert cli([*arguments, "--weights-dir", str(tmp_path / "weights")]) == 0
    assert str(tmp_path) not in next((tmp_path / "own").rglob("weights.json")).read_text()
    again = stroma.load_model(tmp_path / "own")
    with torch.no_grad():
        torch.testing.assert_close(again(image), network(image))


def test_a_licence_is_accepted_where_the_weights_lie(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        stroma.load_model("uni", weights_dir=tmp_path / "my weights")
    text = str(caught.value)
    assert f"stroma models fetch 'uni' --accept-licence --weights-dir '{tmp_path / 'my weights'}'" in text
    assert "in Python: accept_licence=True" in text
