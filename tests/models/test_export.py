"""Exported files are judged by what they compute, not by how float32 rounds."""

import json
import struct
from pathlib import Path

import pytest
import torch
from torch import nn

from stroma.cli.main import run as cli
from stroma.core.errors import StromaError
from stroma.models.export import TOLERANCE, Format, export_model
from stroma.models.spectra import SpectrumCNN, SpectrumMLP


def formats() -> list[object]:
    return ["torchscript", pytest.param("onnx", marks=pytest.mark.filterwarnings("ignore"))]


@pytest.fixture
def onnx() -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)


class Chaotic(nn.Module):
    """Convolutions, then steps of the logistic map 4x(1 - x), which double differences (May, Nature 261, 1976)."""

    def __init__(self, steps: int, change: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64, eps=1e-3), nn.LeakyReLU(0.2)
        )
        self.up = nn.ConvTranspose2d(64, 64, 2, stride=2)
        self.last = nn.Conv2d(64, 2, 3, stride=2, dilation=2, padding=(1, 2), groups=2)
        self.steps, self.change = steps, change

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.last(self.up(self.first(image))).sigmoid()
        if torch.jit.is_tracing() or torch.compiler.is_exporting():
            x = x * (1 - self.change)  # what a faulty exporter would write
        for _ in range(self.steps):
            x = 4 * x * (1 - x)
        return x


@pytest.mark.parametrize("format", formats())
def test_a_right_file_of_a_network_that_amplifies_rounding_is_kept(
    tmp_path: Path, onnx: None, format: Format
) -> None:
    network, image = Chaotic(24).eval(), torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact = Chaotic(24).eval().double()(image.double())
        assert (network(image) - exact).abs().max() > 0.01  # float32 says nothing here
    check = export_model(network, tmp_path / "file", image, format)
    if format == "onnx":  # TorchScript runs the same kernels, and needs no second look
        assert check.computed_in == "float64"
        assert check.rounding is not None
        assert check.rounding > 0.01
    assert check.difference < TOLERANCE
    assert (tmp_path / "file").is_file()


def test_constants_of_onnx_are_read_as_the_decimals_that_they_stand_for() -> None:
    from stroma.models.onnx_float64 import decimal

    assert [decimal(struct.unpack("f", struct.pack("f", x))[0]) for x in (1e-3, 1e-5, 0.2, 1.0, 3.0)] == [
        1e-3, 1e-5, 0.2, 1.0, 3.0,
    ]  # fmt: skip


@pytest.mark.parametrize("format", formats())
@pytest.mark.parametrize(("steps", "change"), [(24, 1e-3), (24, 1e-6), (0, 1e-3)])
def test_a_wrong_file_is_refused_whether_or_not_rounding_is_amplified(
    tmp_path: Path, onnx: None, format: Format, steps: int, change: float
) -> None:
    network = Chaotic(steps, change).eval()
    image = torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(1))
    with pytest.raises(StromaError, match=rf"differs by .* in float{64 if steps else 32}.*was not kept"):
        export_model(network, tmp_path / "file", image, format)
    assert not (tmp_path / "file").exists()


def test_a_network_without_finite_output_is_not_exported(tmp_path: Path) -> None:
    network = SpectrumMLP(channels=3, classes=2)
    network.fc1.weight.data.fill_(float("inf"))
    with pytest.raises(StromaError, match="values that are not finite"):
        export_model(network, tmp_path / "file", torch.rand(4, 3), "torchscript")


def test_the_record_beside_a_file_says_how_it_was_compared(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(SpectrumMLP(channels=3, classes=2).state_dict(), tmp_path / "w.pth")
    target = tmp_path / "w.pt"
    arguments = [
        str(tmp_path / "w.pth"),
        "-o",
        str(target),
        "--format",
        "torchscript",
        "--height",
        "3",
        "--width",
        "4",
    ]
    assert cli(["models", "export", *arguments]) == 0
    card = json.loads((tmp_path / "w.pt.json").read_text())
    assert card["compared_in"] == "float32"
    assert card["largest_relative_difference"] <= TOLERANCE


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torchscript_of_a_network_on_spectra_takes_other_numbers_of_cubes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SpectrumCNN(channels=40, classes=3).eval()
    export_model(network, tmp_path / "x.pt", torch.rand(2, 40, 33, 34), "torchscript")
    cubes = torch.rand(3, 40, 33, 34)
    with torch.inference_mode():
        wanted = network(cubes)  # in steps
    torch.testing.assert_close(torch.jit.load(tmp_path / "x.pt")(cubes), wanted, rtol=1e-5, atol=1e-6)


def test_onnx_of_a_network_on_spectra_takes_other_numbers_of_cubes(tmp_path: Path, onnx: None) -> None:
    import onnxruntime

    torch.manual_seed(0)
    network = SpectrumCNN(channels=40, classes=3).eval()
    export_model(network, tmp_path / "x.onnx", torch.rand(2, 40, 33, 34), "onnx")
    cubes = torch.rand(3, 40, 33, 34)
    with torch.inference_mode():
        wanted = network(cubes)
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    answer = torch.from_numpy(session.run(None, {"image": cubes.numpy()})[0])
    torch.testing.assert_close(answer, wanted, rtol=1e-5, atol=1e-6)
