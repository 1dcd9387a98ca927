//! The installed daemon under a real systemd, in a container that is booted for it; only Xen is played.

use std::path::Path;
use std::process::{Command, Stdio};

use super::installed::root;
use super::programs;
use super::root::{Root, text};

/// How long the container may live, in seconds.
const BOOTED_S_MAX: &str = "120";
/// The host that the daemon serves.
const HOST_UNIT: &str = "\
[Service]
ExecStart=/opt/xen-sim up --no-daemon --vm work --vm vault --dir /srv/host
";
/// Runs the script and ends the container.
const SCRIPT_UNIT: &str = "\
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/sh /opt/script
StandardOutput=file:/opt/said
StandardError=file:/opt/errors
ExecStopPost=/bin/systemctl --no-block poweroff
";
/// There is no Xen, and the test does not wait for half a minute.
const DROP_IN: &str = "\
[Unit]
ConditionPathExists=
[Service]
WatchdogSec=3
";
/// What is done in there. Each answer is a line `NAME=VALUE`.
const SCRIPT: &str = r#"
echo booted=yes
systemctl start host
until [ -e /srv/host/xenstored ]; do sleep 0.1; done
systemctl start qfilexchgd && echo started=yes
unit() { systemctl show -P "$1" qfilexchgd; }
in_work() { /opt/xen-sim exec --dir /srv/host work -- "$@"; }
echo "status=$(unit StatusText)"
echo "kept=$(sed -n 's/^CapBnd:\t*//p' /proc/$(unit MainPID)/status)"

in_work /opt/qubes_penctl new
echo "new=$?"

# The daemon's first process, then its broker, is stuck: systemd must end the daemon and start another.
for stuck in qfilexchgd broker; do
    before=$(unit MainPID)
    restarts=$(unit NRestarts)
    for process in $(cat /sys/fs/cgroup/systemd/system.slice/qfilexchgd.service/cgroup.procs \
        /sys/fs/cgroup/system.slice/qfilexchgd.service/cgroup.procs 2>/dev/null); do
        [ "$(cat /proc/$process/comm)" = $stuck ] && kill -STOP $process
    done
    until [ "$(unit NRestarts)" != "$restarts" ] && [ "$(unit ActiveState)" = active ]; do sleep 0.1; done
    [ "$(unit MainPID)" != "$before" ] && echo "renewed_$stuck=yes"
done
echo "watchdog=$(journalctl -u qfilexchgd | grep -c "Failed with result 'watchdog'")"
echo "events=$(journalctl -u qfilexchgd -o json QFILEXCHG_EVENT=request QFILEXCHG_VM=work | grep -c '"QFILEXCHG_DOMID":"1"')"

systemctl stop qfilexchgd
echo "stopped=$(unit Result)"

# As on Xen: loop devices are made within the unit's device rules.
sed -i 's/"simulated"/"xen"/' /etc/qfilexchgd/qfilexchgd.toml
if [ -e /dev/loop-control ]; then
    systemctl start qfilexchgd
    echo "loops=$(ls /dev/qfilexchgd | wc -l)"
    systemctl stop qfilexchgd
fi
# DisposableVMs need the drop-in.
sed -i 's|^create = .*|create = ["/bin/true", "{name}"]|; s|^destroy = .*|destroy = ["/bin/true", "{name}"]|' \
    /etc/qfilexchgd/qfilexchgd.toml
systemctl start qfilexchgd || echo "fenced=$(unit ExecMainStatus)"
install -D -m 644 /usr/share/qfilexchg/disposables.conf /etc/systemd/system/qfilexchgd.service.d/disposables.conf
systemctl daemon-reload
systemctl reset-failed qfilexchgd
systemctl start qfilexchgd && echo "widened=$(systemctl is-active qfilexchgd)"
echo end=yes
"#;

/// What the script said, if the container could be booted. Skips the test otherwise.
fn boot(root: &Root) -> Option<String> {
    let mut nspawn = Command::new("timeout");
    nspawn.args([BOOTED_S_MAX, "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"]);
    nspawn.args(["--private-network", "--capability=all", "--system-call-filter=@known", "--directory"]);
    nspawn.arg(root.path());
    if Path::new("/dev/loop-control").exists() {
        nspawn.arg("--bind=/dev/loop-control");
    }
    let output = nspawn.stdin(Stdio::null()).output().unwrap();
    let said = std::fs::read_to_string(root.path().join("opt/said")).unwrap_or_default();
    if said.starts_with("booted=yes") {
        return Some(said);
    }
    let why = text(&output);
    testkit::skip(&format!(
        "no container can be booted here: {}",
        why.trim().lines().last().unwrap_or_default()
    ));
    None
}

#[test]
fn systemd_starts_watches_and_renews_the_daemon_within_its_unit() {
    if !testkit::require_tools(&["systemd-nspawn", "timeout"]) {
        return;
    }
    let Some((root, dom0, _)) = root() else { return };
    root.succeed(&["dpkg", "--install", &dom0]);
    let put = |to: &str, content: &str| {
        let to = root.path().join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, content).unwrap();
    };
    let shipped = std::fs::read_to_string(root.path().join("etc/qfilexchgd/qfilexchgd.toml")).unwrap();
    let config = shipped
        .replace("kind = \"xen\"", "kind = \"simulated\"")
        .replace("/run/xenstored/socket", "/srv/host/xenstored")
        .replace("kind = \"terminal\"", "kind = \"none\"");
    put("etc/qfilexchgd/qfilexchgd.toml", &config);
    put("etc/systemd/system/host.service", HOST_UNIT);
    put("etc/systemd/system/script.service", SCRIPT_UNIT);
    put("etc/systemd/system/qfilexchgd.service.d/test.conf", DROP_IN);
    put("opt/script", SCRIPT);
    for program in ["xen-sim", "qubes_penctl"] {
        root.put(&programs().join(program), &format!("opt/{program}"));
    }
    root.succeed(&["systemctl", "disable", "qfilexchgd"]);
    root.succeed(&["systemctl", "add-wants", "multi-user.target", "script.service"]);
    let Some(said) = boot(&root) else { return };
    let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let errors = std::fs::read_to_string(root.path().join("opt/errors")).unwrap_or_default();
    for (name, expected) in [
        ("started", "yes"),
        ("status", "Requests are served."),
        // SETGID, SETUID, SETFCAP.
        ("kept", "00000000800000c0"),
        ("new", "0"),
        ("renewed_qfilexchgd", "yes"),
        ("renewed_broker", "yes"),
        ("events", "1"),
        ("stopped", "success"),
        ("fenced", "78"),
        ("widened", "active"),
        ("end", "yes"),
    ] {
        assert_eq!(value(name), Some(expected), "{name}: {said}\n{errors}");
    }
    // More than these two on a machine that is so busy that the daemon itself is late.
    let by_watchdog: u32 = value("watchdog").unwrap().parse().unwrap();
    assert!(by_watchdog >= 2, "{said}\n{errors}");
    if Path::new("/dev/loop-control").exists() {
        assert_eq!(value("loops"), Some("64"), "{said}\n{errors}");
    }
    let drop_ins = ["systemd-analyze", "--man=no", "verify", "qfilexchgd.service"];
    assert_eq!(root.succeed(&drop_ins), "", "with both drop-ins");
}
