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
use crate::runner::is_wanted;

/// How often what takes long is measured.
const FEW_ROUNDS: usize = 3;
/// Memory of the machine in MiB: room for many guests.
const MEMORY_MIB: u32 = 4096;
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

    /// When the state of a guest's back end changed for the first time, the second, and so on. By the time a state is read
    /// it may be another one already, so they are counted.
    fn changed<const N: usize>(&self, domid: u32, devid: u32) -> [Duration; N] {
        let path = back_end(domid, devid);
        let mut all = self.0.iter().filter(|event| event.path == path).map(|event| event.after);
        std::array::from_fn(|_| all.next().unwrap_or_else(|| panic!("too few changes: {:?}", self.0)))
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

/// A node of a guest's own.
fn of_guest(lab: &Lab, guest: &str, node: &str) -> String {
    format!("/local/domain/{}/{node}", lab.domid(guest))
}

/// The state of a guest's back end.
fn back_end(domid: u32, devid: u32) -> String {
    format!("/local/domain/0/backend/vbd/{domid}/{devid}/state")
}

/// Runs a script in dom0, and watches nodes until the one that ends in `end` holds a value.
fn watched(lab: &mut Lab, nodes: &[String], end: &str, script: &str) -> Timeline {
    let quoted = script.replace('\'', r"'\''");
    let said = lab.dom0(&format!("exec lab-agent clock '{end}' '{quoted}' {}", nodes.join(" ")));
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

type Part = fn(&mut Lab);

/// What can be measured.
const PARTS: [(&str, Part); 4] =
    [("devices", devices::run), ("copies", copies::run), ("documents", documents::run), ("cost", cost::run)];

/// Measures the parts whose names contain one of the words of `filter`, and prints what came of it.
///
/// # Errors
/// There is no lab, or no such part.
pub fn run(product: &Product, options: &Options, filter: &str) -> Result<(), LabError> {
    let parts: Vec<Part> =
        PARTS.iter().filter(|(name, _)| is_wanted(name, filter)).map(|(_, part)| *part).collect();
    if parts.is_empty() {
        return Err(LabError::NothingWanted(filter.to_owned()));
    }
    let options = Options { memory_mib: MEMORY_MIB, save: false, resume: false, ..options.clone() };
    let mut lab = Lab::start(product, &options)?;
    lab.reset();
    parts.iter().for_each(|part| part(&mut lab));
    Ok(())
}
