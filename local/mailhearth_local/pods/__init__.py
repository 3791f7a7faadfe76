"""What the pods of a cluster run besides the product's own processes: services, jobs, backups."""
