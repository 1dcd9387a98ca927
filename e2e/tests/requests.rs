//! Every line of the request table, written as any guest can write it, gives a reply of the reply table.

use e2e::Host;

/// Writes raw bytes into the request key over the guest's own socket, which a command line cannot do.
fn write_raw(host: &Host, vm: &str, value: &[u8]) {
    let octal: String = value.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let script = r"import socket, struct, os, sys
value = os.fsencode(sys.argv[1]).decode('unicode_escape').encode('latin-1')
s = socket.socket(socket.AF_UNIX); s.connect(os.environ['XENSTORED_PATH'])
body = b'device/qpen\0' + value
s.sendall(struct.pack('<IIII', 11, 1, 0, len(body)) + body)
head = s.recv(16, socket.MSG_WAITALL); kind, _, _, size = struct.unpack('<IIII', head)
answer = s.recv(size, socket.MSG_WAITALL)
sys.exit(0 if kind == 11 else answer.decode())
";
    let ran = host.exec(vm, &["python3", "-c", script, &octal]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn every_request_gets_the_reply_of_the_table() {
    if !testkit::require_tools(&["xenstore-write", "xenstore-read", "xenstore-ls"]) {
        return;
    }
    let host = Host::up_without_dialog(&["work", "vault"]);
    assert_eq!(host.request("work", "send nobody #w1"), "unknown no running VM of that name");
    assert!(host.request("work", "send vault #w2").starts_with("busy "));
    assert!(host.request("work", "umount #w3").starts_with("busy "));
    assert!(host.request("work", "killme #w4").starts_with("denied "));
    assert_eq!(host.request("work", "new #w5"), "ok xvdg");
    assert!(host.request("work", "new #w6").starts_with("busy "));
    assert!(host.request("work", "send disposable 7 #w7").starts_with("failed "));
    // Nobody can be asked: denied at once, and the pendrive stays.
    assert!(host.request("work", "send vault #w8").starts_with("denied "));
    assert_eq!(host.devices("work"), ["xvdg"]);
    assert_eq!(host.request("vault", "new 64 #v1"), "ok xvdg");
    let device = host.path().join("vms/vault/dev/xvdg");
    assert_eq!(std::fs::metadata(device).unwrap().len(), 64 << 20);
}

#[test]
fn l1_malformed_requests_are_answered_and_end_nothing() {
    if !testkit::require_tools(&["xenstore-write", "xenstore-read", "python3"]) {
        return;
    }
    let host = Host::up_without_dialog(&["work"]);
    let before = e2e::processes(host.pid()).iter().map(|process| process.pid).collect::<Vec<_>>();
    let long = |length: usize| {
        format!("{:<width$}#long{length}", "umount", width = length - 5 - length.to_string().len())
    };
    let cases: [(&[u8], &str); 14] = [
        (b"   #sp", "sp invalid"),
        (b"frobnicate #f", "f invalid"),
        (b"send vault 0 #s0", "s0 invalid"),
        (b"send vault 2147483648 #s1", "s1 invalid"),
        (b"send vault 2147483647 #s2", "s2 unknown"),
        (b"send disposable 0 #s3", "s3 invalid"),
        (b"new #a #b", "b invalid"),
        (b"new -1 #n", "n invalid"),
        (b"new 99999999999999999999 #o", "o invalid"),
        (b"send ../x #p", "p invalid"),
        (b"um\0ount #z", "z invalid"),
        (b"\xff\xfe umount #u", "u invalid"),
        (b"umount #t\n", "t busy"),
        (b"umount #y\0", "y busy"),
    ];
    for (value, expected) in cases {
        write_raw(&host, "work", value);
        host.wait_for(expected, || host.reply("work").starts_with(expected));
    }
    write_raw(&host, "work", long(256).as_bytes());
    host.wait_for("256 bytes are a request", || host.reply("work").starts_with("long256 busy"));
    write_raw(&host, "work", long(257).as_bytes());
    host.wait_for("257 bytes are none", || host.reply("work").starts_with("long257 invalid"));
    // Only spaces, without an id, and then nothing at all: the first is invalid, the second no request.
    write_raw(&host, "work", b"     ");
    host.wait_for("spaces are invalid", || host.reply("work").starts_with("- invalid"));
    assert_eq!(host.request("work", "umount #last"), "busy there is no pendrive at xvdh");
    write_raw(&host, "work", b"");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(host.reply("work").starts_with("last busy"), "an empty value is no request");
    let after = e2e::processes(host.pid()).iter().map(|process| process.pid).collect::<Vec<_>>();
    assert_eq!(before, after, "no process ended or was restarted");
}

#[test]
fn l7_no_byte_of_a_request_reaches_the_log_raw() {
    if !testkit::require_tools(&["python3"]) {
        return;
    }
    let host = Host::up_without_dialog(&["work"]);
    write_raw(&host, "work", b"\x1b]0;owned\x07 \x1b[31m evil %s%n $(id) `id` #esc");
    host.wait_for("the reply", || host.reply("work").starts_with("esc invalid"));
    let output = host.output();
    assert!(!output.contains('\u{1b}') && !output.contains("owned") && !output.contains("evil"), "{output}");
}

#[test]
fn a_removed_key_comes_back_with_its_permissions() {
    if !testkit::require_tools(&["xenstore-rm", "xenstore-ls", "xenstore-write"]) {
        return;
    }
    let host = Host::up_without_dialog(&["work"]);
    for round in 0..5 {
        let _ = host.exec("work", &["xenstore-rm", "device/qpen"]);
        host.wait_for("the key", || {
            host.exec("dom0", &["xenstore-ls", "-fp", "/local/domain/1/device"])
                .stdout
                .contains("/qpen = \"\"")
        });
        host.wait_for("its permissions", || {
            let listing = host.exec("dom0", &["xenstore-ls", "-fp", "/local/domain/1/device"]).stdout;
            listing.lines().any(|line| line.contains("/qpen") && line.contains("(n0,b1)"))
        });
        assert!(host.request("work", &format!("umount #again{round}")).starts_with("busy "));
    }
}

#[test]
fn l16_a_guest_cannot_read_or_write_the_keys_of_another() {
    if !testkit::require_tools(&["xenstore-write", "xenstore-read", "xenstore-chmod"]) {
        return;
    }
    let host = Host::up_without_dialog(&["work", "vault"]);
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    for program in [
        &["xenstore-read", "/local/domain/1/device/qpen"][..],
        &["xenstore-read", "/local/domain/1/qpen/reply"],
        &["xenstore-write", "/local/domain/1/device/qpen", "umount"],
        &["xenstore-write", "/local/domain/1/qpen/reply", "n failed"],
        &["xenstore-write", "/local/domain/0/backend/vbd/1/51808/state", "6"],
    ] {
        assert_ne!(host.exec("vault", program).code, 0, "{program:?}");
    }
    // Not even its own reply, nor the permissions of its own request key.
    assert_ne!(host.exec("work", &["xenstore-write", "qpen/reply", "n ok forged"]).code, 0);
    assert_ne!(host.exec("work", &["xenstore-chmod", "device/qpen", "n1"]).code, 0);
    assert_eq!(host.reply("work"), "n ok xvdg");
}

#[test]
fn a_name_that_two_running_vms_have_names_neither() {
    if !testkit::require_tools(&["xenstore-write", "xenstore-read"]) {
        return;
    }
    let host = Host::up_with_policy(&["work", "vault", "mail"], "copy * * allow\n");
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    let ran = host.exec("dom0", &["xenstore-write", "/local/domain/3/name", "vault"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    host.wait_for("the new name", || host.output().contains("domain 3 is vault"));
    assert_eq!(host.request("work", "send vault #s1"), "failed several running VMs have that name");
    assert_eq!(host.request("work", "send mail #s2"), "unknown no running VM of that name");
    let ran = host.exec("dom0", &["xenstore-write", "/local/domain/3/name", "not a name"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    host.wait_for("the unfit name", || host.output().contains("domain 3 takes no part"));
    assert_eq!(host.request("work", "send vault #s3"), "ok done");
    assert!(!host.output().contains("not a name"));
}
