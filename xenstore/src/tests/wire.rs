//! Framing and matching of replies.

use super::client_of;
use crate::path::{DomainListPath, DomainPath, OwnPath};
use crate::wire::{Header, Kind, PATH_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::{DIRECTORY_TRIES_MAX, Error, Permissions, Refusal, missing_is_none};
use protocol::types::Domid;
use std::io::Write;
use std::time::{Duration, Instant};

fn qpen() -> DomainPath {
    DomainPath::qpen(Domid::new(5).unwrap())
}

#[test]
fn a_request_carries_its_path_with_a_nul_and_its_value_without() {
    let (mut client, server) = client_of(|server| {
        assert_eq!(server.serve(Kind::Write, b"OK\0").payload, b"/local/domain/5/device/qpen\0umount");
        assert_eq!(server.serve(Kind::Read, b"um\0ount\xff").payload, b"/local/domain/5/device/qpen\0");
        assert_eq!(server.serve(Kind::SetPerms, b"OK\0").payload, b"/local/domain/5/device/qpen\0n0\0b5\0");
        server.serve(Kind::GetPerms, b"n0\0b5\0");
        server.serve(Kind::Mkdir, b"OK\0");
        server.serve(Kind::Rm, b"OK\0");
    });
    let permissions = Permissions::guest_reads_and_writes(Domid::new(5).unwrap());
    client.write(&qpen(), b"umount").unwrap();
    assert_eq!(client.read(&qpen()).unwrap(), b"um\0ount\xff");
    client.set_permissions(&qpen(), &permissions).unwrap();
    assert_eq!(client.permissions(&qpen()), Ok(permissions));
    client.mkdir(&qpen()).unwrap();
    client.rm(&qpen()).unwrap();
    server.join().unwrap();
}

#[test]
fn a_reply_in_many_small_pieces_is_whole() {
    let (mut client, server) = client_of(|server| {
        let request = server.expect(Kind::Read);
        let header =
            Header { kind: 2, request_id: request.header.request_id, transaction_id: 0, payload_bytes: 5 };
        for byte in header.encode() {
            server.stream.write_all(&[byte]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        server.stream.write_all(b"hel").unwrap();
        std::thread::sleep(Duration::from_millis(5));
        server.stream.write_all(b"lo").unwrap();
    });
    assert_eq!(client.read(&qpen()).unwrap(), b"hello");
    server.join().unwrap();
}

#[test]
fn l19_values_of_0_1_and_4096_bytes_are_read() {
    for length in [0, 1, PAYLOAD_BYTES_MAX] {
        let (mut client, server) = client_of(move |server| {
            server.serve(Kind::Read, &vec![b'v'; length]);
        });
        assert_eq!(client.read(&qpen()).unwrap().len(), length);
        server.join().unwrap();
    }
}

#[test]
fn l19_a_reply_of_4097_bytes_ends_the_connection() {
    let (mut client, server) = client_of(|server| {
        let request = server.expect(Kind::Read);
        let header =
            Header { kind: 2, request_id: request.header.request_id, transaction_id: 0, payload_bytes: 4097 };
        server.stream.write_all(&header.encode()).unwrap();
        assert_eq!(server.next(), None);
    });
    let error = client.read(&qpen()).unwrap_err();
    assert!(error.is_fatal());
    assert_eq!(client.read(&qpen()), Err(error));
    drop(client);
    server.join().unwrap();
}

#[test]
fn l19_requests_of_4096_bytes_are_sent_and_longer_ones_are_not() {
    let fits = PAYLOAD_BYTES_MAX - "/local/domain/5/device/qpen".len() - 1;
    let (mut client, server) = client_of(|server| {
        assert_eq!(server.serve(Kind::Write, b"OK\0").payload.len(), PAYLOAD_BYTES_MAX);
        server.serve(Kind::Read, b"still in step");
    });
    client.write(&qpen(), &vec![b'v'; fits]).unwrap();
    assert_eq!(client.write(&qpen(), &vec![b'v'; fits + 1]), Err(Error::TooLong));
    assert_eq!(client.read(&qpen()).unwrap(), b"still in step");
    server.join().unwrap();
}

#[test]
fn a_path_with_a_nul_is_refused_before_anything_is_sent() {
    assert_eq!(OwnPath::parse("device/qpen\0x"), Err(Error::BadPath));
    assert!(OwnPath::parse(&"a".repeat(PATH_BYTES_MAX)).is_ok());
}

#[test]
fn a_reply_with_a_foreign_request_id_ends_the_connection() {
    let (mut client, server) = client_of(|server| {
        let request = server.expect(Kind::Read);
        server.send(Kind::Read, request.header.request_id.wrapping_add(1), b"x");
    });
    assert!(matches!(client.read(&qpen()), Err(Error::Broken(_))));
    server.join().unwrap();
}

#[test]
fn a_reply_of_another_type_ends_the_connection() {
    let (mut client, server) = client_of(|server| {
        let request = server.expect(Kind::Read);
        server.send(Kind::Write, request.header.request_id, b"OK\0");
    });
    assert!(matches!(client.read(&qpen()), Err(Error::Broken(_))));
    server.join().unwrap();
}

#[test]
fn a_second_reply_to_one_request_ends_the_connection() {
    let (mut client, server) = client_of(|server| {
        let request = server.expect(Kind::Read);
        server.reply(&request, b"one");
        server.reply(&request, b"two");
        server.next();
    });
    // Whether the first read still succeeds depends on how the two replies arrive.
    drop(client.read(&qpen()));
    assert!(matches!(client.read(&qpen()), Err(Error::Broken(_))));
    drop(client);
    server.join().unwrap();
}

#[test]
fn an_error_is_told_and_the_connection_goes_on() {
    let (mut client, server) = client_of(|server| {
        for name in ["EACCES", "ENOENT", "ENOENT", "ESOMETHING"] {
            let request = server.next().unwrap();
            server.refuse(&request, name);
        }
        server.serve(Kind::Read, b"value");
    });
    assert_eq!(client.read(&qpen()), Err(Refusal::Access.into()));
    assert_eq!(missing_is_none(client.read(&qpen())), Ok(None));
    assert_eq!(client.rm(&qpen()), Ok(()));
    assert_eq!(client.read(&qpen()), Err(Refusal::Other.into()));
    assert_eq!(client.read(&qpen()).unwrap(), b"value");
    server.join().unwrap();
}

#[test]
fn no_reply_in_time_ends_the_connection() {
    let (mut client, server) = client_of(|server| while server.next().is_some() {});
    client.set_reply_ms_max(50);
    let began = Instant::now();
    assert_eq!(client.read(&qpen()), Err(Error::TimedOut));
    assert!(began.elapsed() >= Duration::from_millis(50));
    assert_eq!(client.read(&qpen()), Err(Error::TimedOut));
    drop(client);
    server.join().unwrap();
}

#[test]
fn a_server_that_reads_nothing_does_not_hold_the_client_for_ever() {
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let (mut client, server) = client_of(move |_server| {
        let _ended = told.recv();
    });
    client.set_reply_ms_max(50);
    let value = vec![b'v'; 4000];
    // Each of these waits for a reply that never comes; the connection is given up at the first.
    assert_eq!(client.write(&qpen(), &value), Err(Error::TimedOut));
    drop(tell);
    server.join().unwrap();
}

#[test]
fn a_closed_connection_is_told() {
    let (mut client, server) = client_of(|_server| ());
    server.join().unwrap();
    assert_eq!(client.read(&qpen()), Err(Error::Closed));
    assert_eq!(client.pump(), Err(Error::Closed));
}

#[test]
fn a_directory_in_one_reply_is_split() {
    let (mut client, server) = client_of(|server| {
        assert_eq!(server.serve(Kind::Directory, b"0\x005\x0012\0").payload, b"/local/domain\0");
        server.serve(Kind::Directory, b"");
    });
    let names = client.directory(&DomainListPath::new()).unwrap();
    assert_eq!(names, [b"0".to_vec(), b"5".to_vec(), b"12".to_vec()]);
    assert_eq!(client.directory(&DomainListPath::new()), Ok(Vec::new()));
    server.join().unwrap();
}

#[test]
fn a_long_directory_is_read_in_parts_and_anew_when_it_changes() {
    let (mut client, server) = client_of(|server| {
        let request = server.expect(Kind::Directory);
        server.refuse(&request, "E2BIG");
        assert_eq!(server.serve(Kind::DirectoryPart, b"7\0one\0").payload, b"/local/domain\x000\0");
        assert_eq!(server.serve(Kind::DirectoryPart, b"8\0two\0\0").payload, b"/local/domain\x004\0");
        assert_eq!(server.serve(Kind::DirectoryPart, b"8\0uno\0").payload, b"/local/domain\x000\0");
        assert_eq!(server.serve(Kind::DirectoryPart, b"8\0due\0").payload, b"/local/domain\x004\0");
        assert_eq!(server.serve(Kind::DirectoryPart, b"8\0\0").payload, b"/local/domain\x008\0");
    });
    let names = client.directory(&DomainListPath::new()).unwrap();
    assert_eq!(names, [b"uno".to_vec(), b"due".to_vec()]);
    server.join().unwrap();
}

#[test]
fn a_directory_that_never_rests_is_given_up() {
    let (mut client, server) = client_of(|server| {
        let request = server.expect(Kind::Directory);
        server.refuse(&request, "E2BIG");
        for generation in 0..2 * DIRECTORY_TRIES_MAX {
            server.serve(Kind::DirectoryPart, format!("{generation}\0one\0").as_bytes());
        }
    });
    assert_eq!(client.directory(&DomainListPath::new()), Err(Error::Disturbed));
    server.join().unwrap();
}

#[test]
fn a_directory_without_end_is_given_up() {
    let (mut client, server) = client_of(|server| {
        let request = server.expect(Kind::Directory);
        server.refuse(&request, "E2BIG");
        let part = [&b"1\0"[..], &[b'n'; 4000], b"\0"].concat();
        while let Some(request) = server.next() {
            server.reply(&request, &part);
        }
    });
    assert_eq!(client.directory(&DomainListPath::new()), Err(Error::TooMany));
    drop(client);
    server.join().unwrap();
}
