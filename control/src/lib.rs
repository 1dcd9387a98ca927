//! qfilexchgctl.
