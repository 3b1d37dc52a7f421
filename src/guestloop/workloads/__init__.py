"""What L2 guests are put through: prepare, drive, prove that it happened, judge."""
