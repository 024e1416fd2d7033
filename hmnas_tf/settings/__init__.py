"""The settings of a run in groups, which `hmnas_tf.config.Config` puts together, and the constants of the paper.

A group is a class of fields that belong together; its docstring is its title in docs/flags.md. A new setting is a field
of one of them.
"""
