"""One file per family of commands, imported only when its command runs, so that the start stays fast."""
