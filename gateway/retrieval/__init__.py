"""Files cut into chunks, and searched: what /v1/vector_stores is made of."""
