"""`make e2e`: on whatever cluster KUBECONFIG names; it makes and deletes a namespace there."""
