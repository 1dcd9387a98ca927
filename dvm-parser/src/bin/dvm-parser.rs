//! dvm-parser: copies one document that another VM wrote from a raw device into a file.
//!
//! - *Runs as:* the user whose document it will be, in a VM, in namespaces of its own; started for one document.
//! - *Holds:* `device` (read-only) and `output` (a new, empty file), and nothing else.
//! - *May:* find the device's size, read it, write the file, end.
//! - *Must never:* open, name, list or remove anything; get memory; reach another file, process or network.
//! - *Trusts:* nothing that the device holds. Nobody talks to it.
//! - *Ends when:* the document is copied, or something failed. Its exit code says which; what the document is says a
//!   record behind the copy, which whoever started it judges again.
//!
//! The same program serves both ways: in the DisposableVM that opens a document, and in the VM that gets it back.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd};

use dvm_parser::document::transfer::{Trouble, transfer};
use sys::inherit::Inherited;
use sys::sandbox::Sandboxed;

/// The copy is whole.
const EXIT_DONE: u8 = 0;

fn main() {
    // Without a reporter: that would be one more descriptor.
    sys::worker::run(&sandbox_profiles::DVM_PARSER, None, run)
}

/// Takes the descriptors and does the work. They are never closed, since that would be one more system call.
fn run(mut inherited: Inherited, sandboxed: Sandboxed) -> u8 {
    let (device, output) =
        (ManuallyDrop::new(inherited.take("device")), ManuallyDrop::new(inherited.take("output")));
    match (&*device, &*output) {
        (Ok(device), Ok(output)) => copy(&sandboxed, device.as_fd(), output.as_fd()),
        (Err(_), _) | (_, Err(_)) => Trouble::NoDescriptors.exit_code(),
    }
}

/// It takes the token because everything that is read was chosen by another VM.
fn copy(_sandboxed: &Sandboxed, device: BorrowedFd<'_>, output: BorrowedFd<'_>) -> u8 {
    transfer(device, output).map_or_else(Trouble::exit_code, |()| EXIT_DONE)
}
