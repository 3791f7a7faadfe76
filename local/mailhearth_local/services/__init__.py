"""The services of one data folder: started, or found beside a running `up`."""
