//! `cargo xtask xen-bench`: how long things take on a real host, each beside what one would do without the product, in
//! the same dom0 and the same run. The emulator is slow, and so are both: the ratios count.

mod copies;
mod cost;
mod devices;
mod documents;
mod table;

use std::time::Duration;

use crate::LabError;
use crate::clock::Event;
use crate::host::Lab;
use crate::machine::Options;
use crate::product::Product;

/// How often what takes long is measured.
const FEW_ROUNDS: usize = 3;
/// Memory of the machine in MiB: room for many guests.
const MEMORY_MIB: u32 = 4096;
/// Nodes that tell how far a transfer is.
const WANTED: &str = "device/qpen qpen/reply data/seen data/usable data/opened /state /name lab-done";
/// What the receiver's udev starts by itself.
const RULE: &str = "/usr/lib/udev/rules.d/71-qfilexchg-vm.rules";

/// What happened in one measurement.
struct Timeline(Vec<Event>);

impl Timeline {
    /// When a node that ends so first held a value that begins so.
    fn at(&self, path: &str, value: &str) -> Duration {
        let found = self.0.iter().find(|event| event.path.ends_with(path) && event.value.starts_with(value));
        found.unwrap_or_else(|| panic!("{path} never held {value}: {:?}", self.0)).after
    }

    /// The same for the state of a guest's back end.
    fn back_end(&self, domid: u32, devid: u32, state: &str) -> Duration {
        self.at(&format!("/backend/vbd/{domid}/{devid}/state"), state)
    }

    /// When a guest's back end was first there: by the time its state is read it may not be the first one any more.
    fn offered(&self, domid: u32, devid: u32) -> Duration {
        self.back_end(domid, devid, "")
    }

    /// When the back end of an incoming device, whichever guest has it, first had such a state after that time. What is
    /// before is the end of an earlier device.
    fn incoming(&self, state: &str, since: Duration) -> Duration {
        let ends = |event: &&Event| {
            event.path.contains("/backend/vbd/")
                && event.path.ends_with("/51824/state")
                && event.value.starts_with(state)
                && event.after >= since
        };
        self.0.iter().find(ends).unwrap_or_else(|| panic!("no such state {state}: {:?}", self.0)).after
    }
}

/// Runs a script in dom0, and watches xenstore until a node that ends in `end` holds a value.
fn watched(lab: &mut Lab, end: &str, script: &str) -> Timeline {
    let quoted = script.replace('\'', r"'\''");
    let said = lab.dom0(&format!("exec lab-agent clock '{end}' '{quoted}' {WANTED}"));
    Timeline(said.lines().filter_map(Event::parse).collect())
}

/// A command for dom0 that runs a script in a guest.
fn inside(lab: &Lab, guest: &str, script: &str) -> String {
    format!("lab-agent in {} \"{}\" > /dev/null", lab.domid(guest), script.replace('"', "\\\""))
}

/// Has a guest say when it sees a device, in `data/seen`, and when its udev is done with it, in `data/usable`.
fn awaits(lab: &mut Lab, guest: &str, device: &str, mark: &str) {
    let said = lab.guest(guest, &format!("(lab-agent waits {device} {mark} 2>&1 &) | head -n 1"));
    assert_eq!(said, "waiting\n", "{guest} has {device}");
}

/// Measures everything and prints it.
///
/// # Errors
/// There is no lab.
pub fn run(product: &Product, options: &Options) -> Result<(), LabError> {
    let options = Options { memory_mib: MEMORY_MIB, save: false, resume: false, ..options.clone() };
    let mut lab = Lab::start(product, &options)?;
    lab.reset();
    devices::run(&mut lab);
    copies::run(&mut lab);
    documents::run(&mut lab);
    cost::run(&mut lab);
    Ok(())
}
