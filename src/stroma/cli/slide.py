"""`stroma slide info`, `stroma slide thumbnail` and `stroma slide convert`."""

from __future__ import annotations

import click

from stroma.cli.generate import verb_command


class _SlideVerbs(click.Group):
    """A group that imports a verb only when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["info", "thumbnail", "convert"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "info":
            from stroma.prepare.slide_info import SlideInfoOptions, slide_info

            return verb_command("info", SlideInfoOptions, slide_info)
        if cmd_name == "thumbnail":
            from stroma.prepare.slide_convert import ThumbnailOptions, slide_thumbnail

            return verb_command("thumbnail", ThumbnailOptions, slide_thumbnail)
        if cmd_name == "convert":
            from stroma.prepare.slide_convert import ConvertOptions, slide_convert

            return verb_command("convert", ConvertOptions, slide_convert)
        return None


command = _SlideVerbs(
    "slide",
    help="Look at slides (info), draw them small (thumbnail), write them as pyramidal TIFF (convert).",
    context_settings={"help_option_names": ["-h", "--help"]},
)
