//! A document in a DisposableVM, step by step.

use super::table::{self, Times};
use super::{FEW_ROUNDS, inside, of_guest, watched};
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
        // The first one of all makes the saved VM.
        let (mut whole, mut parts) = (Times::without_first(name), parts.map(Times::without_first));
        for _ in 0..=FEW_ROUNDS {
            let script = inside(lab, "g1", "su user -c 'cd; qvm-open-in-dvm letter.txt'");
            // The DisposableVM's number is not known yet.
            let nodes =
                [of_guest(lab, "g1", "device/qpen"), "/51824/state".to_owned(), "data/opened".to_owned()];
            let seen = watched(lab, &nodes, "data/opened=", &script);
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
        let [toolstack, boot, parse] = &parts;
        table::print_alone(&whole, &[toolstack, boot, parse]);
        lab.end_daemon();
    }
}
