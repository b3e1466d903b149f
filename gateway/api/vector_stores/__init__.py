"""/v1/vector_stores: files of a project, searched by what they say."""
