"""How each artifact is run by its users: a file for each runtime, which imports that runtime and none of our layers.

A runtime is a function `load(path)` that returns an object with `labelling`, `predict` and perhaps `examine`.
`python -m hmnas_tf.runtimes` runs one in a process that has never seen the model. To add one, add its file.
"""
