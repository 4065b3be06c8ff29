"""RetinaNet in Keras: described by a recipe, trained with `model.fit`, made small and proven by the `edge` package.

Importing this package does not import TensorFlow; the modules that need it do.
"""
