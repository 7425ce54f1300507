"""The training job: numpy only, a process a rank, gradients exchanged over loopback sockets."""
