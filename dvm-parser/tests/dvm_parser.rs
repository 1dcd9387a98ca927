//! dvm-parser as it runs: the real program, in namespaces of its own and in its real profile.

#[cfg(test)]
mod ordinary;

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::path::Path;

    use dvm_parser::document::header::{DocumentName, HEADER_BYTES, Header, Rejection};
    use dvm_parser::document::record::{RECORD_BYTES, Record};
    use dvm_parser::document::transfer::Trouble;
    use sys::spawn::{Child, Ended, Spawn};
    use tempfile::TempDir;

    use super::ordinary::as_ordinary_user_too;

    /// A device with these bytes, and the parser that copies it.
    fn start(device: &[u8]) -> (TempDir, Child) {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("device"), device).unwrap();
        let device = File::open(scratch.path().join("device")).unwrap();
        let child = spawn(&device, &File::create_new(scratch.path().join("output")).unwrap());
        (scratch, child)
    }

    fn spawn(device: &File, output: &File) -> Child {
        let profile = &sandbox_profiles::DVM_PARSER;
        let program = File::open(env!("CARGO_BIN_EXE_dvm-parser")).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        Spawn {
            program: program.as_fd(),
            argv0: profile.process,
            args: &[],
            stdio: [null.as_fd(); 3],
            descriptors: &[device.as_fd(), output.as_fd()],
            account: None,
            namespaces: profile.namespaces,
        }
        .start()
        .expect("dvm-parser starts")
    }

    fn run(device: &[u8]) -> (Ended, Vec<u8>) {
        let (scratch, mut child) = start(device);
        let ended = child.wait().unwrap();
        (ended, fs::read(scratch.path().join("output")).unwrap())
    }

    fn device(size_bytes: u64, name: &[u8], document: &[u8]) -> Vec<u8> {
        let header = Header { size_bytes, name: DocumentName::new(name).unwrap() };
        [&header.encode()[..], document].concat()
    }

    /// What `new` gives.
    fn empty_volume() -> Vec<u8> {
        let size = fat::VolumeSize::from_mib(fat::VOLUME_MIB_MIN).unwrap();
        let mut volume = Vec::new();
        for (offset, bytes) in fat::format(size, fat::VolumeLabel::from_name("work"), 1) {
            volume.resize(usize::try_from(offset).unwrap(), 0);
            volume.extend(bytes);
        }
        volume
    }

    #[test]
    fn a_document_is_copied_with_its_record_behind_it() {
        as_ordinary_user_too("a_document_is_copied_with_its_record_behind_it", || {
            let document: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
            let mut bytes = device(8_000_000, "Grüße.odt".as_bytes(), &document);
            bytes.extend([7; 100]);
            let (ended, output) = run(&bytes);
            assert_eq!(ended, Ended::Code(0));
            let record =
                Record::decode(output.last_chunk::<RECORD_BYTES>().unwrap(), output.len() as u64).unwrap();
            assert_eq!((record.size_bytes, record.is_view_only), (8_000_000, false));
            assert_eq!(record.name.as_str(), "Grüße.odt");
            assert!(output[..output.len() - RECORD_BYTES] == document);
        });
    }

    #[test]
    fn the_golden_devices_are_copied() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        for (name, size, is_view_only) in [
            ("hello", 6, false),
            ("empty", 0, false),
            ("umlaut", 3, false),
            ("longest-name", 1, false),
            ("view-only", 6, true),
        ] {
            let bytes = fs::read(golden.join(format!("{name}.bin"))).unwrap();
            let (ended, output) = run(&bytes);
            assert_eq!(ended, Ended::Code(0), "{name}");
            let record =
                Record::decode(output.last_chunk::<RECORD_BYTES>().unwrap(), output.len() as u64).unwrap();
            assert_eq!((record.size_bytes, record.is_view_only), (size, is_view_only), "{name}");
            assert_eq!(
                output[..output.len() - RECORD_BYTES],
                bytes[HEADER_BYTES..][..output.len() - RECORD_BYTES]
            );
        }
    }

    #[test]
    fn l8_what_is_no_document_is_rejected_with_its_reason_and_nothing_is_copied() {
        as_ordinary_user_too(
            "l8_what_is_no_document_is_rejected_with_its_reason_and_nothing_is_copied",
            || {
                let good = device(5, b"name", b"12345");
                let changed = |at: usize, bytes: &[u8]| {
                    let mut device = good.clone();
                    device[at..at + bytes.len()].copy_from_slice(bytes);
                    device
                };
                for (device, reason) in [
                    (Vec::new(), Rejection::TooShort),
                    (vec![0; 1023], Rejection::TooShort),
                    (vec![0; 4096], Rejection::NameEmpty),
                    (vec![b'a'; 4096], Rejection::NameUnterminated),
                    (changed(0, &[6]), Rejection::LargerThanDevice),
                    (changed(7, &[0x80]), Rejection::LargerThanDevice),
                    (changed(0, &[0xFF; 8]), Rejection::LargerThanDevice),
                    (changed(8, b"../x"), Rejection::NameWithSlash),
                    (changed(8, b"..\0\0"), Rejection::NameOfDirectory),
                    (changed(8, b"a\nb"), Rejection::NameWithControl),
                    (changed(8, b"\xff"), Rejection::NameNotUtf8),
                    (changed(1023, b"x"), Rejection::NotZeroFilled),
                    (empty_volume(), Rejection::FileSystem),
                ] {
                    let (ended, output) = run(&device);
                    let code = i32::from(Trouble::Rejected(reason).exit_code());
                    assert_eq!((ended, output.len()), (Ended::Code(code), 0), "{reason}");
                }
            },
        );
    }

    #[test]
    fn a_full_disk_and_an_unreadable_device_are_told_apart() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("device");
        fs::write(&path, device(0, b"name", b"")).unwrap();
        let ended = spawn(&File::open(&path).unwrap(), &full).wait().unwrap();
        assert_eq!(ended, Ended::Code(i32::from(Trouble::NoSpace.exit_code())));
        let unreadable = File::options().write(true).open(&path).unwrap();
        let output = File::create(scratch.path().join("output")).unwrap();
        let ended = spawn(&unreadable, &output).wait().unwrap();
        assert_eq!(ended, Ended::Code(i32::from(Trouble::DeviceUnreadable.exit_code())));
    }

    #[test]
    fn it_has_five_system_calls_and_two_descriptors() {
        let profile = &sandbox_profiles::DVM_PARSER;
        let mut calls: Vec<&str> = profile.syscalls.iter().map(|call| call.name).collect();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls, ["exit_group", "lseek", "pread64", "pwrite64", "sendfile"]);
        assert_eq!(profile.descriptors, ["device", "output"]);
    }

    #[test]
    fn it_runs_confined_with_nothing_but_its_descriptors() {
        as_ordinary_user_too("it_runs_confined_with_nothing_but_its_descriptors", || {
            // Large enough to be looked at while it is copied; sparse, so that it costs nothing before.
            let scratch = tempfile::tempdir().unwrap();
            let path = scratch.path().join("device");
            fs::write(&path, device(1 << 30, b"name", b"")).unwrap();
            File::options().write(true).open(&path).unwrap().set_len((1 << 30) + 2048).unwrap();
            let output = File::create(scratch.path().join("output")).unwrap();
            let child = spawn(&File::open(&path).unwrap(), &output);
            let proc = format!("/proc/{}", child.pid());
            let mut status = String::new();
            for _ in 0..100_000 {
                status.clear();
                File::open(format!("{proc}/status")).unwrap().read_to_string(&mut status).unwrap();
                if status.contains("Seccomp:\t2") {
                    break;
                }
            }
            for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "Threads:\t1", "CapBnd:\t0000000000000000"] {
                assert!(status.contains(line), "{line}: {status}");
            }
            if let Ok(open) = fs::read_dir(format!("{proc}/fd")) {
                let mut open: Vec<String> =
                    open.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
                open.sort();
                assert_eq!(open, ["0", "1", "2", "3", "4"]);
            }
            drop(child);
        });
    }

    #[test]
    fn a_corrupted_header_never_makes_it_crash() {
        let good = device(5, "näme".as_bytes(), b"12345");
        for seed in 0..60_usize {
            let mut device = good.clone();
            device[seed * 17 % HEADER_BYTES] ^= 1 << (seed % 8);
            device[seed % 20] ^= 1 << (seed % 7);
            let (ended, _) = run(&device);
            let Ended::Code(code) = ended else { panic!("seed {seed}: {ended}") };
            assert!(code == 0 || Trouble::from_exit_code(code).is_some(), "seed {seed}: {ended}");
        }
    }
}
