"""`stroma phantom hsi` and `stroma phantom slides`."""

from __future__ import annotations

import click

from stroma.cli.generate import verb_command

_PHANTOMS = ("hsi", "slides")


class _Phantoms(click.Group):
    """A group that imports a phantom only when it is made."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_PHANTOMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "hsi":
            from stroma.phantom.hsi import PhantomHsiOptions, phantom_hsi

            return verb_command("hsi", PhantomHsiOptions, phantom_hsi)
        if cmd_name == "slides":
            from stroma.phantom.slides import PhantomSlidesOptions, phantom_slides

            return verb_command("slides", PhantomSlidesOptions, phantom_slides)
        return None


command = _Phantoms(
    "phantom",
    help="Make a synthetic study with known truth: hyperspectral images (hsi) or H&E slides (slides).",
    context_settings={"help_option_names": ["-h", "--help"]},
)
