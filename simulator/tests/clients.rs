//! Other people's clients: Debian's xenstore-utils, and pyxs from PyPI.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::Host;

/// The tools of Debian's package xenstore-utils that are tried.
const TOOLS: [&str; 7] = [
    "xenstore-read",
    "xenstore-write",
    "xenstore-ls",
    "xenstore-list",
    "xenstore-rm",
    "xenstore-chmod",
    "xenstore-watch",
];

#[test]
fn xenstore_utils_work_in_a_vm_with_relative_paths_and_its_permissions() {
    if !testkit::require_tools(&TOOLS) {
        return;
    }
    let Some(host) = Host::start(&["work", "vault"]) else { return };
    assert_eq!(host.ok("work", "xenstore-read name domid"), "work\n1");
    host.ok("work", "xenstore-write data/a 'hello world' data/b 2");
    assert_eq!(host.ok("dom0", "xenstore-read /local/domain/1/data/a"), "hello world");
    assert_eq!(host.ok("work", "xenstore-ls data"), "a = \"hello world\"\nb = \"2\"");
    assert!(!host.shell("work", "xenstore-write device/qpen new").status.success());
    assert!(!host.shell("vault", "xenstore-read /local/domain/1/data/a").status.success());
    host.ok("dom0", "xenstore-write /local/domain/1/device/qpen ''");
    host.ok("dom0", "xenstore-chmod /local/domain/1/device/qpen n0 b1");
    host.ok("dom0", "xenstore-write /local/domain/1/device/vbd ''");
    host.ok("work", "xenstore-write device/qpen 'new #1'");
    assert!(!host.shell("work", "xenstore-chmod device/qpen b1").status.success());
    let listed = host.ok("dom0", "xenstore-ls -p /local/domain/1/device");
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("qpen = \"new #1\"") && lines[0].ends_with("(n0,b1)"), "{listed}");
    assert!(lines[1].starts_with("vbd = \"\"") && lines[1].ends_with("(n0,r1)"), "{listed}");
    host.ok("work", "xenstore-rm data/a");
    assert!(!host.shell("work", "xenstore-read data/a").status.success());
    let all = host.ok("dom0", "xenstore-ls -f /");
    assert!(all.contains("/local/domain/2/name = \"vault\""), "{all}");
    for number in 0..700 {
        host.dom0().write(&format!("/big/node-with-a-long-name-{number}"), "").unwrap();
    }
    assert_eq!(host.ok("dom0", "xenstore-list /big | wc -l"), "700");
}

#[test]
fn xenstore_watch_sees_what_another_domain_does() {
    if !testkit::require_tools(&TOOLS) {
        return;
    }
    let Some(host) = Host::start(&["work"]) else { return };
    let watch = |vm: &str, path: &str| {
        let mut child = host
            .command("exec")
            .args([vm, "--", "xenstore-watch", "-n", "2", path])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (lines.next().unwrap().unwrap(), lines, child)
    };
    let (first, mut lines, mut child) = watch("dom0", "/local/domain/1/data");
    assert_eq!(first, "/local/domain/1/data");
    host.ok("work", "xenstore-write data/x 1");
    assert_eq!(lines.next().unwrap().unwrap(), "/local/domain/1/data/x");
    assert!(child.wait().unwrap().success());
    let (first, mut lines, mut child) = watch("work", "data");
    assert_eq!(first, "data");
    host.ok("dom0", "xenstore-write /local/domain/1/data/y 1");
    assert_eq!(lines.next().unwrap().unwrap(), "data/y");
    assert!(child.wait().unwrap().success());
}

const PYXS: &str = r#"
import os, pyxs
from pyxs import Client, PyXSError
with Client(unix_socket_path=os.environ["XENSTORED_PATH"]) as c:
    assert c.read(b"domid") == b"1", c.read(b"domid")
    c.write(b"data/py", b"xs")
    assert c.read(b"data/py") == b"xs"
    assert c.list(b"data") == [b"py"], c.list(b"data")
    assert c.get_perms(b"data/py") == [b"n1"], c.get_perms(b"data/py")
    assert c.get_domain_path(1) == b"/local/domain/1"
    c.transaction(); c.write(b"data/py", b"tx"); c.commit()
    assert c.read(b"data/py") == b"tx"
    c.transaction(); c.write(b"data/py", b"no"); c.rollback()
    assert c.read(b"data/py") == b"tx"
    try:
        c.write(b"device/qpen", b"new")
    except PyXSError as error:
        assert "13" in str(error) or "EACCES" in str(error) or "ermission" in str(error), error
    else:
        raise SystemExit("a guest wrote what it must not")
    with c.monitor() as m:
        m.watch(b"data", b"token")
        first = next(m.wait())
        assert (first.path, first.token) == (b"data", b"token"), first
    c.delete(b"data/py")
    assert not c.exists(b"data/py")
print("pyxs is content")
"#;

#[test]
fn pyxs_works_in_a_vm() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(python) = python_with_pyxs(temporary.path()) else { return };
    // The VM has its own /tmp, so the environment comes from its home directory.
    let dir = temporary.path().join("host");
    let Some(host) = Host::start_in(&dir, &["work"], &[]) else { return };
    let site = temporary.path().join("site");
    std::fs::rename(&site, dir.join("vms/work/home/site")).unwrap();
    let output = host
        .command("exec")
        .args(["work", "--", "env", "PYTHONPATH=/home/user/site", "PYTHONNOUSERSITE=1"])
        .arg(python)
        .args(["-c", PYXS])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "pyxs is content\n", "{output:?}");
}

/// A Python that can import pyxs from the directory `site` below `dir`; says why not otherwise.
fn python_with_pyxs(dir: &Path) -> Option<PathBuf> {
    if !testkit::require_tools(&["python3"]) {
        return None;
    }
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(dir).output();
        output.ok().filter(|output| output.status.success())
    };
    let arguments = ["-m", "pip", "install", "--quiet", "--target", "site", "pyxs"];
    let installed = run(Path::new("python3"), &arguments).or_else(|| {
        // Debian's Python has no pip of its own, but one for virtual environments.
        run(Path::new("python3"), &["-m", "venv", "venv"])?;
        run(&dir.join("venv/bin/python3"), &arguments)
    });
    let found =
        installed.and_then(|_| run(Path::new("python3"), &["-c", "import sys; print(sys.executable)"]));
    let Some(found) = found else {
        testkit::skip("pyxs cannot be installed from PyPI here");
        return None;
    };
    Some(PathBuf::from(String::from_utf8(found.stdout).unwrap().trim()))
}
