"""How providers are reached: the only sockets that lead outside."""
