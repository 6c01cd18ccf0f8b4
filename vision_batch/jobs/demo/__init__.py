"""The demo: real handwritten digits, from pictures to labels, with a model trained on the way."""
