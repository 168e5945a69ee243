"""The calls that kubelet makes: CSI over gRPC, at two unix sockets."""
