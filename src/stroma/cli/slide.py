"""`stroma slide info`, `stroma slide thumbnail` and `stroma slide convert`."""

from stroma.cli.generate import VerbGroup

command = VerbGroup(
    "slide",
    "Look at slides (info), draw them small (thumbnail), write them as pyramidal TIFF (convert).",
    {
        "info": "stroma.prepare.slide_info:SlideInfoOptions:slide_info",
        "thumbnail": "stroma.prepare.slide_convert:ThumbnailOptions:slide_thumbnail",
        "convert": "stroma.prepare.slide_convert:ConvertOptions:slide_convert",
    },
)
