"""What a run leaves to be read: its record, the card made from it, and the tables of many."""
