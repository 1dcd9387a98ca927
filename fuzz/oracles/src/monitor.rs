//! xs-monitor's decisions about a xenstore that holds anything: it asks for nothing but the nodes of domains that it
//! watches, and what it tells the broker may be told.

use std::collections::BTreeSet;

use protocol::codec::{decode, encode};
use protocol::monitor::{MonitorEvent, MonitorState, permitted};
use protocol::types::Domid;
use xs_monitor::domains::Node;
use xs_monitor::machine::{Action, Event, Monitor};

use crate::bytes::Bytes;

/// Events of one input.
const EVENTS_MAX: usize = 300;

struct Talk {
    monitor: Monitor,
    now_ms: u64,
    state: MonitorState,
    watched: BTreeSet<Domid>,
    /// What it waits for.
    lists: usize,
    reads: Vec<(Domid, Node)>,
}

pub(crate) fn run(mut bytes: Bytes<'_>) {
    let (monitor, state) = (Monitor::new(), MonitorState::Listing);
    let mut talk = Talk { monitor, now_ms: 0, state, watched: BTreeSet::new(), lists: 0, reads: Vec::new() };
    for _ in 0..EVENTS_MAX {
        if bytes.is_empty() {
            break;
        }
        talk.step(&mut bytes);
    }
}

impl Talk {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let domid = Domid::new(u16::from(bytes.byte() % 8) + 1).expect("a guest's number");
        let node = if bytes.flag() { Node::Name } else { Node::Qpen };
        let event = match bytes.below(8) {
            0 => Event::DomainsChanged,
            1 if self.lists > 0 => {
                self.lists -= 1;
                let count = bytes.below(8);
                let names = (0..count).map(|_| {
                    let length = bytes.below(8);
                    bytes.take(length).to_vec()
                });
                Event::Listed { names: names.collect() }
            }
            2 if self.lists > 0 => {
                self.lists -= 1;
                Event::ListFailed
            }
            3 if self.watched.contains(&domid) => Event::WatchFailed { domid },
            // Also of a domain that is not watched any longer: it may have been on its way.
            4 => Event::NodeChanged { domid, node },
            5 | 6 if !self.reads.is_empty() => {
                let (domid, node) = self.reads.remove(0);
                let length = bytes.half() % 300;
                match bytes.below(8) {
                    0 => Event::ReadFailed { domid, node },
                    1 => Event::NodeRead { domid, node, untrusted_value: None },
                    _ => {
                        let untrusted_value = Some(bytes.take(length.into()).to_vec());
                        Event::NodeRead { domid, node, untrusted_value }
                    }
                }
            }
            _ => {
                self.now_ms += u64::from(bytes.byte()) * 4;
                Event::Turn
            }
        };
        let before = self.watched.len();
        let actions = self.monitor.step(event, self.now_ms);
        // For a list at most three for each domain that came or went, and two; two for everything else.
        assert!(actions.len() <= 3 * (before + 8) + 2);
        actions.into_iter().for_each(|action| self.does(action));
    }

    fn does(&mut self, action: Action) {
        match action {
            Action::List => self.lists += 1,
            Action::Watch { domid } => assert!(self.watched.insert(domid), "{domid} is watched already"),
            Action::Unwatch { domid } => {
                assert!(self.watched.remove(&domid), "{domid} is not watched");
                self.reads.retain(|(reading, _)| *reading != domid);
            }
            Action::Read { domid, node } => {
                assert!(self.watched.contains(&domid), "{domid} is not watched");
                self.reads.push((domid, node));
            }
            Action::Tell(event) => {
                assert!(permitted(self.state, &event), "{event:?}");
                if event == MonitorEvent::Synced {
                    self.state = MonitorState::Following;
                }
                let datagram = encode(&event).expect("a short message");
                assert_eq!(decode::<MonitorEvent>(&datagram), Ok(event));
            }
        }
    }
}
