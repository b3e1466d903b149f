"""Reading the policies: YAML with lines, conversion, checks, the watch over the folder."""
