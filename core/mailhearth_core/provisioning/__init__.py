"""What every provisioner does alike, on one machine and in a cluster: keys, wishes, deletion."""
