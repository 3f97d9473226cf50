"""Modules that replicas in tests are started with."""
