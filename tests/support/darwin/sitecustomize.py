"""Imported by every Python that finds this folder on PYTHONPATH."""

import fake_darwin

fake_darwin.apply()
