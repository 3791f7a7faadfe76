"""Private keys saved in a file that only an offline identity opens, and brought back from it."""
