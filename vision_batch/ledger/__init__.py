"""Which images are done? Plan, cells, parts, manifest, verify."""
