"""The verb `compress`."""

from __future__ import annotations

from keras_retina.cli.options import DataOption, RunArgument, SetOption
from keras_retina.cli.output import say, suggest
from keras_retina.foundation.errors import InputError


def compress(run: RunArgument, data: DataOption = None, set_: SetOption = None) -> None:
    """Make the smaller models of a trained run, as `compress:` of its recipe says; resumes where it stopped."""
    from edge.compress.models import add_compressed, compress_stage
    from edge.run import open_run

    opened = open_run(run, data)
    if set_:
        opened = add_compressed(opened, set_)
    if not opened.recipe.compress:
        raise InputError(
            f"{run}: expected models in the section compress of its recipe. Received: none. "
            "Name one with --set, for example --set compress.half.channels.keep=0.5"
        )
    compress_stage(opened, say)
    for name in opened.recipe.compress:
        say(f"wrote {opened.path / 'compress' / name}")
    suggest(f"keras-retina export {run}")
