"""BOAMP: what its open-data API is asked and answers, and what its notices say."""
