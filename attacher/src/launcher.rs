//! dvm-launcher: which command is run when, and what its end means. It starts nothing itself.

pub mod machine;
pub mod worker;
