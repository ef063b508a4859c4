"""Half a million cells as GeoJSON, out and in: Stroma beside Python's JSON with shapely, as most scripts do it."""

import tempfile

from benchmarks.peer import Comparison, Side, compare_measures

_CELLS = (
    "import functools\nfrom pathlib import Path\nimport numpy as np\nimport shapely\n"
    "@functools.cache  # drawn in the warm-up, not timed\n"
    "def draw(count):\n"
    "    rng, angle = np.random.default_rng(0), np.linspace(0, 2 * np.pi, 24, endpoint=False)\n"
    "    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)\n"
    "    outlines = rng.uniform(0, 1e5, (count, 1, 2)) + rng.uniform(8, 16, (count, 24, 1)) * circle\n"
    "    return shapely.polygons(outlines)\n"
)
OURS = Side(
    "stroma",
    _CELLS + "from stroma.regions import read_geojson, write_geojson\n"
    "from stroma.regions.annotation import Annotation\n"
    "@functools.cache\n"
    "def cells(count):\n"
    "    shapes = draw(count)\n"
    "    return [Annotation(s, label='cell', kind='detection', colour=(200, 0, 0), measurements={'area': s.area})\n"
    "            for s in shapes]\n"
    "def run(folder, count):\n"
    "    return len(read_geojson(write_geojson(Path(folder) / 'ours.geojson', cells(count))))\n",
)
PEER = Side(
    "json and shapely",
    _CELLS + "import json\nfrom shapely.geometry import mapping, shape\n"
    "@functools.cache\n"
    "def cells(count):\n"
    "    return [(s, {'area': s.area}) for s in draw(count)]\n"
    "def run(folder, count):\n"
    "    path = Path(folder) / 'peer.geojson'\n"
    "    kind = {'objectType': 'detection', 'classification': {'name': 'cell', 'color': [200, 0, 0]}}\n"
    "    features = [{'type': 'Feature', 'geometry': mapping(s), 'properties': kind | {'measurements': m}}\n"
    "                for s, m in cells(count)]\n"
    "    path.write_text(json.dumps({'type': 'FeatureCollection', 'features': features}))\n"
    "    content = json.loads(path.read_text())['features']\n"
    "    return len([(shape(f['geometry']), f['properties']['measurements']) for f in content])\n",
)


def run() -> list[Comparison]:
    """500,000 outlines of 24 corners with a class and a measurement, written and read back."""
    note = "ours is compressed above 50 MB and rounded to a thousandth of a pixel"
    with tempfile.TemporaryDirectory() as folder:
        return compare_measures(
            "GeoJSON of 500,000 cells, out and in", OURS, PEER, [folder, 500_000],
            measures=("seconds", "cpu_seconds", "peak_mib"), repeats=1, note=note,
        )  # fmt: skip
