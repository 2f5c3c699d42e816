"""File formats that strangers wrote: every damage is a ValueError that names the file."""
