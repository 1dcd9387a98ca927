//! The broker's state machine by sequences of events, with the invariants of its own tests.

use protocol::attach::AttachFailure;
use protocol::launch::LaunchFailure;
use protocol::settings::BrokerSettings;
use protocol::supervise::Role;

use crate::bytes::Bytes;
use crate::liars;
use play::{Play, Step};

#[path = "../../../broker/tests/machine/play.rs"]
mod play;
#[path = "../../../broker/tests/machine/world.rs"]
#[expect(dead_code, reason = "its other helpers are for single tests")]
mod world;

/// Steps of one input.
const STEPS_MAX: usize = 150;

/// The first byte says whether the broker's neighbours keep to the protocol.
pub fn run(untrusted: &[u8]) {
    let mut bytes = Bytes::new(untrusted);
    if bytes.flag() {
        return liars::run(bytes);
    }
    let mut play = Play::new();
    for _ in 0..STEPS_MAX {
        if bytes.is_empty() {
            break;
        }
        play.step(step(&mut bytes));
    }
    play.finish();
}

/// Those of the broker's tests.
pub(crate) fn settings() -> BrokerSettings {
    world::settings()
}

fn step(bytes: &mut Bytes<'_>) -> Step {
    let vm = |bytes: &mut Bytes<'_>| [1, 2, 3][bytes.below(3)];
    let failures = [
        AttachFailure::Io,
        AttachFailure::GuestSilent,
        AttachFailure::NoSpace,
        AttachFailure::Xenstore,
        AttachFailure::NoLoopDevice,
    ];
    let roles = [Role::Attacher, Role::Monitor, Role::Dialog, Role::Launcher, Role::Control];
    match bytes.below(24) {
        0 => Step::New(vm(bytes)),
        1 => Step::Send(vm(bytes), bytes.below(3)),
        2 => Step::Umount(vm(bytes)),
        3 => Step::Other(vm(bytes), bytes.flag()),
        4 => Step::FiresAgain(vm(bytes)),
        5 => Step::Disposable(bytes.below(2), [0, 1, 2, 4, 5][bytes.below(5)], bytes.below(3)),
        6 => Step::CarryOut(Some(failures[bytes.below(failures.len())])),
        7 => Step::Launch(None),
        8 => Step::Launch(Some(LaunchFailure::ALL[bytes.below(LaunchFailure::ALL.len())])),
        9 => Step::Answer(bytes.below(4), bytes.flag()),
        10 => Step::AnswerByControl(bytes.below(4), bytes.flag()),
        11 => Step::Kill(bytes.below(6)),
        12 => Step::Look(bytes.below(4)),
        13 => Step::Gone(vm(bytes)),
        14 => Step::Returns(bytes.below(3)),
        15 => Step::Dies(roles[bytes.below(roles.len())]),
        16 => Step::Boot,
        17 => Step::Later(u64::from(bytes.half()) * 2 + 1),
        _ => Step::CarryOut(None),
    }
}
