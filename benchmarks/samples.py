"""From a study to samples of a network: Stroma beside `imsy-htc`, on the same files in one run.

Cubes are of 480 × 640 × 100. A sample is the L1-normalised cube as float16 with its labels and valid pixels.
"""

import tempfile
from pathlib import Path

from benchmarks.inputs.htc_tree import IMSY_HTC, PEER_PATHS, htc_tree
from benchmarks.peer import Comparison, Side, compare, compare_measures

SAMPLES = 16
_PEER_DATASET = (
    PEER_PATHS + "import itertools\nheld = {}\n"
    "def dataset(tree, **config):\n"
    "    found = paths(tree)\n"
    "    from htc.models.image.DatasetImage import DatasetImage\n"
    "    from htc.utils.Config import Config\n"
    "    config = {'input/n_channels': 100, **{f'input/{name}': value for name, value in config.items()}}\n"
    "    return DatasetImage(found, train=False, config=Config(config))\n"
)
_OUR_DATASET = (
    "import itertools\nfrom pathlib import Path\nfrom stroma.core.component import Component\n"
    "from stroma.sampling.patches import TrainingPatches\nfrom stroma.sampling.preparation import Preparation\n"
    "from stroma.sampling.shared_loader import training_loader\nfrom stroma.sampling.stores import Stores\n"
    "from stroma.study import open_study\nheld = {}\n"
    "def dataset(tree):\n"
    "    study = open_study(Path(tree).parent / 'study.yaml')\n"
    "    return TrainingPatches(study, study.catalog['image_id'].to_list(), annotator=None, modality='image',\n"
    "        preparation=Preparation(steps=(Component(name='l1'),)), size_px=None, samples=0, balance='images',\n"
    "        seed=0, stores=Stores(Path(tree).parent / 'stores', 'l1'))\n"
)
READ_OURS = Side(
    "stroma",
    "from stroma.images import read_cube\nfrom stroma.spectra import l1_in_place\nfrom pathlib import Path\n"
    "import itertools\nturn = itertools.count()\n"
    "def run(tree):\n"
    "    cubes = sorted(Path(tree).rglob('*_SpecCube.dat'))\n"
    "    return l1_in_place(read_cube(cubes[next(turn) % len(cubes)]))\n",
)
READ_PEER = Side(
    "imsy-htc",
    _PEER_DATASET + "turn = itertools.count()\ndef run(tree):\n"
    "    if not held:\n        held['it'] = dataset(tree, normalization='L1', no_labels=True)\n"
    "    return held['it'][next(turn) % len(held['it'])]['features']\n",
    IMSY_HTC,
)
SAMPLE_OURS = Side(
    "stroma",
    _OUR_DATASET + "turn = itertools.count()\ndef run(tree):\n"
    "    if not held:\n        held['it'] = dataset(tree)\n"
    "    return held['it'][0, next(turn) % len(held['it'])]\n",
)
SAMPLE_PEER = Side(
    "imsy-htc",
    _PEER_DATASET + "turn = itertools.count()\ndef run(tree):\n"
    "    if not held:\n        held['it'] = dataset(tree, preprocessing='L1', features_dtype='float16')\n"
    "    return held['it'][next(turn) % len(held['it'])]\n",
    IMSY_HTC,
)
WORKERS_OURS = Side(
    "stroma",
    _OUR_DATASET + "def run(tree, samples):\n"
    "    if not held:\n"
    "        data = dataset(tree)\n"
    "        data.samples, data.image_ids = samples, (data.image_ids * samples)[:samples]\n"
    "        held['it'] = training_loader(data, batch_size=1, workers=2, pin_memory=False)\n"
    "    count = 0\n"
    "    for batch in held['it']:\n        count += len(batch['labels'])\n"
    "    assert count == samples, count\n",
)
WORKERS_PEER = Side(
    "imsy-htc",
    _PEER_DATASET + "def run(tree, samples):\n"
    "    if not held:\n"
    "        from torch.utils.data import DataLoader\n"
    "        data = dataset(tree, preprocessing='L1', features_dtype='float16')\n"
    "        order = [i % len(data) for i in range(samples)]\n"
    "        held['it'] = DataLoader(data, batch_size=1, num_workers=2, persistent_workers=True, sampler=order)\n"
    "    count = 0\n"
    "    for batch in held['it']:\n        count += len(batch['labels'])\n"
    "    assert count == samples, count\n",
    IMSY_HTC,
)
PREPARE_OURS = Side(
    "stroma prepare",
    "from pathlib import Path\nimport shutil\nfrom stroma.prepare import PrepareOptions, prepare\n"
    "def run(tree):\n"
    "    stores = Path(tree).parent / 'stores'\n"
    "    shutil.rmtree(stores, ignore_errors=True)\n"
    "    result = prepare(PrepareOptions(study=stores.parent / 'study.yaml', output=stores, kind='l1', anew=True))\n"
    "    assert result.done == 2, result\n",
)
PREPARE_PEER = Side(
    "imsy-htc",
    PEER_PATHS + "def run(tree):\n"
    "    found = paths(tree)\n"
    "    from htc.data_processing.run_l1_normalization import L1Normalization\n"
    "    folder = Path(tree) / 'intermediates/preprocessing'\n"
    "    job = L1Normalization(found, 'blosc', output_dir=folder, regenerate=True)\n"
    "    for index in range(len(found)):\n        job.compute(index)\n",
    IMSY_HTC,
)


def run() -> list[Comparison]:
    """Two images of two subjects, in the page cache."""
    both = ("seconds", "cpu_seconds")
    with tempfile.TemporaryDirectory() as folder:
        tree = htc_tree(Path(folder), subjects=2, images=1)
        where = [str(tree)]
        found = compare_measures(
            "prepare L1 of 2 cubes", PREPARE_OURS, PREPARE_PEER, where, measures=both, repeats=2, warm_up=False
        )
        found.append(_sizes(Path(folder)))
        found.append(compare("read cube + L1", READ_OURS, READ_PEER, where, note="warm page cache"))
        found += compare_measures(
            "prepared float16 sample, in process", SAMPLE_OURS, SAMPLE_PEER, where, measures=both, repeats=15
        )
        found.append(
            compare(
                f"{SAMPLES} prepared samples through 2 workers",
                WORKERS_OURS,
                WORKERS_PEER,
                [str(tree), SAMPLES],
                repeats=5,
                note="persistent workers",
            )
        )
        return found


def _sizes(folder: Path) -> Comparison:
    ours = sum(path.stat().st_size for path in (folder / "stores").rglob("*.b2nd")) / 2**20
    peer = sum(path.stat().st_size for path in (folder / "2099_Phantom").rglob("L1/*.blosc")) / 2**20
    return Comparison("size of prepared L1 on disk", "stroma", "imsy-htc", [ours], [peer], unit="MiB")
