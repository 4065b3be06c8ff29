"""Labelled images: readers, checks, augmentation, the input pipeline and the built-in set."""
