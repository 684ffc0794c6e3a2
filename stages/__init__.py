"""What a user reads and edits. It is a package so that a scratch copy's stages are its own, whatever is installed."""
