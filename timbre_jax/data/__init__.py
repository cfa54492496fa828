"""Sounds and their features: `importers/` read sounds, `prepare/` makes a `store` of them, and training reads features of it.

`features` analyzes a store once and keeps the result in `fixed_records`; `on_the_fly` analyzes at every reading. Both are an
`example_source`, as are the subsets and labels of one. `datasets` opens what a configuration names, `loader` makes seeded
batches of it, `augment/` changes them on the device.
"""
