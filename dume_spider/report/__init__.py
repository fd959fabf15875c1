"""The report: one HTML file that shows what a store holds and how far it can be trusted."""
