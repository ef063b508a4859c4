"""Networks as `precision: auto` and float32 lay them out, beside torch's default (float32, contiguous memory).

Targets on two cores: `auto` at least twice as fast as eager float32 for DeepCMorph and the U-Net where the processor
computes in bfloat16, and float32 never slower than eager. A machine that does other work measures that work, too.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.peer import Comparison

REPEATS, GPU_REPEATS, WARM_UP = 5, 30, 5
THREADS = 2
EAGER, WITHOUT_TF32 = "eager float32", "eager float32 without TF32"


def networks() -> dict[str, tuple[nn.Module, Tensor]]:
    """The cases of the targets: DeepCMorph on 8 tiles, the htc U-Net on a cube, XCiT-small on 16 tiles."""
    from stroma.models.block_features import feature_network
    from stroma.models.deepcmorph import DeepCMorph
    from stroma.models.segmentation import segmentation_model
    from stroma.models.xcit import xcit

    torch.manual_seed(0)
    return {
        "DeepCMorph features, 8 tiles of 224": (
            feature_network(DeepCMorph(classes=32)),
            torch.rand(8, 3, 224, 224),
        ),
        "Unet efficientnet-b5, cube 480 × 640 × 100": (
            segmentation_model(channels=100, classes=19, encoder="efficientnet-b5"),
            torch.rand(1, 100, 480, 640),
        ),
        "XCiT small, 16 tiles of 224": (xcit(encoder="xcit_small_12_p16_224"), torch.rand(16, 3, 224, 224)),
    }


def variants(network: nn.Module, image: Tensor) -> dict[str, tuple[Callable[[], Tensor], nn.Module]]:
    """Name → (the forward pass, the network it uses), each on copies of its own in the layout it needs."""
    from stroma.core.device import full_float32
    from stroma.models.precision import at_precision, inference_precision

    def exactly(forward: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def inside() -> Tensor:
            with full_float32(image.device):
                return forward()

        return inside

    auto = inference_precision("auto", str(image.device))
    result: dict[str, tuple[Callable[[], Tensor], nn.Module]] = {EAGER: (lambda: network(image), network)}
    if image.device.type == "cuda":  # whose eager convolutions are TF32, 10 bits
        result[WITHOUT_TF32] = (exactly(lambda: network(image)), network)
    as_read = image.contiguous(memory_format=torch.channels_last)  # images are read as (height, width, channels)
    for name, precision in (("stroma float32", "float32"), (f"stroma auto ({auto})", auto)):
        fast = at_precision(network, precision)
        result[name] = (exactly(lambda fast=fast: fast(as_read)), fast)  # type: ignore[misc]
    return result


def run(repeats: int = 0) -> list[Comparison]:
    """Seconds per forward pass, alternating; on a GPU when there is one, else on two threads.

    Differences are those from eager float32 without TF32.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.cuda.get_device_name() if device == "cuda" else f"{THREADS} threads"
    torch.set_num_threads(THREADS)
    result = []
    for case, (network, example) in networks().items():
        network, image = network.to(device).eval(), example.to(device)
        found = variants(network, image)
        with torch.inference_mode():
            outputs = {name: forward().float() for name, (forward, _) in found.items()}
            for forward, _ in [*found.values()] * (WARM_UP if device == "cuda" else 0):
                timed(forward, device)
            seconds: dict[str, list[float]] = {name: [] for name in found}
            for _ in range(repeats or (GPU_REPEATS if device == "cuda" else REPEATS)):
                for name, (forward, _) in found.items():
                    seconds[name].append(timed(forward, device))
        wanted = outputs.get(WITHOUT_TF32, outputs[EAGER])
        for name in [*found][1:]:
            difference = float((outputs[name] - wanted).norm() / wanted.norm())
            note = f"{where}, differs by {difference:.1e} (relative norm)"
            result.append(Comparison(case, name, EAGER, seconds[name], seconds[EAGER], note=note))
        if device == "cuda":
            difference = float((outputs[EAGER] - wanted).norm() / wanted.norm())
            result[-1].note += f", eager float32 with TF32 by {difference:.1e}"
    return result


def timed(run_once: Callable[[], object], device: str) -> float:
    """Seconds of one call; a GPU works on after the call, so it is waited for."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run_once()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
