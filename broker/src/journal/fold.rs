//! Records to state: what an earlier process left behind.

use std::collections::{BTreeMap, VecDeque};

use protocol::launch::DisposableNumber;
use protocol::reply::Reply;
use protocol::types::{Domid, ImageId, VmName};

use super::Record;
use crate::machine::{Asker, Disposable, Pendrive, RequestKey, Vm};

/// What the journal says of the past of this run of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Past {
    /// Domains with their names and the requests that were answered.
    pub vms: BTreeMap<Domid, (VmName, VecDeque<RequestKey>)>,
    /// Pendrives with their last intent or result.
    pub pendrives: BTreeMap<ImageId, Pendrive>,
    /// DisposableVMs that exist, or were about to.
    pub disposables: BTreeMap<DisposableNumber, Disposable>,
    /// Replies that were decided, and perhaps not given.
    pub decided: Vec<(Asker, Reply)>,
}

impl Past {
    /// Reads the records of this run of the host; what another run left is worth nothing, since its domain
    /// numbers mean other domains now.
    #[must_use]
    pub fn from_records(records: &[Record], boot_id: [u8; 16]) -> Self {
        let mut past = Self::default();
        let mut of_this_run = false;
        for record in records {
            if let Record::Host { boot_id: written } = record {
                of_this_run = *written == boot_id;
                past = Self::default();
            } else if of_this_run {
                past.apply(record);
            }
        }
        past
    }

    /// One fact more, of this run of the host.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Host { .. } => {}
            Record::Vm { domid, name } => {
                self.vms.entry(*domid).or_insert_with(|| (name.clone(), VecDeque::new())).0 = name.clone();
            }
            Record::VmGone { domid } => {
                self.vms.remove(domid);
                self.decided.retain(|(asker, _)| asker.domid != *domid);
            }
            Record::Pendrive(pendrive) => {
                self.pendrives.insert(pendrive.image, pendrive.clone());
            }
            Record::Disposable(disposable) => {
                self.disposables.insert(disposable.number, disposable.clone());
            }
            Record::DisposableGone { number } => {
                self.disposables.remove(number);
            }
            Record::PendriveGone { image } => {
                self.pendrives.remove(image);
            }
            Record::Decided { domid, key, reply } => {
                self.decided.push((Asker { domid: *domid, key: key.clone() }, reply.clone()));
            }
            Record::Answered { domid, key } => {
                self.decided.retain(|(asker, _)| asker.domid != *domid || !asker.key.same(key));
                if let Some((name, answered)) = self.vms.get_mut(domid) {
                    let mut vm = Vm { answered: std::mem::take(answered), ..Vm::new(name.clone()) };
                    vm.remember(key.clone());
                    *answered = vm.answered;
                }
            }
        }
    }
}
