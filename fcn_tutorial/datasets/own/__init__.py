"""A folder of one's own photos and masks."""
