"""Files to series with a mask, to windows by index, to batches; the synthetic city; the prepared store."""
