# For compiled code only: see _libzmq.pxd.
