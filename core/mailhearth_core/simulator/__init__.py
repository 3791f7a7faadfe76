"""Warmup in virtual time: the product's own sizing, matching, engagement and control, against a
written-down model of how receivers treat a sender. Pure: a scenario in, a result out.

docs/simulator.md describes the model and where its shape comes from.
"""
