//! VMs as places to run programs in, and the host that holds them.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Host, XEN_SIM, eventually};

#[test]
fn exit_codes_are_passed_on() {
    let Some(host) = Host::start(&["work"]) else { return };
    for (line, code) in
        [("exit 0", 0), ("exit 1", 1), ("exit 77", 77), ("exit 255", 255), ("kill -9 $$", 137)]
    {
        assert_eq!(host.shell("work", line).status.code(), Some(code), "{line}");
    }
    assert_eq!(host.shell("dom0", "exit 3").status.code(), Some(3));
    let missing = host.command("exec").args(["work", "--", "no-such-program"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(127));
    assert_eq!(host.shell("nobody", "true").status.code(), Some(125));
    let empty = host.command("exec").arg("work").output().unwrap();
    assert!(!empty.status.success());
    let elsewhere =
        Command::new(XEN_SIM).args(["exec", "--dir", "/no/host", "work", "--", "true"]).output().unwrap();
    assert_eq!(elsewhere.status.code(), Some(125));
    let usage = Command::new(XEN_SIM).arg("reboot").output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn the_callers_stdio_and_arguments_are_the_programs() {
    let Some(host) = Host::start(&["work"]) else { return };
    let mut child = host
        .command("exec")
        .args(["work", "--", "sh", "-c", "cat; printf '%s|' \"$@\" >&2", "sh", "--dir", "a b", ""])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"through").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"through"[..], &b"--dir|a b||"[..]));
}

#[test]
fn a_program_finds_itself_in_the_vm() {
    let Some(host) = Host::start(&["work"]) else { return };
    let said = host
        .ok("work", "hostname; pwd; echo $HOME $USER $XENSTORED_PATH ${PATH%%:*}; test -S $XENSTORED_PATH");
    assert_eq!(said, "work\n/home/user\n/home/user user /run/xenstored/socket /run/qfilexchg/bin");
    host.ok("work", "test -x /run/qfilexchg/bin/xen-sim");
    host.ok(
        "work",
        "for d in null zero full random urandom tty; do test -c /dev/$d || exit 1; done; echo x > /dev/null",
    );
    host.ok("work", "test -d /mnt/incoming && test -d /mnt/outgoing && test -d /dev/pts && test -w /dev/shm");
    host.ok(
        "work",
        "echo x > /dev/stdout | cat; test $(cat /proc/1/comm) = xen-sim || test $(cat /proc/1/comm) = exe",
    );
    let path = host.ok("dom0", "echo $XENSTORED_PATH");
    assert!(Path::new(&path).exists());
}

#[test]
fn vms_share_the_hosts_files_read_only_and_nothing_of_their_own() {
    let Some(host) = Host::start(&["work", "vault"]) else { return };
    for place in ["/home/user", "/tmp", "/run", "/mnt/incoming", "/dev", "/dev/shm"] {
        host.ok("work", &format!("echo secret > {place}/of-work"));
        host.ok("vault", &format!("test -d {place} && ! test -e {place}/of-work"));
        assert!(!Path::new(place).join("of-work").exists(), "{place} of the host");
    }
    for place in ["/", "/usr", "/etc", "/home", "/var/tmp", "/run/qfilexchg/bin"] {
        let refused = host.shell("work", &format!("echo x > {place}/of-work"));
        assert!(!refused.status.success(), "{place}");
        assert!(!Path::new(place).join("of-work").exists());
    }
    let dir = host.dir.display();
    host.ok("work", &format!("! test -e {dir}/control"));
    let processes = host.ok("work", "sleep 60 > /dev/null 2>&1 & ls -d /proc/[0-9]* | wc -l");
    assert!(processes.parse::<u32>().unwrap() < 10, "{processes}");
    let seen = host.ok("vault", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
    assert!(!seen.contains("sleep 60"), "{seen}");
}

#[test]
fn a_vm_that_is_started_again_keeps_its_home_and_nothing_else() {
    let Some(host) = Host::start(&["work"]) else { return };
    host.ok("work", "touch /home/user/kept /mnt/incoming/kept /tmp/gone /run/gone");
    let output = host.command("start").arg("work").output().unwrap();
    assert!(!output.status.success(), "it runs already");
    let mut dom0 = host.dom0();
    assert_eq!(dom0.read("/local/domain/1/name").as_deref(), Some("work"));
    host.control("destroy", "work");
    assert_eq!(host.list(), "");
    assert_eq!(dom0.read("/local/domain/1/name"), None);
    host.control("start", "work");
    assert_eq!(host.list(), "work 2 running -\n");
    assert_eq!(dom0.read("/local/domain/2/name").as_deref(), Some("work"));
    host.ok(
        "work",
        "test -e ~/kept && test -e /mnt/incoming/kept && ! test -e /tmp/gone && ! test -e /run/gone",
    );
    assert!(!host.command("destroy").arg("other").output().unwrap().status.success());
}

#[test]
fn destroying_a_vm_ends_its_programs_and_its_connections() {
    let Some(host) = Host::start(&["work"]) else { return };
    let mut client = host.client("work");
    assert_eq!(client.read("domid").as_deref(), Some("1"));
    let sleeper = host.command("exec").args(["work", "--", "sleep", "1000"]).spawn().unwrap();
    eventually("the program runs", || {
        host.ok("work", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").contains("sleep 1000")
    });
    host.control("destroy", "work");
    assert_eq!(sleeper.wait_with_output().unwrap().status.code(), Some(137));
    assert!(client.receive().is_err());
}

#[test]
fn a_paused_vm_stands_still() {
    let Some(host) = Host::start(&["work"]) else { return };
    let ticks = "while :; do echo x >> /tmp/ticks; sleep 0.01; done";
    let mut ticker = host.command("exec").args(["work", "--", "sh", "-c", ticks]).spawn().unwrap();
    let ticks = || fs::metadata(host.dir.join("vms/work/tmp/ticks")).map(|file| file.len()).unwrap_or(0);
    eventually("it ticks", || ticks() > 2);
    host.control("pause", "work");
    let before = ticks();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(ticks(), before);
    host.control("unpause", "work");
    eventually("it ticks again", || ticks() > before);
    host.control("destroy", "work");
    ticker.wait().unwrap();
}

#[test]
fn domains_are_announced_and_a_guest_hears_nothing_of_it() {
    let Some(host) = Host::start(&["work"]) else { return };
    let (mut dom0, mut guest) = (host.dom0(), host.client("work"));
    for client in [&mut dom0, &mut guest] {
        for special in ["@introduceDomain", "@releaseDomain"] {
            client.ask(4, 0, format!("{special}\0t\0").as_bytes()).unwrap();
            assert_eq!(client.receive().unwrap(), (15, format!("{special}\0t\0").into_bytes()));
        }
    }
    host.control("start", "vault");
    assert_eq!(dom0.receive().unwrap().1, b"@introduceDomain\0t\0");
    host.control("destroy", "vault");
    assert_eq!(dom0.receive().unwrap().1, b"@releaseDomain\0t\0");
    guest.send(2, 0, b"domid\0");
    assert_eq!(guest.receive().unwrap(), (2, b"1".to_vec()), "no event came before the reply");
}

#[test]
fn a_domains_directory_comes_first_its_name_later_and_its_introduction_at_last() {
    let Some(host) = Host::start(&["work"]) else { return };
    let mut dom0 = host.dom0();
    for path in ["/local/domain", "@introduceDomain"] {
        dom0.ask(4, 0, format!("{path}\0t\0").as_bytes()).unwrap();
        assert_eq!(dom0.receive().unwrap().0, 15);
    }
    let began = Instant::now();
    let mut start = host.command("start").arg("vault").spawn().unwrap();
    let (mut paths, mut named_after) = (Vec::new(), None);
    while paths.last().is_none_or(|path| path != "@introduceDomain") {
        let event = String::from_utf8(dom0.receive().unwrap().1).unwrap();
        let path = event.split('\0').next().unwrap().to_owned();
        if path == "/local/domain/2/name" {
            named_after = Some(began.elapsed());
        }
        paths.push(path);
    }
    assert!(began.elapsed() >= Duration::from_millis(50));
    assert!(named_after.is_some_and(|time| time >= Duration::from_millis(20)), "{named_after:?}");
    assert_eq!(paths.first().map(String::as_str), Some("/local/domain/2"));
    assert_eq!(paths[paths.len() - 2], "/local/domain/2/name", "nothing but the introduction follows");
    assert!(start.wait().unwrap().success());
    host.ok("vault", "true");
}

#[test]
fn a_vm_that_is_not_complete_can_only_be_destroyed() {
    let Some(host) = Host::start(&[]) else { return };
    // Asked directly, because a program would take longer to start than a VM.
    let ask = |line: &str| {
        let mut stream = UnixStream::connect(host.dir.join("control")).unwrap();
        writeln!(stream, "{line}").unwrap();
        stream
    };
    let answer = |mut stream: UnixStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let start = ask("start work");
    let others = ["pause work", "unpause work", "enter work", "start work", "destroy work"].map(ask);
    let [pause, unpause, enter, again, destroy] = others.map(answer);
    for refused in [pause, unpause, enter] {
        assert_eq!(refused, "error the VM work is still being created\n");
    }
    assert_eq!(again, "error the VM work runs already\n");
    assert_eq!(destroy, "ok\n");
    assert_eq!(answer(start), "error the VM has ended before it was complete\n");
    assert_eq!(host.list(), "");
}

#[test]
fn requests_may_come_in_pieces_and_many_at_once() {
    let Some(host) = Host::start(&["work"]) else { return };
    let mut client = host.client("work");
    let request =
        [[2, 1, 0, 6].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect(), b"domid\0".to_vec()];
    let request: Vec<u8> = request.concat();
    for byte in &request {
        client.raw().write_all(&[*byte]).unwrap();
    }
    assert_eq!(client.receive().unwrap(), (2, b"1".to_vec()));
    client.raw().write_all(&request.repeat(50)).unwrap();
    for _ in 0..50 {
        assert_eq!(client.receive().unwrap(), (2, b"1".to_vec()));
    }
}

#[test]
fn a_request_over_the_limit_ends_the_connection() {
    let Some(host) = Host::start(&["work"]) else { return };
    let mut client = host.client("work");
    let path = "a".repeat(4095);
    assert_eq!(
        client.ask(2, 0, format!("{path}\0").as_bytes()),
        Err("EINVAL".to_owned()),
        "4096 bytes are allowed"
    );
    let header: Vec<u8> = [2, 1, 0, 4097].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
    client.raw().write_all(&header).unwrap();
    assert!(client.receive().is_err());
    assert_eq!(host.client("work").read("domid").as_deref(), Some("1"));
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_delays_nobody() {
    let Some(host) = Host::start(&["work"]) else { return };
    let (mut deaf, mut guest) = (host.dom0(), host.client("work"));
    deaf.ask(4, 0, b"/local/domain/1/data\0t\0").unwrap();
    let long = "x".repeat(1900);
    for number in 0..2000 {
        guest.write(&format!("data/{long}/{number}"), "v").unwrap();
        if number % 100 == 99 {
            guest.remove(&format!("data/{long}"));
        }
    }
    let mut rest = Vec::new();
    deaf.raw().read_to_end(&mut rest).unwrap();
    assert!(rest.len() > 1000, "it was dropped with some events on their way");
}

#[test]
fn a_directory_with_a_long_name_will_do() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("x".repeat(100)).join("y".repeat(100));
    let Some(mut host) = Host::start_in(&dir, &["work"], &[]) else { return };
    let socket = host.ok("dom0", "echo $XENSTORED_PATH");
    assert!(socket.len() <= 107, "{socket}");
    assert_eq!(host.dom0().read("/local/domain/1/name").as_deref(), Some("work"));
    host.ok("work", "test -S /run/xenstored/socket");
    assert_eq!(host.end(), Some(0));
    assert!(!Path::new(&socket).exists());
}

#[test]
fn the_end_of_the_host_leaves_no_socket_and_no_program() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("host");
    let Some(mut host) = Host::start_in(&dir, &["work"], &[]) else { return };
    let sleeper = host.command("exec").args(["work", "--", "sleep", "1000"]).spawn().unwrap();
    eventually("the program runs", || {
        host.ok("work", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").contains("sleep 1000")
    });
    assert!(
        !Command::new(XEN_SIM)
            .arg("up")
            .arg("--no-daemon")
            .arg("--dir")
            .arg(&dir)
            .status()
            .unwrap()
            .success()
    );
    let boot = fs::read_to_string(dir.join("boot_id")).unwrap();
    assert_eq!(host.end(), Some(0));
    assert_eq!(sleeper.wait_with_output().unwrap().status.code(), Some(137));
    for gone in ["control", "xenstored", "vms/work/run", "vms/work/dev"] {
        assert!(!dir.join(gone).exists(), "{gone}");
    }
    let Some(again) = Host::start_in(&dir, &["work"], &[]) else { return };
    assert_ne!(fs::read_to_string(dir.join("boot_id")).unwrap(), boot);
    drop(again);
}

#[test]
fn an_ordinary_user_can_run_a_host() {
    if !rustix::process::getuid().is_root() {
        // Then every other test here shows it.
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = temporary.path().join("xen-sim");
    // Copied by another process: one that another test starts now must not hold it open for writing.
    assert!(Command::new("cp").arg(XEN_SIM).arg(&program).status().unwrap().success());
    let dir = temporary.path().join("host");
    let mut command = Command::new(&program);
    command.args(["up", "--no-daemon", "--vm", "work", "--dir"]).arg(&dir).uid(4711).gid(4711);
    let Some(host) = Host::start_command(command, &dir) else { return };
    assert_eq!(
        host.ok("work", "xenstored=$XENSTORED_PATH; test -w ~ && test -S $xenstored && hostname"),
        "work"
    );
    let own = Command::new(&program)
        .args(["exec", "--dir"])
        .arg(&dir)
        .args(["work", "--", "id", "-u"])
        .uid(4711)
        .gid(4711)
        .output();
    assert_eq!(own.unwrap().stdout, b"0\n");
}
