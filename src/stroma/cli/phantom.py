"""`stroma phantom hsi` and `stroma phantom slides`."""

from stroma.cli.generate import VerbGroup

command = VerbGroup(
    "phantom",
    "Make a synthetic study with known truth: hyperspectral images (hsi) or H&E slides (slides).",
    {
        "hsi": "stroma.phantom.hsi:PhantomHsiOptions:phantom_hsi",
        "slides": "stroma.phantom.slides:PhantomSlidesOptions:phantom_slides",
    },
)
