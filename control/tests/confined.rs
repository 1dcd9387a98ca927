//! control as it is shipped, in its real sandbox, with real clients of several users and a broker that this test plays.

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use control::desk::CLIENTS_PER_UID_MAX;
    use protocol::channel::{Channel, ChannelError, pair};
    use protocol::codec;
    use protocol::control::{
        AnswerOutcome, ClientReply, ControlCommand, ControlEvent, ControlReply, ControlRequest, KillOutcome,
        REQUEST_BYTES_MAX, Refusal, Ticket,
    };
    use protocol::settings::ControlSettings;
    use protocol::types::ImageId;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::{SendFlags, send};
    use supervisor::control_socket::{connect, listen};
    use sys::spawn::{Account, Child, Ended, Spawn, can_switch_accounts};

    const PATIENCE: Duration = Duration::from_secs(10);
    const ACCOUNT: Account = Account { uid: 64_307, gid: 64_307 };
    const GROUP: u32 = 64_400;
    const KILL: ControlRequest = ControlRequest::Kill { image: ImageId([7; 16]) };

    type Client = Channel<ControlRequest, ClientReply>;

    struct Rig {
        child: Child,
        broker: Channel<ControlCommand, ControlEvent>,
        folder: tempfile::TempDir,
        _listener: OwnedFd,
    }

    impl Rig {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
            let listener = listen(&folder.path().join("s"), None).unwrap();
            // Whoever is refused here is refused by control, not by the mode.
            std::fs::set_permissions(folder.path().join("s"), Permissions::from_mode(0o666)).unwrap();
            let account = can_switch_accounts().then_some(ACCOUNT);
            let settings = match account {
                Some(Account { uid, gid }) => ControlSettings::Accounts { uid, gid, group: Some(GROUP) },
                None => ControlSettings::Owner { uid: rustix::process::geteuid().as_raw() },
            };
            let settings_file = folder.path().join("settings");
            std::fs::write(&settings_file, codec::encode_settings(&settings).unwrap()).unwrap();
            let settings_file = File::open(settings_file).unwrap();
            let (near, far) = pair().unwrap();
            let program = File::open(env!("CARGO_BIN_EXE_control")).unwrap();
            let null = File::options().read(true).write(true).open("/dev/null").unwrap();
            let profile = &sandbox_profiles::CONTROL;
            assert_eq!(profile.descriptors, ["edge", "settings", "listener"]);
            let child = Spawn {
                program: program.as_fd(),
                argv0: profile.process,
                args: &[],
                stdio: [null.as_fd(); 3],
                descriptors: &[far.as_fd(), settings_file.as_fd(), listener.as_fd()],
                account,
                namespaces: profile.namespaces,
            };
            let child = child.start().unwrap();
            Self { child, broker: Channel::new(near), folder, _listener: listener }
        }

        fn socket(&self) -> PathBuf {
            self.folder.path().join("s")
        }

        fn client(&self) -> Client {
            Channel::new(connect(&self.socket()).unwrap())
        }

        /// The next request that reaches the broker.
        fn asked(&mut self) -> (Ticket, u32, ControlRequest) {
            match next(&mut self.broker).unwrap() {
                ControlEvent::Asked { ticket, uid, request } => (ticket, uid, request),
                ControlEvent::Log(line) => panic!("{line:?}"),
            }
        }

        fn replies(&mut self, ticket: Ticket) {
            let reply = ControlReply::Kill(KillOutcome::Begun);
            self.broker.send(&ControlCommand { ticket, reply }).unwrap();
        }

        /// A client that keeps to the rules is served.
        fn serves(&mut self) {
            let deadline = Instant::now() + PATIENCE;
            let mut client = self.client();
            client.send(&KILL).unwrap();
            let ticket = loop {
                match client.receive() {
                    Ok(None) => {}
                    // There are too many that went away and are not forgotten yet.
                    Ok(Some(ClientReply::Refused(Refusal::TooMany))) | Err(ChannelError::Closed) => {
                        client = self.client();
                        client.send(&KILL).unwrap();
                    }
                    other => panic!("{other:?}"),
                }
                if let Some(ControlEvent::Asked { ticket, request, .. }) = self.broker.receive().unwrap() {
                    assert_eq!(request, KILL);
                    break ticket;
                }
                assert!(Instant::now() < deadline, "nothing came");
                std::thread::sleep(Duration::from_millis(5));
            };
            self.replies(ticket);
            let answered = ClientReply::Answered(ControlReply::Kill(KillOutcome::Begun));
            assert_eq!(next(&mut client).unwrap(), answered);
        }

        /// What a client under these ids is told: a word that `python3` prints.
        fn as_other(&self, uid: u32, gid: u32, groups: &[u32]) -> String {
            let script = "import os, socket, sys
groups = [int(word) for word in sys.argv[4:]]
os.setgroups(groups); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[2]))
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(10); s.connect(sys.argv[1])
s.settimeout(0.5)
try: print('refused' if s.recv(100)[:8] == bytes([1,0,0,0,0,0,0,0]) else 'other')
except TimeoutError: print('heard')";
            let mut command = Command::new("python3");
            command.arg("-c").arg(script).arg(self.socket()).arg(uid.to_string()).arg(gid.to_string());
            command.args(groups.iter().map(u32::to_string)).current_dir("/");
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        }
    }

    /// The next message, within [`PATIENCE`].
    fn next<Out: bincode::Encode, In: bincode::Decode<()>>(
        edge: &mut Channel<Out, In>,
    ) -> Result<In, ChannelError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(message) = edge.receive()? {
                return Ok(message);
            }
            assert!(Instant::now() < deadline, "nothing came");
            let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
            poll(&mut [PollFd::from_borrowed_fd(edge.as_fd(), PollFlags::IN)], Some(&timeout)).unwrap();
        }
    }

    #[test]
    fn a_request_reaches_the_broker_with_its_uid_and_the_answer_the_client() {
        let mut rig = Rig::start();
        let mut client = rig.client();
        for id in 1..4 {
            let request = ControlRequest::Answer { id: protocol::dialog::QuestionId(id), yes: true };
            client.send(&request).unwrap();
            let (ticket, uid, asked) = rig.asked();
            assert_eq!((uid, asked), (rustix::process::geteuid().as_raw(), request));
            let reply = ControlReply::Answer(AnswerOutcome::NotOpen);
            rig.broker.send(&ControlCommand { ticket, reply: reply.clone() }).unwrap();
            assert_eq!(next(&mut client).unwrap(), ClientReply::Answered(reply));
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", rig.child.pid())).unwrap();
        let lines: Vec<String> =
            status.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for wanted in ["NoNewPrivs: 1", "Seccomp: 2", "CapEff: 0000000000000000", "CapBnd: 0000000000000000"]
        {
            assert!(lines.iter().any(|line| line == wanted), "{wanted}: {status}");
        }
    }

    #[test]
    fn only_root_and_the_group_are_heard_whatever_the_mode_of_the_socket() {
        if !can_switch_accounts() {
            return testkit::skip("clients of other users need root");
        }
        if !testkit::require_tools(&["python3"]) {
            return;
        }
        let mut rig = Rig::start();
        for (uid, gid, groups, expected) in [
            (1000, 1000, &[][..], "refused"),
            (65_534, 65_534, &[], "refused"),
            (ACCOUNT.uid, ACCOUNT.gid, &[], "refused"),
            (1, 0, &[0], "refused"),
            (1000, GROUP - 1, &[GROUP + 1], "refused"),
            (1000, GROUP, &[], "heard"),
            (1000, 1000, &[27, GROUP], "heard"),
            (0, 0, &[], "heard"),
        ] {
            assert_eq!(rig.as_other(uid, gid, groups), expected, "{uid} {gid} {groups:?}");
        }
        assert!(rig.broker.receive().unwrap().is_none(), "the broker heard nothing of it");
        rig.serves();
    }

    #[test]
    fn l18_hostile_clients_delay_nobody_and_end_nothing() {
        let mut rig = Rig::start();
        let too_long = [0_u8; REQUEST_BYTES_MAX + 1];
        let longest = vec![0_u8; 60_000];
        let cut = codec::encode(&KILL).unwrap()[..10].to_vec();
        for bytes in [&too_long[..], &longest, &cut, &[255; REQUEST_BYTES_MAX], &[0]] {
            let socket = connect(&rig.socket()).unwrap();
            send(&socket, bytes, SendFlags::NOSIGNAL).unwrap();
            let mut client = Client::new(socket);
            assert_eq!(next(&mut client).unwrap(), ClientReply::Refused(Refusal::NotUnderstood));
            assert!(matches!(next(&mut client), Err(ChannelError::Closed)));
        }
        // A descriptor is refused with what carries it.
        let mut client = rig.client();
        client.send_with(&KILL, File::open("/dev/null").unwrap().into()).unwrap();
        assert_eq!(next(&mut client).unwrap(), ClientReply::Refused(Refusal::NotUnderstood));
        // Those that say nothing, and those that ask on and on without reading.
        let silent: Vec<Client> = (0..3).map(|_| rig.client()).collect();
        let mut greedy = rig.client();
        for _ in 0..200 {
            greedy.send(&KILL).unwrap();
        }
        let (ticket, _, _) = rig.asked();
        rig.replies(ticket);
        for _ in 0..20 {
            let (ticket, _, _) = rig.asked();
            rig.replies(ticket);
        }
        drop(greedy);
        for _ in 0..1000 {
            drop(rig.client());
        }
        drop(silent);
        std::thread::sleep(Duration::from_millis(100));
        while rig.broker.receive().unwrap().is_some() {}
        rig.serves();
        assert_eq!(rig.child.try_wait().unwrap(), None);
    }

    #[test]
    fn l19_a_user_has_so_many_connections_and_no_more() {
        let mut rig = Rig::start();
        let mut clients: Vec<Client> = (0..CLIENTS_PER_UID_MAX).map(|_| rig.client()).collect();
        let mut one_more = rig.client();
        assert_eq!(next(&mut one_more).unwrap(), ClientReply::Refused(Refusal::TooMany));
        drop(clients.pop());
        rig.serves();
    }

    #[test]
    fn a_client_that_leaves_before_its_answer_disturbs_nobody() {
        let mut rig = Rig::start();
        let mut client = rig.client();
        client.send(&KILL).unwrap();
        let (ticket, _, _) = rig.asked();
        drop(client);
        rig.replies(ticket);
        rig.serves();
    }

    #[test]
    fn it_ends_with_the_broker_and_by_a_broker_that_answers_what_nobody_asked() {
        let rig = Rig::start();
        let (mut child, broker) = (rig.child, rig.broker);
        drop(broker);
        assert_eq!(child.wait().unwrap(), Ended::Code(0));
        let mut rig = Rig::start();
        rig.replies(Ticket(99));
        assert_eq!(rig.child.wait().unwrap(), Ended::Code(1));
    }
}
