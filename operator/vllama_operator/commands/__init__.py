"""`vllama cluster`: models in a Kubernetes cluster, for people. Nothing here can do what kubectl cannot."""
