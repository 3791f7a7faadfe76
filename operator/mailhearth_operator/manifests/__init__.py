"""What a pool is made of in a cluster: values in, objects of the Kubernetes API out. No I/O."""
