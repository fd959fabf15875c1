"""Local replicas of the services, on the loopback interface only."""
