//! The client against the simulated xenstore, which answers as Xen's C daemon does.

#[cfg(test)]
mod simulated;

#[cfg(test)]
mod tests {
    use crate::simulated::Simulated;
    use protocol::types::{Device, Domid};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::cell::Cell;
    use xenstore::path::{BackNode, DomainListPath, DomainPath, FrontNode, VbdPath};
    use xenstore::{Error, Permissions, Refusal, Token, WatchEvent, missing_is_none};

    fn domid(number: u16) -> Domid {
        Domid::new(number).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_what_is_removed_is_gone() {
        let host = Simulated::start();
        let mut client = host.client();
        let qpen = DomainPath::qpen(domid(5));
        assert_eq!(missing_is_none(client.read(&qpen)), Ok(None));
        client.write(&qpen, b"\xff\0bytes").unwrap();
        assert_eq!(client.read(&qpen).unwrap(), b"\xff\0bytes");
        let permissions = Permissions::guest_reads_and_writes(domid(5));
        client.set_permissions(&qpen, &permissions).unwrap();
        assert_eq!(client.permissions(&qpen), Ok(permissions));
        client.rm(&qpen).unwrap();
        client.rm(&qpen).unwrap();
        assert_eq!(client.read(&qpen), Err(Refusal::NoEntry.into()));
    }

    #[test]
    fn a_directory_that_fits_into_no_reply_is_listed_whole() {
        let host = Simulated::start();
        let mut client = host.client();
        let numbers: Vec<u16> = (10_000..12_000).collect();
        for number in &numbers {
            client.write(&DomainPath::name(domid(*number)), b"vm").unwrap();
        }
        let mut names = client.directory(&DomainListPath::new()).unwrap();
        names.sort();
        let expected: Vec<Vec<u8>> = numbers.iter().map(|number| number.to_string().into_bytes()).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_device_is_attached_in_one_transaction() {
        let host = Simulated::start();
        let mut client = host.client();
        let vbd = VbdPath::new(domid(7), Device::Outgoing);
        client
            .transaction(|tx| {
                tx.mkdir(&vbd.front())?;
                tx.set_permissions(&vbd.front(), &Permissions::guest_owns(domid(7)))?;
                tx.write(&vbd.front_node(FrontNode::State), b"1")?;
                tx.mkdir(&vbd.back())?;
                tx.set_permissions(&vbd.back(), &Permissions::guest_reads(domid(7)))?;
                tx.write(&vbd.back_node(BackNode::State), b"1")
            })
            .unwrap();
        assert_eq!(client.read(&vbd.back_node(BackNode::State)).unwrap(), b"1");
        let inherited = client.permissions(&vbd.front_node(FrontNode::State));
        assert_eq!(inherited, Ok(Permissions::guest_owns(domid(7))));
    }

    #[test]
    fn a_transaction_that_another_client_disturbs_is_done_again_and_is_whole() {
        let host = Simulated::start();
        let (mut first, mut second) = (host.client(), host.client());
        let name = DomainPath::name(domid(5));
        first.write(&name, b"0").unwrap();
        let tries = Cell::new(0);
        first
            .transaction(|tx| {
                tries.set(tries.get() + 1);
                let mut value = tx.read(&name)?;
                if tries.get() <= 2 {
                    second.write(&name, format!("{}", tries.get()).as_bytes())?;
                }
                value.push(b'+');
                tx.write(&name, &value)
            })
            .unwrap();
        assert_eq!(tries.get(), 3);
        assert_eq!(first.read(&name).unwrap(), b"2+");
    }

    #[test]
    fn a_refused_change_leaves_nothing_behind() {
        let host = Simulated::start();
        let mut client = host.client();
        let (name, reply) = (DomainPath::name(domid(5)), DomainPath::reply(domid(5)));
        let result = client.transaction(|tx| {
            tx.write(&name, b"work")?;
            tx.set_permissions(&reply, &Permissions::guest_reads(domid(5)))
        });
        assert_eq!(result, Err(Refusal::NoEntry.into()));
        assert_eq!(missing_is_none(client.read(&name)), Ok(None));
        let changed_mind: Result<(), Error> = client.transaction(|tx| {
            tx.write(&name, b"work")?;
            Err(Error::BadReply)
        });
        assert_eq!(changed_mind, Err(Error::BadReply));
        assert_eq!(missing_is_none(client.read(&name)), Ok(None));
    }

    #[test]
    fn a_watch_fires_once_at_once_and_for_every_change_until_it_is_removed() {
        let host = Simulated::start();
        let (mut watching, mut writing) = (host.client(), host.client());
        let qpen = DomainPath::qpen(domid(5));
        let token = Token::of_domain(3, 5);
        watching.watch(&qpen, token).unwrap();
        let mut expect = |wanted: bool| {
            for _ in 0..if wanted { 100 } else { 3 } {
                if let Some(event) = watching.next_event() {
                    assert_eq!((event, wanted), (WatchEvent { token }, true));
                    return;
                }
                let timeout = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
                poll(&mut [PollFd::from_borrowed_fd(watching.fd(), PollFlags::IN)], Some(&timeout)).unwrap();
                watching.pump().unwrap();
            }
            assert!(!wanted, "the watch did not fire");
        };
        expect(true);
        expect(false);
        writing.write(&qpen, b"new").unwrap();
        expect(true);
        writing.write(&DomainPath::name(domid(5)), b"work").unwrap();
        expect(false);
        watching.unwatch(&qpen, token).unwrap();
        writing.write(&qpen, b"umount").unwrap();
        watching.pump().unwrap();
        assert_eq!(watching.next_event(), None);
    }
}
