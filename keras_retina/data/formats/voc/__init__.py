"""Pascal VOC labels. Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf, section 4."""

from keras_retina.data.formats.voc.layouts import VOC

__all__ = ["VOC"]
