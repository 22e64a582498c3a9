"""Pages, charts and maps as text: HTML and SVG in one file that opens without a network."""
