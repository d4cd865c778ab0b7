"""What all tests share: properties that are the same on every run."""

from hypothesis import settings

# A slow machine is no fault of the code, and a test that fails now and then is none at all.
settings.register_profile("roamlog", deadline=None, derandomize=True, database=None)
settings.load_profile("roamlog")
