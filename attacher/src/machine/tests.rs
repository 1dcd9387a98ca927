//! Every state of a place with every event, and what the machine promises across many steps.

use protocol::attach::{ORDERS_OPEN_MAX, Order};
use protocol::reply::{Code, Detail};
use protocol::types::Seq;

use super::*;

mod matrix;
mod promises;

const IMAGE: ImageId = ImageId([1; 16]);
const OTHER: ImageId = ImageId([2; 16]);
const CONNECT_MS: Millis = 1_000;
const BOOT_MS: Millis = 9_000;
const CLOSE_MS: Millis = 500;

fn domid(number: u16) -> Domid {
    Domid::new(number).unwrap()
}

fn place() -> Place {
    Place { domid: domid(5), device: Device::Outgoing }
}

fn limits() -> Limits {
    Limits {
        images_max: 8,
        total_mib_max: 4096,
        connect_ms_max: CONNECT_MS,
        boot_ms_max: BOOT_MS,
        close_ms_max: CLOSE_MS,
    }
}

fn name() -> VmName {
    VmName::new(b"guest").unwrap()
}

fn incoming() -> Attachment {
    let source = VmName::new(b"work").unwrap();
    Attachment::Incoming { source, seq: Seq::new(3).ok(), writable: false }
}

fn reply() -> Reply {
    Reply { reqid: None, code: Code::Ok, detail: Detail::Done }
}

fn mib(size: u32) -> SizeMib {
    SizeMib::new(size).unwrap()
}

fn order(number: u64, order: Order) -> Event {
    Event::Order(AttachRequest { id: OrderId(number), order })
}

fn attach(number: u64, image: ImageId, to: u16, attachment: Attachment) -> Event {
    order(number, Order::Attach { image, domid: domid(to), name: name(), boots: false, place: attachment })
}

fn detach(number: u64, image: ImageId) -> Event {
    order(number, Order::Detach { image, domid: domid(5), device: Device::Outgoing })
}

/// A machine with two images and nothing attached.
fn machine() -> Machine {
    let found = Found { images: vec![(IMAGE, 1024), (OTHER, 1024)], places: Vec::new() };
    let (mut machine, actions) = Machine::new(limits(), found);
    assert_eq!(actions, []);
    machine.step(Event::SpareMade(true), 0);
    machine
}

/// The answers among actions.
fn answers(actions: &[Action]) -> Vec<(u64, Outcome)> {
    let answer = |action: &Action| {
        if let Action::Answered(id, outcome) = action { Some((id.0, outcome.clone())) } else { None }
    };
    actions.iter().filter_map(answer).collect()
}

fn failed(failure: AttachFailure) -> Outcome {
    Outcome::Failed(failure)
}
