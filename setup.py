"""Packaging; the two packages and the recipes that `keras-retina demo` needs after installation."""

from setuptools import setup

setup(
    packages=["keras_retina", "keras_retina.data", "keras_retina.model", "keras_retina.recipes", "edge"],
    package_dir={"keras_retina.recipes": "recipes"},
    package_data={"keras_retina.recipes": ["*.yaml"], "edge": ["*.html.jinja", "web/*.*"]},
)
