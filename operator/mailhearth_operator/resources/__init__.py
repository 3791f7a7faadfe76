"""The custom resources as values: what a spec says, what a status tells. No I/O."""
