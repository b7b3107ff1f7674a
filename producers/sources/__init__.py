"""Source profiles: what the columns of somebody else's export mean."""
