"""What a user reads and edits: the four stages, the synthetic table and the network.

This file makes the folder a package, so that a scratch copy's stages are the copy's alone, whatever else is installed.
"""
