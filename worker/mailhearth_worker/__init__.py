"""RQ workers, which alone open credentials and speak to mail servers, and the scheduler."""
