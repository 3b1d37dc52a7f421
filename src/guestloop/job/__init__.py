"""A run: build what is missing, measure as an Avocado job, compare, report."""
