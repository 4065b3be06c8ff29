"""Packaging; the two packages and the recipes that `keras-retina demo` needs after installation."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["keras_retina", "keras_retina.*", "edge", "edge.*"]), "keras_retina.recipes"],
    package_dir={"keras_retina.recipes": "recipes"},
    package_data={
        "keras_retina": ["py.typed"],
        "edge": ["py.typed"],
        "keras_retina.recipes": ["*.yaml", "coco/*.yaml", "domains/*.yaml"],
        "edge.report": ["*.html.jinja"],
        "edge.report.review": ["*.html.jinja"],
        "edge.detect.web": ["page/*.*"],
    },
)
