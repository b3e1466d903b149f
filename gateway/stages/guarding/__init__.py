"""How the guard stage goes about it: which texts there are, who is asked, what becomes of them, streams included."""
