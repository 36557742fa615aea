"""From a bug in the field to what an engineer can work with: a small capture, the first bad build, a bundle.

Nothing here drives a machine: an attempt is a function from a capture to a verdict.
"""
