"""`python -m keras_retina` is `keras-retina`."""

from keras_retina.cli.app import main

main()
