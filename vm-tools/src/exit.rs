//! How the tools end: the same exit codes for all of them, so that a script needs one table.

/// Everything was done.
pub const DONE: u8 = 0;
/// It was tried and did not work.
pub const FAILED: u8 = 1;
/// The command line is wrong. Nothing was done.
pub const USAGE: u8 = 2;
/// Done, but some entries were skipped; each was named on stderr.
pub const SKIPPED: u8 = 3;
/// The policy or the person in dom0 said no, or did not answer in time.
pub const DENIED: u8 = 4;
/// Another pendrive or another tool is in the way.
pub const BUSY: u8 = 5;
/// No running VM has that name.
pub const UNKNOWN_VM: u8 = 6;
/// dom0 did not answer in time.
pub const NO_ANSWER: u8 = 7;
/// The files cannot go onto a pendrive. Nothing was asked of dom0.
pub const REFUSED: u8 = 8;
/// Ended by Ctrl-C or SIGTERM.
pub const INTERRUPTED: u8 = 130;

/// The table that every `--help` ends with.
pub const HELP: &str = "\
Exit codes:
    0  done
    1  tried and failed
    2  wrong command line, nothing was done
    3  done, but some entries were skipped (links, devices, sockets, ...)
    4  denied by the policy or the person in dom0
    5  busy: another pendrive or another tool is in the way
    6  no running VM has that name
    7  no answer from dom0 in time
    8  these files cannot go onto a pendrive, nothing was asked of dom0
  130  interrupted
";
