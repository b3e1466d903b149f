"""A Ray cluster in the place of this machine: the only home of Ray, imported lazily."""
