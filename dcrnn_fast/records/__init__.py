"""A run's reports while it goes: typed events, and the watchers that show or write them."""
