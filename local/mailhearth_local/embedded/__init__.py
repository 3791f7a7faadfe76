"""Postgres and Valkey as children of the product, each in a folder of its own."""
