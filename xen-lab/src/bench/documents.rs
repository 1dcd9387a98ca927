//! A document in a DisposableVM, step by step.

use super::table::{self, Times};
use super::{FEW_ROUNDS, inside, watched};
use crate::host::Lab;
use crate::scenarios::disposable;

/// From `send disposable` to the document being open.
pub fn run(lab: &mut Lab) {
    type Way = fn(&mut Lab);
    let ways: [(&'static str, Way); 2] = [
        ("send disposable to document open, xl create", disposable::by_create),
        ("send disposable to document open, xl restore", disposable::by_restore),
    ];
    for (name, begin) in ways {
        begin(lab);
        lab.guest("g1", "echo 'a draft' > /home/user/letter.txt; chown user: /home/user/letter.txt");
        let parts =
            ["  the toolstack", "  boot, until the device is connected", "  udev, parser, program started"];
        let (mut whole, mut parts) = (Times::new(name), parts.map(Times::new));
        for _ in 0..=FEW_ROUNDS {
            let script = inside(lab, "g1", "su user -c 'cd; qvm-open-in-dvm letter.txt'");
            let seen = watched(lab, "data/opened=", &script);
            disposable::until_disposed(lab);
            let asked = seen.at("device/qpen", "send");
            // The DisposableVM alone has this device.
            let offered = seen.incoming("", asked);
            let connected = seen.incoming("4", offered);
            let opened = seen.at("data/opened", "");
            whole.add(opened - asked);
            let [toolstack, boot, parse] = &mut parts;
            toolstack.add(offered - asked);
            boot.add(connected - offered);
            parse.add(opened - connected);
        }
        // The first one of all made the saved VM.
        whole.drop_first();
        parts.iter_mut().for_each(Times::drop_first);
        let [toolstack, boot, parse] = &parts;
        table::print_alone(&whole, &[toolstack, boot, parse]);
        lab.end_daemon();
    }
}
