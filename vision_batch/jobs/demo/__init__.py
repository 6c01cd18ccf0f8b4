"""The demo: real handwritten digits, from pictures to every kind of prediction, with models trained on the way."""
