"""The Flask web application: dashboard, administration, public API."""
