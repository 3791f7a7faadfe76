"""`mailhearth up`: the supervisor, the demo, and runs of so many days with their report."""
