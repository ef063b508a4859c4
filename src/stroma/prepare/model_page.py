"""The models page of the documentation, written from the catalogue so that it cannot drift."""

from __future__ import annotations

from collections.abc import Iterable

from stroma.models.card import PublishedModel
from stroma.models.catalogue import catalogue
from stroma.prepare.model_catalogue import card_rows, group_name

_INTRODUCTION = """# Models

<!-- Written by `python -m stroma.prepare.model_page docs/models.md`; edit that file instead. -->

`stroma.load_model(NAME)` returns a plain `torch.nn.Module` with its weights, in eval mode on the CPU.

```python
import stroma

model = stroma.load_model("image@2022-02-03_22-58-44_generated_default_model_comparison")  # five folds, averaged
print(model.loaded)                 # every key of every file: taken, adapted, skipped
own = stroma.load_model("deepcmorph/crc", classes=4, accept_licence=True)       # a new head for four classes
msi = stroma.load_model("image@2023-02-08_14-48-02_organ_transplantation_0.8",  # another camera: by nanometre
                        wavelengths_nm=[520, 560, 610, 680, 760, 850], classes=3)
```

## Limits

- None of the published files could be opened while this was written. Files laid out as their publishers describe give
  the outputs of the original programs (`tests/models/test_golden.py`); whether a published file holds something else
  shows when it is imported, since every key that has no place is an error that lists it.
- Licences are those of the repositories. Only the 47 archives of htc below have published hashes; the SHA-256 of
  other files is noted at the first download and compared by `stroma models verify` from then on.
- The order of DeepCMorph's classes is inferred (sorted folder names) or unknown, and said so in its cards.
- The sepsis runs with clinical tables and those on two stacked cubes are for Python; `stroma predict` says so.
- Names of layers and outputs agree with imsy-htc 0.0.23 for every option of a run that changes its network, also
  those that no published run uses: `model/channel_preprocessing` (5, 16, 38 and 40 remaining channels, with and
  without channel weights), both normalisations, further heads, tables. Its calibration
  (`post_processing/calibration`) is folded into the last layer. Of classes that may overlap (`model/activations:
  sigmoid`) htc averages the logits of the folds, Stroma their probabilities.
- Encoders of the Hub have a card where its facts could be read (`source`); what the pages do not tell is not in it.
- A spectral CNN (`pixel@…`, `median_pixel@…`) and runs with `channel_preprocessing` take other bands by interpolating
  spectra, every other network by interpolating the weights of its first layer.

## What a name can be

| name | what is loaded |
| --- | --- |
| `deepcmorph/tcga`, `prostate_small`, `image@…` | published weights, fetched on first use |
| `image@…_nested-*-2` | all nested runs 0 to 2, as one ensemble; a lone `*` stands for any text |
| `hf-hub:owner/name`, `resnet18.a1_in1k` | a network of timm with its pretrained weights, without classifier |
| a run folder of Stroma or htc, or a published zip | all its folds as an ensemble, `fold=` for one |
| a folder of weight files | an ensemble |
| `.ckpt`, `.pth`, `.pt`, `.bin`, `.safetensors` | one network; `architecture=` where its keys do not tell |

The keys of a file may lie below a prefix (`module.`, `model.`, the name of an attribute), and its tensors
below `state_dict`, `model` or `model_state_dict`.

Weights are fetched to `--weights-dir`, else `STROMA_WEIGHTS_DIR`, else the user's cache. Without a network the error
names the file, its size and the folder to put it in; networks of timm and the Hub lie in `<owner>/<name>` there, with
the `config.json` of `hf-hub:` names. Files that need more than tensors and plain values (such as
fastai's `learn.export`) are refused without running anything in them, with the lines that convert them.

All of them stand wherever a model is named: `stroma.load_model`, `stroma predict`, `stroma embed --encoder`,
`stroma models export`, and in a training's configuration (`model: {name: …}`), which then starts from those weights
with a new head and the bands of the study.

An ensemble gives the logarithm of the mean probabilities, so that its output can be used like that of one network.

## Look, fetch, import

```
stroma models list 'image@*'                     # names, licences, whether they are fetched; wildcards are allowed
stroma models show deepcmorph/tcga               # its card: source, licence, input, classes
stroma models fetch prostate_small               # fetch and verify now instead of on first use
stroma models import RUN_OR_FILE -o runs/theirs  # other people's weights become a run with a card; no pickle is run
stroma models verify                             # compare what was fetched with the published or noted hashes
```

## Predict

```
stroma predict image@2022-02-03_22-58-44_generated_default_model_comparison CUBES -o out     # maps of classes
stroma predict deepcmorph/tcga TILES -o out --accept-licence                                 # a row for each image
stroma predict weights.pth IMAGES -o out --architecture unet --prepare '[divide]' --class-names no --class-names yes
```

| networks | what is written |
| --- | --- |
| segmentation, patch and pixel networks | a PNG of class indices per image |
| UneXt101 and other single sigmoid maps | the same, 1 from the threshold on (0.45 for `glomeruli`) |
| superpixel classifiers | the same; about 1,000 superpixels of the colours, each with one class |
| DeepCMorph, image classifiers | `predictions.parquet`: class and probabilities; `--nuclei`: maps of nuclei |
| median-spectrum networks | the same, from the median of the image's normalised spectra without black pixels |

Channels, wavelengths (1 nm), resolution (20 %) and the range of values are compared with the model's card: what
contradicts it is an error of that image, what an image does not tell is a warning. Licences that forbid commercial
use are accepted once, when a published name is used (who gives a file has it already); they stand in the provenance
of every result, in `model.json` beside it, and in what the command prints.

In float32, the default, `predict` computes what `stroma.load_model(NAME)(image)` computes, bit by bit.

## Agreement with the originals

In float64 the U-Nets, spectral networks, tables and layers of htc give the numbers of imsy-htc 0.0.23 (difference 0
to 3e-15, with one thread and with two). In float32 the files of the interoperability vectors are within 1e-4, most
within 1e-6, but for two networks:

Weights without meaning (`tests/models/originals.py`) make EfficientNet amplify rounding. In the 100-band U-Net a
relative error of 4e-7 after the first layer is 2e-6 after block 13, 1e-3 after block 23 and 0.2 after block 27 of
39, so float32 differs from float64 by 66 % of the largest value with one thread and by 98 % with two, and the
original's own numbers by 89 %. The same kernels repeat them bit by bit (torch with two threads: difference 0);
nothing else does. Computing the first layer, or all blocks up to 27 of 39, in float64 brings the result no nearer
to the exact one, because passing a value on as float32 rounds it again; only float64 throughout does. DeepCMorph
(40 %) and the U-Net on tissue parameters (29 %) amplify likewise. Weights of usual size do not: with those of the
convolutions times 0.7 the same networks are within 5e-7 of float64.

## Training further

`stroma.models.finetune` has `freeze_blocks`, `parameter_groups` (learning rates that fall towards the input),
`replace_head`, `set_lr` and `set_weight_decay`; frozen parts keep their batch statistics. Feature vectors of the last
blocks of an encoder: `stroma.models.block_features.feature_network(network, num_blocks=2, avg_pool=True)`, or
`stroma embed --encoder prostate_medium --num-blocks 2 --avg-pool`.

## Speed

`stroma.models.precision.at_precision(network, "bfloat16")` is a copy for prediction: weights cast once, batch
normalisation folded, channels last. `stroma embed` uses it, by default in bfloat16 on processors that compute in it;
`stroma predict --precision auto` does, too. Float32 laid out so agrees with the network within 1e-5, bfloat16 within
3e-2 (relative norm of the logits; tests hold every registered network to it).
Medians on two threads of an AMD EPYC with AVX-512 BF16 where nothing else ran (`python -m benchmarks models` tells
yours; random weights; in brackets the difference from eager float32, relative norm). Nobody has measured a GPU yet;
`bash benchmarks/on_gpu.sh` does on a machine that has one. On NVIDIA GPUs float32 is float32: `predict`, `embed` and
`train` switch off TF32, to which cuDNN rounds convolutions by default.

| network | eager float32 | float32 | bfloat16 |
| --- | --- | --- | --- |
| DeepCMorph features, 8 tiles of 224 | 4.85 s | 3.51 s, 1.38× (3e-7) | 1.83 s, 2.66× (8e-3) |
| Unet efficientnet-b5, cube 480 × 640 × 100 | 0.94 s | 0.68 s, 1.39× (1e-6) | 0.40 s, 2.34× (6e-3) |
| XCiT small, 16 tiles of 224 | 1.13 s | 1.06 s, 1.07× (3e-7) | 0.59 s, 1.91× (6e-3) |

## Other programs

`stroma models export NAME -o model.onnx --height 224 --width 224` (`--format torchscript`, `safetensors`) writes a
file, runs it, and keeps it only if its output is within 1e-4 of the original's largest value. Where weights amplify
rounding (above), the file's computation is repeated in float64 and compared there, with a warning: other programs
will give other values. ONNX takes about a minute for the U-Net and two for DeepCMorph.

"""


def model_page() -> str:
    """Markdown: an introduction, a table of the htc models, and a card for every other model."""
    cards = list(catalogue().values())
    htc = [card for card in cards if card.system == "htc"]
    others = [card for card in cards if card.system != "htc"]
    parts = [_INTRODUCTION, f"## Published models ({len(cards)})\n"]
    for card in others:
        parts.append(_card(card))
    parts.append(_htc(htc))
    return "\n".join(parts).rstrip() + "\n"


def _card(card: PublishedModel) -> str:
    rows = card_rows(card)
    name = rows.pop("name")
    lines = [f"### `{name}`", "", "| | |", "| --- | --- |"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join([*lines, ""])


def _htc(cards: Iterable[PublishedModel]) -> str:
    groups: dict[str, list[PublishedModel]] = {}
    for card in cards:
        groups.setdefault(group_name(card.name) if card.file.folder_hash is None else card.name, []).append(card)
    total = sum(map(len, groups.values()))
    lines = [
        f"### htc ({total} models)",
        "",
        "Licence: MIT (of the repository). Files: `<name>.zip` below "
        "`https://e130-hyperspectal-tissue-classification.s3.dkfz.de/models/`.",
        "Input of `hsi`: 100 bands, linspace(500, 1000, 100) nm, normalised to the sum 1 (`l1`); of `tpi`: four "
        "tissue parameter images, 0 to 1; of `rgb`: 0 to 1 (`divide` by 255).",
        "Classes, in order: "
        + "; ".join(f"{count}: {', '.join(names)}" for count, names in _class_lists(groups.values())),
        "",
        "| name | network | input | classes | samples | hash of the run folder | publication |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, members in groups.items():
        card = members[0]
        runs = f" ({len(members)} runs)" if len(members) > 1 else ""
        network = " ".join([card.model.name, str(card.model.parameters.get("encoder", ""))]).strip()
        digest = f"`{card.file.folder_hash}`" if card.file.folder_hash else "not published"
        size = card.granularity.parameters.get("size_px", "")
        cells = [
            f"`{name}`{runs}",
            network,
            f"{card.modality}, {card.channels}",
            str(card.classes),
            f"{card.granularity.name} {size}".strip(),
            digest,
            card.cite,
        ]
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _class_lists(groups: Iterable[list[PublishedModel]]) -> list[tuple[int, tuple[str, ...]]]:
    found = {card.class_names: len(card.class_names) for members in groups for card in members}
    return [(count, names) for names, count in found.items()]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    import sys
    from pathlib import Path

    from stroma.core.files import write_text

    write_text(Path(sys.argv[1]), model_page())
