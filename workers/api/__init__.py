"""The API's side of the house: `protocol` knows what is said, `client` says it over HTTP."""
