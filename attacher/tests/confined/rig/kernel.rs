//! The block back end of domain 0's kernel together with the front ends of the guests, as Linux plays them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;

use protocol::types::{Device, Domid};
use xenstore::path::{BackNode, BackPath, BackendListPath, VbdPath};
use xenstore::{Client, missing_is_none};

/// What a guest does with its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Connects and lets go at once.
    Willing,
    /// Does nothing: it is paused, or has no driver.
    Silent,
    /// Goes up as far as it can without connecting.
    Teasing,
    /// Closes what it should connect.
    Refusing,
}

/// One back end as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub state: String,
    pub mode: String,
    pub kind: Option<String>,
    pub params: String,
    pub physical: Option<String>,
}

/// Kernel and guests.
pub struct Kernel {
    pub client: Client,
    moods: BTreeMap<u16, Mood>,
    /// Block devices that the back end has open, by domain and device number.
    open: BTreeMap<(u16, u32), File>,
    /// Whether the back end keeps its block devices open although it should let go.
    pub clings: bool,
    /// Whether it writes to a back end once more just after it was removed, as one that is connecting does.
    pub writes_late: bool,
}

impl Kernel {
    pub fn new(connection: OwnedFd) -> Self {
        let client = Client::new(connection).unwrap();
        Self { client, moods: BTreeMap::new(), open: BTreeMap::new(), clings: false, writes_late: false }
    }

    pub fn set_mood(&mut self, domid: u16, mood: Mood) {
        self.moods.insert(domid, mood);
    }

    /// Closes every block device.
    pub fn let_go(&mut self) {
        self.open.clear();
    }

    /// The devices that have a back end.
    pub fn back_ends(&mut self) -> Vec<(u16, u32)> {
        let mut all = Vec::new();
        let domains = missing_is_none(self.client.directory(&BackendListPath::all())).unwrap();
        for name in domains.unwrap_or_default() {
            let domid = number(&name);
            let list = BackendListPath::of(Domid::new(domid).unwrap());
            let devices = missing_is_none(self.client.directory(&list)).unwrap().unwrap_or_default();
            all.extend(devices.iter().map(|device| (domid, number(device))));
        }
        all
    }

    /// The back end of a device.
    pub fn look(&mut self, domid: u16, device: Device) -> Option<Seen> {
        let path = VbdPath::new(Domid::new(domid).unwrap(), device);
        Some(Seen {
            state: self.text(&path.back_node(BackNode::State))?,
            mode: self.text(&path.back_node(BackNode::Mode)).unwrap_or_default(),
            kind: self.text(&path.back_node(BackNode::Type)),
            params: self.text(&path.back_node(BackNode::Params)).unwrap_or_default(),
            physical: self.text(&path.back_node(BackNode::PhysicalDevice)),
        })
    }

    /// Does what is due.
    pub fn play(&mut self) {
        let mut back_ends = self.back_ends();
        if self.writes_late {
            for (domid, number) in self.open.keys().filter(|device| !back_ends.contains(device)) {
                self.writes_late = false;
                let device = Device::ALL.into_iter().find(|device| device.number() == *number).unwrap();
                let path = VbdPath::new(Domid::new(*domid).unwrap(), device);
                self.client.write(&path.back_node(BackNode::DiscardEnable), b"0").unwrap();
            }
            // What has gone since is looked at the next time.
            if !self.writes_late {
                back_ends = self.back_ends();
            }
        }
        if !self.clings {
            self.open.retain(|device, _| back_ends.contains(device));
        }
        for (domid, number) in back_ends {
            let Some(device) = Device::ALL.into_iter().find(|device| device.number() == number) else {
                continue;
            };
            let Some(seen) = self.look(domid, device) else { continue };
            if let Some(physical) = &seen.physical {
                let minor = physical.strip_prefix("7:").unwrap();
                let minor = u32::from_str_radix(minor, 16).unwrap();
                self.open
                    .entry((domid, number))
                    .or_insert_with(|| File::open(format!("/dev/loop{minor}")).unwrap());
            }
            let mood = self.moods.get(&domid).copied().unwrap_or(Mood::Willing);
            let next = match (seen.state.as_str(), mood) {
                ("1", Mood::Willing) => "4",
                ("1", Mood::Teasing) => "2",
                ("1", Mood::Refusing) => "6",
                ("5", Mood::Willing) => "6",
                _ => continue,
            };
            let state = VbdPath::new(Domid::new(domid).unwrap(), device).back_node(BackNode::State);
            self.client.write(&state, next.as_bytes()).unwrap();
            if next == "6" && !self.clings {
                self.open.remove(&(domid, number));
            }
        }
    }

    fn text(&mut self, path: &BackPath) -> Option<String> {
        missing_is_none(self.client.read(path)).unwrap().map(|value| String::from_utf8(value).unwrap())
    }
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &[u8]) -> T {
    str::from_utf8(name).unwrap().parse().unwrap()
}
