//! A simulated Xen host.
