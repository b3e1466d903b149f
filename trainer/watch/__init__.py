"""The watch over what agreement does not show: inputs, outputs, confidence, latency, cost, and teachers that retire."""
