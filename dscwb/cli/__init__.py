"""The command line: thin doors on the package.

`torch_arm` holds the commands that need a model, `study` those that need profiles only, `shipped`
what comes with dscwb, `running` a split at work, `boards` many devices that measure. `options`
declares what several of them take.
"""
