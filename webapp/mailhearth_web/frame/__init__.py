"""What every request passes through, whichever area of the dashboard it is for."""
