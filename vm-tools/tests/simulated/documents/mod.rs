//! Documents in DisposableVMs: `qvm-open-in-dvm`, and both roles of what udev runs.

mod answers;
mod opening;
mod sending;
mod together;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Child;

use protocol::reply::{Code, Detail};
use protocol::types::Device;

use crate::host::{Ended, Host, finish};

pub const OPEN: &str = "qvm-open-in-dvm";

/// VM 1 is *work*, which has documents, VM 2 is *disp1*, a DisposableVM.
fn start() -> Option<Host> {
    let mut host = Host::start_with(&["work", "disp1"])?;
    host.serve();
    Some(host)
}

/// Grants `new` to a VM; gives the image.
fn grant_new(host: &mut Host, domid: u16) -> PathBuf {
    let (words, reqid) = host.request(domid);
    let mib: u64 = words.strip_prefix("new ").unwrap().parse().unwrap();
    assert!(mib >= 64);
    let image = host.image(mib);
    host.attach_outgoing(domid, &image);
    host.answer(domid, &reqid, Code::Ok, Detail::DeviceXvdg);
    image
}

/// Grants `send disposable` of *work*; the image is nobody's then.
fn grant_send(host: &mut Host, tool: Child, seq: u32) -> Ended {
    let (words, reqid) = host.request(1);
    assert_eq!(words, format!("send disposable {seq}"));
    host.detach(1, Device::Outgoing);
    host.answer(1, &reqid, Code::Ok, Detail::Done);
    finish(tool)
}

fn entry(host: &Host, seq: u32) -> Option<String> {
    fs::read_to_string(host.home("work").join(format!(".dvm/{seq}"))).ok()
}

/// What an image begins with: the header and so many bytes more.
fn beginning(image: &Path, bytes: usize) -> Vec<u8> {
    let mut beginning = vec![0; 1024 + bytes];
    File::open(image).unwrap().read_exact_at(&mut beginning, 0).unwrap();
    beginning
}

fn header(size: u64, name: &str) -> Vec<u8> {
    let mut header = size.to_le_bytes().to_vec();
    header.extend(name.as_bytes());
    header.resize(1024, 0);
    header
}

/// A pendrive with these bytes at its beginning.
fn pendrive(host: &Host, bytes: &[u8]) -> PathBuf {
    let image = host.image(64);
    File::options().write(true).open(&image).unwrap().write_all_at(bytes, 0).unwrap();
    image
}

fn document(name: &str, content: &[u8]) -> Vec<u8> {
    [&header(content.len() as u64, name), content].concat()
}

/// Serves a request of exactly these words.
fn grant(host: &mut Host, domid: u16, expected: &str) {
    let (words, reqid) = host.request(domid);
    assert_eq!(words, expected);
    match expected {
        "umount" => host.detach(domid, Device::Incoming),
        "killme" => {}
        _ => host.detach(domid, Device::Outgoing),
    }
    host.answer(domid, &reqid, Code::Ok, Detail::Done);
}

/// What opens documents in *disp1*: a script of the shell, which has the document as its `$1`. That it ran, and with
/// what, is in `opened`.
fn editor(host: &Host, script: &str) {
    let home = host.home("disp1");
    let path = home.join("editor");
    testkit::write_program(
        &path,
        &format!("#!/bin/sh\nprintf '%s\\0' \"$@\" >> /home/user/opened\n{script}\n"),
    );
    fs::write(home.join("vm.toml"), "open_with = [\"/home/user/editor\"]\nhand_over_s = 0\n").unwrap();
}

/// The paths that the editor was started with.
fn opened(host: &Host) -> Vec<String> {
    let text = fs::read_to_string(host.home("disp1").join("opened")).unwrap_or_default();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// The same document, said to be so large.
fn sized(document: &[u8], bytes: u64) -> Vec<u8> {
    [&bytes.to_le_bytes()[..], document.get(8..).unwrap()].concat()
}
