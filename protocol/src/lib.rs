//! Messages between the processes.
