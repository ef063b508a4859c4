"""`stroma phantom hsi` and `stroma phantom slides`."""

from stroma.cli.generate import VerbGroup

command = VerbGroup(
    "phantom",
    "Make a synthetic study with known truth: hyperspectral images (hsi) or H&E slides (slides).",
    {
        "hsi": (
            "stroma.phantom.hsi:PhantomHsiOptions:phantom_hsi",
            "Make hyperspectral images of surgical fields with known organs, blood, oxygenation, water and fat",
        ),
        "slides": (
            "stroma.phantom.slides:PhantomSlidesOptions:phantom_slides",
            "Make H&E-like kidney slides with known nuclei, glomeruli and tissue",
        ),
    },
)
