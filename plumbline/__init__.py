"""The library behind the four stages, in layers: basics, bits, tables, scores and model and sources, training, commands."""
