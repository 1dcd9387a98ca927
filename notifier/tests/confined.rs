//! The notifier as it is shipped, in its real sandbox, on buses that behave and buses that do not.

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use notifier::bus::WAITING_NOTICES_MAX;
    use notifier::{text, wire};
    use protocol::channel::{Channel, pair};
    use protocol::dialog::Recipient;
    use protocol::log::{LogLine, LogText};
    use protocol::notify::{EXIT_NO_BUS, Notice};
    use protocol::types::VmName;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use sandbox_profiles::NOTIFIER;
    use sys::spawn::{Account, Child, Ended, Spawn};
    use testkit::session_bus::{self, Ending};

    const WAIT: Duration = Duration::from_secs(20);
    const AUTHENTICATE: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\n";
    const NO_BUS: Ended = Ended::Code(EXIT_NO_BUS as i32);
    /// An ordinary user: `nobody`.
    const ORDINARY: Account = Account { uid: 65_534, gid: 65_534 };

    struct Notifier {
        child: Child,
        edge: Channel<Notice, LogLine>,
    }

    impl Notifier {
        fn start(bus: UnixStream) -> Self {
            bus.set_nonblocking(true).unwrap();
            let (ours, its) = pair().unwrap();
            let program = File::open(env!("CARGO_BIN_EXE_notifier")).unwrap();
            let null: OwnedFd = File::options().read(true).write(true).open("/dev/null").unwrap().into();
            let bus = OwnedFd::from(bus);
            let spawn = Spawn {
                program: program.as_fd(),
                argv0: NOTIFIER.process,
                args: &[],
                stdio: [null.as_fd(); 3],
                descriptors: &[its.as_fd(), bus.as_fd()],
                account: sys::spawn::can_switch_accounts().then_some(ORDINARY),
                namespaces: NOTIFIER.namespaces,
            };
            Self { child: spawn.start().unwrap(), edge: Channel::new(ours) }
        }

        fn line(&mut self) -> String {
            let deadline = Instant::now() + WAIT;
            loop {
                if let Some(line) = self.edge.receive().unwrap() {
                    return line.text.as_str().to_owned();
                }
                assert!(Instant::now() < deadline, "the notifier says nothing");
                let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
                poll(&mut [PollFd::new(&self.edge, PollFlags::IN)], Some(&timeout)).unwrap();
            }
        }
    }

    /// A notifier, and the bus's end of its connection.
    fn started() -> (Notifier, UnixStream) {
        let (its, bus) = UnixStream::pair().unwrap();
        bus.set_read_timeout(Some(WAIT)).unwrap();
        bus.set_write_timeout(Some(WAIT)).unwrap();
        (Notifier::start(its), bus)
    }

    fn expect(bus: &mut UnixStream, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        bus.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, expected);
    }

    /// The same after the two have agreed.
    fn begun() -> (Notifier, UnixStream) {
        let (notifier, mut bus) = started();
        expect(&mut bus, AUTHENTICATE);
        bus.write_all(b"DATA\r\nOK 0123456789abcdef\r\n").unwrap();
        expect(&mut bus, &[b"BEGIN\r\n", wire::hello(1).as_slice()].concat());
        (notifier, bus)
    }

    fn notice() -> Notice {
        let name = |text: &str| VmName::new(text.as_bytes()).unwrap();
        let rule = LogText::new("30-<b>.policy:7");
        Notice::Decided { allowed: false, source: name("work"), target: Recipient::Vm(name("vault")), rule }
    }

    fn message(serial: u32) -> Vec<u8> {
        wire::notify(serial, text::summary(&notice()), &text::body(&notice()))
    }

    #[test]
    fn a_notice_becomes_a_call_and_the_end_of_the_broker_its_end() {
        let (mut notifier, mut bus) = begun();
        for serial in 2..5 {
            notifier.edge.send(&notice()).unwrap();
            expect(&mut bus, &message(serial));
            bus.write_all(b"l\x02\0\x01\x04\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0").unwrap();
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", notifier.child.pid())).unwrap();
        for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"] {
            assert!(status.contains(line), "{line}");
        }
        drop(notifier.edge);
        assert_eq!(notifier.child.wait().unwrap(), Ended::Code(0));
    }

    #[test]
    fn a_bus_that_refuses_floods_closes_or_says_garbage_ends_this_process_alone() {
        let (mut notifier, mut bus) = started();
        bus.write_all(b"REJECTED EXTERNAL\r\n").unwrap();
        assert!(notifier.line().contains("refuses"));
        assert_eq!(notifier.child.wait().unwrap(), NO_BUS);

        let (mut notifier, mut bus) = begun();
        bus.write_all(&[0xFF; 16]).unwrap();
        assert!(notifier.line().contains("no message"));
        assert_eq!(notifier.child.wait().unwrap(), NO_BUS);

        let (mut notifier, bus) = begun();
        drop(bus);
        assert!(notifier.line().contains("closed"));
        assert_eq!(notifier.child.wait().unwrap(), NO_BUS);

        let (mut notifier, mut bus) = begun();
        let flood = b"l\x02\0\x01\0\0\0\0\x01\0\0\0\0\0\0\0".repeat(4096);
        let broken = loop {
            if let Err(error) = bus.write_all(&flood) {
                break error.kind();
            }
        };
        assert!(matches!(broken, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{broken}");
        assert!(notifier.line().contains("more than it was asked"));
        assert_eq!(notifier.child.wait().unwrap(), NO_BUS);
    }

    #[test]
    fn l18_a_bus_that_does_not_read_keeps_nobody_waiting() {
        let (mut notifier, mut bus) = started();
        for _ in 0..WAITING_NOTICES_MAX + 10 {
            notifier.edge.send(&notice()).unwrap();
        }
        assert!(notifier.line().contains("does not read"));
        expect(&mut bus, AUTHENTICATE);
        bus.write_all(b"DATA\r\nOK 0\r\n").unwrap();
        expect(&mut bus, &[b"BEGIN\r\n", wire::hello(1).as_slice()].concat());
        // Those that waited come once it reads.
        for number in 0..WAITING_NOTICES_MAX {
            expect(&mut bus, &message(u32::try_from(number).unwrap() + 2));
        }
        drop(notifier.edge);
        assert_eq!(notifier.child.wait().unwrap(), Ended::Code(0));
    }

    fn bus_in(folder: &Path) -> (Ending, UnixStream) {
        let (socket, config) = (folder.join("bus"), folder.join("bus.conf"));
        session_bus::write_config(&config, &socket).unwrap();
        let mut command = Command::new("dbus-daemon");
        session_bus::configured_by(&mut command, &config).stdin(Stdio::null());
        let daemon = Ending(command.spawn().unwrap());
        let deadline = Instant::now() + WAIT;
        loop {
            match UnixStream::connect(&socket) {
                Ok(connected) => return (daemon, connected),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The lines of a program, until it says nothing for too long.
    fn within_time(output: std::process::ChildStdout) -> impl Iterator<Item = String> {
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.try_for_each(|line| sender.send(line))
        });
        std::iter::from_fn(move || lines.recv_timeout(WAIT).ok())
    }

    #[test]
    fn the_real_bus_understands_the_call() {
        if !testkit::require_tools(&["dbus-daemon", "dbus-monitor"]) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (_daemon, connected) = bus_in(folder.path());
        let mut command = Command::new("dbus-monitor");
        command.arg("--address").arg(format!("unix:path={}", folder.path().join("bus").display()));
        let mut monitor = Ending(command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap());
        let mut lines = within_time(monitor.0.stdout.take().unwrap());
        // It says this of itself as soon as it sees what others send.
        assert!(lines.any(|line| line.contains("member=NameLost")));
        let mut notifier = Notifier::start(connected);
        notifier.edge.send(&notice()).unwrap();
        assert!(lines.any(|line| line.contains("member=Notify")));
        let arguments: Vec<String> = lines.by_ref().take(9).map(|line| line.trim().to_owned()).collect();
        let expected = [
            "string \"qfilexchgd\"",
            "uint32 0",
            "string \"\"",
            "string \"Pendrive denied\"",
            "string \"work -&gt; vault was denied without a question, by 30-&lt;b&gt;.policy:7\"",
            "array [",
            "]",
            "array [",
            "]",
        ];
        assert_eq!(arguments, expected);
        assert_eq!(lines.next().unwrap().trim(), "int32 -1");
        // Nothing shows notifications on this bus, and that is said.
        assert!(notifier.line().contains("was not shown"));
        drop(notifier.edge);
        assert_eq!(notifier.child.wait().unwrap(), Ended::Code(0));
    }
}
