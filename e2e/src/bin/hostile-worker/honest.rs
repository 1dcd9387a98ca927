//! The real workers, by the code that their own programs run.

use protocol::codec;
use protocol::settings::Backing;
use protocol::supervise::Role;
use sys::inherit::Inherited;
use sys::sandbox::Sandboxed;

/// Works as the real one does.
pub fn work(role: Role, inherited: Inherited, sandboxed: &Sandboxed) -> u8 {
    match role {
        Role::Monitor => monitor(inherited, sandboxed),
        Role::Gate => gate(inherited, sandboxed),
        Role::Attacher => attacher(inherited, sandboxed),
        Role::Dialog => dialog(inherited, sandboxed),
        Role::Launcher => launcher(inherited, sandboxed),
        Role::Control => control::worker::run(inherited, sandboxed),
        Role::Notifier => notifier(inherited, sandboxed),
        Role::Broker => broker::run::run(inherited, sandboxed),
    }
}

fn monitor(mut inherited: Inherited, sandboxed: &Sandboxed) -> u8 {
    let [edge, gate] = ["edge", "gate"].map(|name| inherited.take(name).unwrap());
    let mut shell = xs_monitor::shell::Shell::new(edge, gate).unwrap();
    let ended = shell.run(sandboxed);
    shell.report(&ended);
    sys::worker::exit(0)
}

fn gate(mut inherited: Inherited, sandboxed: &Sandboxed) -> u8 {
    let [edge, xenstored, monitor] =
        ["edge", "xenstored", "monitor"].map(|name| inherited.take(name).unwrap());
    let mut relay = attacher::gate::Relay::new(edge, xenstored, monitor).unwrap();
    let ended = attacher::gate::run(&mut relay, sandboxed);
    relay.report(ended);
    sys::worker::exit(0)
}

fn attacher(mut inherited: Inherited, sandboxed: &Sandboxed) -> u8 {
    let [edge, settings, xenstored, images] =
        ["edge", "settings", "xenstored", "images"].map(|name| inherited.take(name).unwrap());
    let bytes = attacher::settings::read_all(&settings).unwrap();
    let settings: protocol::settings::AttacherSettings = codec::decode_settings(&bytes).unwrap();
    assert!(matches!(settings.backing, Backing::File { .. }), "the tests play on a simulated host");
    let resources = attacher::worker::Resources { edge, settings, xenstored, images, loops: None };
    u8::from(attacher::worker::run(resources, sandboxed).is_err())
}

fn dialog(mut inherited: Inherited, sandboxed: &Sandboxed) -> u8 {
    let edge = dialog::worker::BrokerEdge::new(inherited.take("edge").unwrap());
    u8::from(dialog::worker::run(edge, dialog::terminal::standard(), sandboxed).is_err())
}

fn launcher(mut inherited: Inherited, sandboxed: &Sandboxed) -> u8 {
    let [edge, settings, runner] = ["edge", "settings", "runner"].map(|name| inherited.take(name).unwrap());
    let bytes = attacher::settings::read_all(&settings).unwrap();
    let settings = codec::decode_settings(&bytes).unwrap();
    u8::from(attacher::launcher::worker::run(edge, runner, settings, sandboxed).is_err())
}

fn notifier(mut inherited: Inherited, sandboxed: &Sandboxed) -> u8 {
    let [edge, bus] = ["edge", "bus"].map(|name| inherited.take(name).unwrap());
    let _ended = notifier::worker::Worker::new(edge, bus).run(sandboxed);
    sys::worker::exit(protocol::notify::EXIT_NO_BUS)
}
