"""What clients leave here between calls: files, batches, stored responses, conversations."""
