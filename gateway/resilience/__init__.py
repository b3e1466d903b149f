"""What keeps calls alive when upstreams, clients or this process fail."""
