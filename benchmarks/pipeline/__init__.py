"""How fast the pipeline is beside the bare model and beside others: `pyramidion bench pipeline`."""
