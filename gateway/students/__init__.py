"""Students as the gateway sees them: asked, compared, watched."""
