"""Road networks from files, stations snapped onto them, and the distances along them."""
