"""The pure middle of warmup: values and a moment in, values out; no I/O and no clock of its own.

Every function here gives the same answer for the same inputs, on any machine and in any process:
chance comes from a seed (`chance`), time from the caller.
"""
