"""Stores of sounds, their features, and batches for training.

`importers/` read sounds from files, banks and data sets, and `prepare/` writes them to a store (`store`). `features` analyzes a
store once and caches the result in files (`fixed_records`); `on_the_fly` analyzes sounds each time they are read. Both are
sources of examples (`example_source`), as are subsets, labels and rescaled values of another source. `datasets` opens the
sources that a configuration names, `loader` draws seeded batches from them, and `augment/` changes batches on the device.
"""
