"""`stroma slide info`, `stroma slide thumbnail` and `stroma slide convert`."""

from stroma.cli.generate import VerbGroup

command = VerbGroup(
    "slide",
    "Look at slides (info), draw them small (thumbnail), write them as pyramidal TIFF (convert).",
    {
        "info": (
            "stroma.prepare.slide_info:SlideInfoOptions:slide_info",
            "Say what slides are: size, levels, size of a pixel, scanned area, pictures beside the slide",
        ),
        "thumbnail": (
            "stroma.prepare.slide_convert:ThumbnailOptions:slide_thumbnail",
            "Write slides as small PNG pictures",
        ),
        "convert": (
            "stroma.prepare.slide_convert:ConvertOptions:slide_convert",
            "Write slides as pyramidal TIFF or OME-TIFF, which QuPath and OpenSlide open",
        ),
    },
)
