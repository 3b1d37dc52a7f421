"""What scripts/test runs: style, types, fast tests, tests with real guests; and where the time went."""
