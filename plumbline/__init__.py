"""The library behind the stages, in layers that only look down: basics, bits, tables, and so on up to commands."""
