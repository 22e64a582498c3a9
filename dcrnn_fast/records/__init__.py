"""What a run tells while it goes: typed events, and the watchers that show or write them."""
