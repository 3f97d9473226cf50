"""Measurements, each printing its figures; never part of the tests."""
