//! Transactions, and the traits of xenstore-rs.

use super::client_of;
use crate::path::{BackNode, FrontNode, OwnPath, VbdPath};
use crate::plain::PlainClient;
use crate::wire::Kind;
use crate::{Error, PIPELINE_REQUESTS_MAX, Permissions, Refusal, TRANSACTION_TRIES_MAX, Token};
use protocol::types::{Device, Domid};
use std::io::ErrorKind;
use xenstore_rs::{Xs, XsTransaction, XsTransactionSpan};

fn vbd() -> VbdPath {
    VbdPath::new(Domid::new(5).unwrap(), Device::Outgoing)
}

#[test]
fn changes_are_sent_without_waiting_for_their_replies() {
    let (mut client, server) = client_of(|server| {
        server.serve(Kind::TransactionStart, b"17\0");
        // Nothing is answered before everything has arrived.
        let requests: Vec<_> = (0..20).map(|_| server.expect(Kind::Write)).collect();
        let permissions = server.expect(Kind::SetPerms);
        assert!(requests.iter().all(|request| request.header.transaction_id == 17));
        for request in requests.iter().chain([&permissions]) {
            server.reply(request, b"OK\0");
        }
        let end = server.serve(Kind::TransactionEnd, b"OK\0");
        assert_eq!((end.header.transaction_id, end.payload.as_slice()), (17, &b"T\0"[..]));
    });
    client
        .transaction(|tx| {
            for _ in 0..10 {
                tx.write(&vbd().front_node(FrontNode::State), b"1")?;
                tx.write(&vbd().back_node(BackNode::State), b"1")?;
            }
            tx.set_permissions(&vbd().front(), &Permissions::guest_owns(Domid::new(5).unwrap()))
        })
        .unwrap();
    server.join().unwrap();
}

#[test]
fn a_long_transaction_reads_replies_before_its_pipeline_is_too_long() {
    let (mut client, server) = client_of(|server| {
        server.serve(Kind::TransactionStart, b"1\0");
        for _ in 0..3 {
            let requests: Vec<_> = (0..PIPELINE_REQUESTS_MAX).map(|_| server.expect(Kind::Write)).collect();
            requests.iter().for_each(|request| server.reply(request, b"OK\0"));
        }
        server.serve(Kind::TransactionEnd, b"OK\0");
    });
    client
        .transaction(|tx| {
            (0..3 * PIPELINE_REQUESTS_MAX).try_for_each(|_| tx.write(&vbd().back_node(BackNode::Mode), b"r"))
        })
        .unwrap();
    server.join().unwrap();
}

#[test]
fn a_disturbed_transaction_is_done_again() {
    let (mut client, server) = client_of(|server| {
        for tried in 0..3 {
            server.serve(Kind::TransactionStart, b"1\0");
            server.serve(Kind::Write, b"OK\0");
            let end = server.expect(Kind::TransactionEnd);
            if tried < 2 { server.refuse(&end, "EAGAIN") } else { server.reply(&end, b"OK\0") }
        }
    });
    let mut tries = 0;
    let result = client.transaction(|tx| {
        tries += 1;
        tx.write(&OwnPath::qpen(), b"new")?;
        Ok(tries)
    });
    assert_eq!(result, Ok(3));
    server.join().unwrap();
}

#[test]
fn a_transaction_that_is_always_disturbed_is_given_up() {
    let (mut client, server) = client_of(|server| {
        for _ in 0..TRANSACTION_TRIES_MAX {
            server.serve(Kind::TransactionStart, b"1\0");
            let end = server.expect(Kind::TransactionEnd);
            server.refuse(&end, "EAGAIN");
        }
        assert_eq!(server.next(), None);
    });
    assert_eq!(client.transaction(|_| Ok(())), Err(Error::Disturbed));
    drop(client);
    server.join().unwrap();
}

#[test]
fn the_first_refused_change_aborts_the_transaction() {
    let (mut client, server) = client_of(|server| {
        server.serve(Kind::TransactionStart, b"1\0");
        server.serve(Kind::Write, b"OK\0");
        for name in ["EACCES", "ENOENT"] {
            let request = server.expect(Kind::Write);
            server.refuse(&request, name);
        }
        assert_eq!(server.serve(Kind::TransactionEnd, b"OK\0").payload, b"F\0");
        server.serve(Kind::Read, b"in step");
    });
    let result = client.transaction(|tx| (0..3).try_for_each(|_| tx.write(&OwnPath::qpen(), b"new")));
    assert_eq!(result, Err(Refusal::Access.into()));
    assert_eq!(client.read(&OwnPath::qpen()).unwrap(), b"in step");
    server.join().unwrap();
}

#[test]
fn what_a_transaction_reads_comes_after_what_it_wrote() {
    let (mut client, server) = client_of(|server| {
        server.serve(Kind::TransactionStart, b"1\0");
        server.serve(Kind::Write, b"OK\0");
        let request = server.expect(Kind::Rm);
        server.refuse(&request, "ENOENT");
        assert_eq!(server.serve(Kind::Read, b"4").header.transaction_id, 1);
        assert_eq!(server.serve(Kind::TransactionEnd, b"OK\0").payload, b"T\0");
    });
    let state = client.transaction(|tx| {
        tx.write(&vbd().back_node(BackNode::Online), b"0")?;
        tx.rm(&vbd().front())?;
        tx.read(&vbd().back_node(BackNode::State))
    });
    assert_eq!(state.unwrap(), b"4");
    server.join().unwrap();
}

#[test]
fn questions_are_sent_without_waiting_and_their_answers_go_to_who_asked() {
    let (mut client, server) = client_of(|server| {
        server.serve(Kind::TransactionStart, b"7\0");
        let value = server.expect(Kind::Read);
        let children = server.expect(Kind::Directory);
        let permissions = server.expect(Kind::GetPerms);
        let change = server.expect(Kind::Write);
        assert!([&value, &children, &permissions].iter().all(|asked| asked.header.transaction_id == 7));
        server.reply(&value, b"4");
        server.refuse(&children, "ENOENT");
        server.reply(&permissions, b"n0\0");
        server.reply(&change, b"OK\0");
        assert_eq!(server.serve(Kind::TransactionEnd, b"OK\0").payload, b"T\0");
    });
    let answers = client.transaction(|tx| {
        let value = tx.ask_value(&vbd().back_node(BackNode::State))?;
        let children = tx.ask_children(&vbd().back())?;
        let permissions = tx.ask_permissions(&vbd().back())?;
        tx.write(&vbd().back_node(BackNode::Online), b"0")?;
        // In any order.
        let permissions = tx.answer(permissions)?;
        Ok((tx.answer(value)?, tx.answer(children), permissions))
    });
    assert_eq!(answers.unwrap(), (b"4".to_vec(), Err(Refusal::NoEntry.into()), b"n0\0".to_vec()));
    server.join().unwrap();
}

#[test]
fn an_answer_that_nobody_takes_stops_nothing() {
    let (mut client, server) = client_of(|server| {
        server.serve(Kind::TransactionStart, b"1\0");
        let question = server.expect(Kind::Read);
        server.refuse(&question, "ENOENT");
        assert_eq!(server.serve(Kind::TransactionEnd, b"OK\0").payload, b"T\0");
        server.serve(Kind::Read, b"in step");
    });
    client.transaction(|tx| tx.ask_value(&OwnPath::reply()).map(drop)).unwrap();
    assert_eq!(client.read(&OwnPath::qpen()).unwrap(), b"in step");
    server.join().unwrap();
}

#[test]
fn l19_more_questions_than_the_pipeline_holds_are_refused() {
    for (questions, expected) in [
        (0, Ok(())),
        (1, Ok(())),
        (PIPELINE_REQUESTS_MAX, Ok(())),
        (PIPELINE_REQUESTS_MAX + 1, Err(Error::TooMany)),
    ] {
        let (mut client, server) = client_of(move |server| {
            server.serve(Kind::TransactionStart, b"1\0");
            for _ in 0..questions.min(PIPELINE_REQUESTS_MAX) {
                server.serve(Kind::Read, b"x");
            }
            let commit: &[u8] = if questions > PIPELINE_REQUESTS_MAX { b"F\0" } else { b"T\0" };
            assert_eq!(server.serve(Kind::TransactionEnd, b"OK\0").payload, commit);
        });
        let asked = client
            .transaction(|tx| (0..questions).try_for_each(|_| tx.ask_value(&OwnPath::reply()).map(drop)));
        assert_eq!(asked, expected, "{questions}");
        server.join().unwrap();
    }
}

#[test]
fn a_watch_is_set_beside_a_transaction_and_one_that_is_there_stays() {
    let token = Token { kind: 1, domid: 5, number: 51808 };
    for (refusal, expected) in [
        (None, Ok(())),
        (Some("EEXIST"), Ok(())),
        (Some("ENOSPC"), Err(Error::Refused(Refusal::of_payload(b"ENOSPC\0")))),
    ] {
        let (mut client, server) = client_of(move |server| {
            server.serve(Kind::TransactionStart, b"3\0");
            let watch = server.expect(Kind::Watch);
            assert_eq!(watch.header.transaction_id, 0);
            match refusal {
                None => server.reply(&watch, b"OK\0"),
                Some(name) => server.refuse(&watch, name),
            }
            let end = server.serve(Kind::TransactionEnd, b"OK\0");
            let commit: &[u8] = if matches!(refusal, Some("ENOSPC")) { b"F\0" } else { b"T\0" };
            assert_eq!(end.payload, commit);
            server.event("backend/vbd/5/51808/state", &token.to_string());
            server.serve(Kind::Read, b"in step");
        });
        let watched = client.transaction(|tx| tx.watch(&vbd().back_node(BackNode::State), token));
        assert_eq!(watched, expected);
        // An event of a watch that was refused is nobody's.
        assert_eq!(client.read(&OwnPath::qpen()).unwrap(), b"in step");
        assert_eq!(client.next_event().map(|event| event.token), expected.is_ok().then_some(token));
        server.join().unwrap();
    }
}

#[test]
fn what_is_done_beside_a_transaction_is_no_part_of_it() {
    let token = Token { kind: 1, domid: 5, number: 51808 };
    for refusal in [None, Some("ENOENT")] {
        let (mut client, server) = client_of(move |server| {
            server.serve(Kind::Watch, b"OK\0");
            server.serve(Kind::TransactionStart, b"3\0");
            server.event("backend/vbd/5/51808/state", &token.to_string());
            for kind in [Kind::Unwatch, Kind::Rm] {
                let request = server.expect(kind);
                assert_eq!(request.header.transaction_id, 0);
                match refusal {
                    None => server.reply(&request, b"OK\0"),
                    Some(name) => server.refuse(&request, name),
                }
            }
            assert_eq!(server.serve(Kind::Rm, b"OK\0").header.transaction_id, 3);
            assert_eq!(server.serve(Kind::TransactionEnd, b"OK\0").payload, b"T\0");
        });
        client.watch(&vbd().back_node(BackNode::State), token).unwrap();
        let removed = client.transaction(|tx| {
            tx.unwatch(&vbd().back_node(BackNode::State), token)?;
            tx.rm_at_once(&vbd().front())?;
            tx.rm(&vbd().back())
        });
        assert_eq!(removed, Ok(()));
        // An event of a watch that was removed is nobody's.
        assert_eq!(client.next_event(), None);
        server.join().unwrap();
    }
}

#[test]
fn a_caller_that_changes_its_mind_aborts() {
    let (mut client, server) = client_of(|server| {
        server.serve(Kind::TransactionStart, b"1\0");
        server.serve(Kind::Write, b"OK\0");
        let end = server.expect(Kind::TransactionEnd);
        assert_eq!(end.payload, b"F\0");
        server.refuse(&end, "ENOENT");
    });
    let result = client.transaction::<()>(|tx| {
        tx.write(&OwnPath::qpen(), b"new")?;
        Err(Error::TooLong)
    });
    assert_eq!(result, Err(Error::TooLong));
    server.join().unwrap();
}

#[test]
fn a_transaction_needs_a_number_that_is_not_zero() {
    for untrusted_id in [&b"0\0"[..], b"\0", b"-1\0", b"x\0", b"4294967296\0"] {
        let (mut client, server) = client_of(move |server| {
            server.serve(Kind::TransactionStart, untrusted_id);
        });
        assert_eq!(client.transaction(|_| Ok(())), Err(Error::BadReply));
        server.join().unwrap();
    }
}

#[test]
fn the_traits_of_xenstore_rs_work_on_this_client() {
    let (client, server) = client_of(|server| {
        server.serve(Kind::Directory, b"device\0qpen\0");
        assert_eq!(server.serve(Kind::Read, b"work").payload, b"/local/domain/5/name\0");
        assert_eq!(server.serve(Kind::Write, b"OK\0").payload, b"device/qpen\0new");
        server.serve(Kind::TransactionStart, b"9\0");
        assert_eq!(server.serve(Kind::Rm, b"OK\0").header.transaction_id, 9);
        assert_eq!(server.serve(Kind::TransactionEnd, b"OK\0").payload, b"T\0");
        server.serve(Kind::TransactionStart, b"10\0");
        assert_eq!(server.serve(Kind::TransactionEnd, b"OK\0").payload, b"F\0");
        let request = server.expect(Kind::Read);
        server.refuse(&request, "ENOENT");
    });
    let plain = PlainClient::new(client);
    assert_eq!(plain.directory("/local/domain/5").unwrap(), ["device".into(), "qpen".into()]);
    assert_eq!(&*plain.read("/local/domain/5/name").unwrap(), "work");
    plain.write("device/qpen", "new").unwrap();
    let span = plain.transaction().unwrap();
    span.rm("device/qpen").unwrap();
    span.commit().unwrap();
    drop(plain.transaction().unwrap());
    assert_eq!(plain.read("name").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(plain.read("na\0me").unwrap_err().kind(), ErrorKind::InvalidInput);
    server.join().unwrap();
}
