"""French public contracts (DECP): collected, checked, written, published."""
