//! xs-monitor and xs-gate as they are shipped, in their real sandboxes, on a simulated xenstore.

#[cfg(test)]
mod host;

#[cfg(test)]
mod tests {
    use crate::host::{Host, Worker, workers};
    use protocol::monitor::MonitorEvent;
    use protocol::request::Verb;
    use protocol::types::{Domid, VmName};
    use std::time::Duration;
    use sys::spawn::Ended;

    fn seen(number: u16, name: &str) -> MonitorEvent {
        let name = VmName::new(name.as_bytes()).unwrap();
        MonitorEvent::DomainSeen { domid: Domid::new(number).unwrap(), name }
    }

    fn is_request_of(event: &MonitorEvent, number: u16) -> bool {
        matches!(event, MonitorEvent::RequestSeen { domid, .. } if domid.get() == number)
    }

    /// The lines of `/proc/PID/status` that say how confined a process is.
    fn confinement(worker: &Worker) -> Vec<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", worker.child.pid())).unwrap();
        let wanted = ["NoNewPrivs:", "Seccomp:", "CapEff:", "CapPrm:", "CapBnd:", "CapInh:", "CapAmb:"];
        let lines = status.lines().filter(|line| wanted.iter().any(|key| line.starts_with(key)));
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn a_request_that_a_vm_writes_arrives_as_request_seen() {
        let host = Host::start();
        host.add_domain(5, "work");
        let Some((gate, mut monitor)) = workers(&host) else { return };
        assert_eq!(monitor.until_synced(), [seen(5, "work"), MonitorEvent::Synced]);

        host.write_as_vm(5, b"send vault 7 #id-1");
        let MonitorEvent::RequestSeen { domid, request, .. } = monitor.next() else { panic!() };
        assert_eq!(domid.get(), 5);
        assert_eq!(request.reqid.unwrap().as_str(), "id-1");
        assert!(
            matches!(request.verb, Verb::Send { to, seq: Some(seq) } if to.as_str() == "vault" && seq.get() == 7)
        );

        host.add_domain(6, "vault");
        assert_eq!(monitor.next(), seen(6, "vault"));
        host.write_as_vm(6, b"umount");
        assert!(is_request_of(&monitor.next(), 6));
        host.remove_domain(5);
        // A new watch fires for what is there already, so the request may be seen once more before.
        let mut next = monitor.next();
        while is_request_of(&next, 6) {
            next = monitor.next();
        }
        assert_eq!(next, MonitorEvent::DomainGone { domid: Domid::new(5).unwrap() });

        for worker in [&gate.worker, &monitor.worker] {
            let lines = confinement(worker);
            assert!(lines.contains(&"NoNewPrivs: 1".to_owned()), "{lines:?}");
            assert!(lines.contains(&"Seccomp: 2".to_owned()), "{lines:?}");
            let capabilities = lines.iter().filter(|line| line.starts_with("Cap"));
            assert_eq!(
                capabilities.filter(|line| line.ends_with(" 0000000000000000")).count(),
                5,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn l1_no_value_of_a_vm_ends_either_process() {
        let host = Host::start();
        host.add_domain(5, "work");
        let Some((mut gate, mut monitor)) = workers(&host) else { return };
        monitor.until_synced();
        let hostile: [&[u8]; 9] = [
            b" ",
            b"\0",
            b"\n\n",
            b"\xff\xfe\x1b[2J",
            &[b' '; 256],
            &[b' '; 257],
            &[0; 2000],
            b"# # #",
            b"send",
        ];
        for untrusted_value in hostile {
            host.write_as_vm(5, untrusted_value);
        }
        host.write_as_vm(5, b"new #last");
        while !is_request_of(&monitor.next(), 5) {}
        assert_eq!(gate.worker.child.try_wait().unwrap(), None);
        assert_eq!(monitor.worker.child.try_wait().unwrap(), None);
    }

    #[test]
    fn l18_a_flood_of_one_vm_delays_another_by_less_than_a_second() {
        let host = Host::start();
        host.add_domain(5, "flood");
        host.add_domain(6, "calm");
        let Some((_gate, mut monitor)) = workers(&host) else { return };
        monitor.until_synced();
        let flood = host.flood(5);
        std::thread::sleep(Duration::from_millis(300));
        let began = std::time::Instant::now();
        host.write_as_vm(6, b"umount");
        while !is_request_of(&monitor.next(), 6) {}
        let delay = began.elapsed();
        flood.stop();
        assert!(delay < Duration::from_secs(1), "{delay:?}");
    }

    #[test]
    fn a_qpen_that_the_vm_removed_is_told() {
        let host = Host::start();
        host.add_domain(5, "work");
        let Some((_gate, mut monitor)) = workers(&host) else { return };
        monitor.until_synced();
        host.remove_qpen(5);
        assert_eq!(monitor.next(), MonitorEvent::QpenMissing { domid: Domid::new(5).unwrap() });
    }

    #[test]
    fn both_end_by_themselves_when_the_broker_is_gone() {
        let host = Host::start();
        let Some((gate, mut monitor)) = workers(&host) else { return };
        monitor.until_synced();
        let (mut gate_worker, mut monitor_worker) = (gate.worker, monitor.worker);
        drop(monitor.edge);
        assert_eq!(monitor_worker.child.wait().unwrap(), Ended::Code(0));
        // The gate sees the end of the monitor, and says so.
        assert_eq!(gate_worker.child.wait().unwrap(), Ended::Code(0));
        drop(gate.edge);
    }
}
