"""Data sets in TFRecord files: packs, which `keras-retina pack` writes, and the files of other tools."""
