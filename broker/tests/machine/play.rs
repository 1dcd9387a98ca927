//! Everything that can happen to the broker, one step after the other, in the [`World`]: it checks its invariants at
//! every step, and this what must hold in the end. Used by the random tests, and by the fuzz targets
//! (`fuzz/oracles/src/broker.rs`).

use std::collections::BTreeSet;

use broker::machine::OWED_PER_VM_MAX;
use protocol::attach::AttachFailure;
use protocol::control::ControlRequest;
use protocol::launch::LaunchFailure;
use protocol::reply::Code;
use protocol::request::Verb;
use protocol::supervise::Role;
use protocol::types::SizeMib;

use super::world::{Fate, QUESTION_MS, World, domid, name, seq};

/// A journal of more records is replaced by a checkpoint.
const JOURNAL_RECORDS_MAX: usize = 64;
const NAMES: [&str; 3] = ["red", "green", "blue"];

/// Something that happens. VMs that are numbers are 1 to 3, those that are places in a list 0 to 2.
#[derive(Debug, Clone)]
pub enum Step {
    New(u16),
    Send(u16, usize),
    Umount(u16),
    Other(u16, bool),
    FiresAgain(u16),
    /// A DisposableVM asks for something; which one, what, and whom it names.
    Disposable(usize, u8, usize),
    CarryOut(Option<AttachFailure>),
    Launch(Option<LaunchFailure>),
    Answer(usize, bool),
    AnswerByControl(usize, bool),
    Kill(usize),
    Look(usize),
    Gone(u16),
    Returns(usize),
    Dies(Role),
    Boot,
    Later(u64),
}

/// Three VMs, and what they have asked for.
pub struct Play {
    /// Where it happens.
    pub world: World,
    /// The domid that each VM has now.
    domids: [Option<u16>; 3],
    next_domid: u16,
    /// Domain and id of every request.
    asked: Vec<(u16, String)>,
    /// The id of each VM's newest request.
    newest: [Option<String>; 3],
    daemon_restarts: usize,
}

impl Play {
    pub fn new() -> Self {
        let domids = [Some(1), Some(2), Some(3)];
        let newest = [None, None, None];
        let world = World::new(&NAMES);
        Self { world, domids, next_domid: 4, asked: vec![], newest, daemon_restarts: 0 }
    }

    fn ask(&mut self, vm: u16, verb: Verb) {
        let index = usize::from(vm) - 1;
        if let Some(number) = self.domids[index] {
            let reqid = format!("r{}", self.asked.len());
            self.asked.push((number, reqid.clone()));
            self.newest[index] = Some(reqid.clone());
            self.world.ask(number, verb, &reqid);
        }
    }

    fn disposable_asks(&mut self, which: usize, what: u8, to: usize) {
        let Some(domid) = self.world.disposables.values().nth(which).copied() else { return };
        let verb = match what {
            0 => Verb::Umount,
            1 => Verb::New { size: SizeMib::new(64).ok() },
            2 | 3 => Verb::Send { to: name(NAMES[to]), seq: Some(seq(1)) },
            4 => Verb::Send { to: name(NAMES[to]), seq: None },
            _ => Verb::Killme,
        };
        let reqid = format!("r{}", self.asked.len());
        self.asked.push((domid.get(), reqid.clone()));
        self.world.ask(domid.get(), verb, &reqid);
    }

    pub fn step(&mut self, step: Step) {
        // As the broker does with its file, and so that a long play stays fast.
        if self.world.journal.len() > JOURNAL_RECORDS_MAX {
            self.world.journal = self.world.machine.snapshot();
        }
        match step {
            Step::New(vm) => self.ask(vm, Verb::New { size: SizeMib::new(64).ok() }),
            Step::Send(vm, to) => self.ask(vm, Verb::Send { to: name(NAMES[to]), seq: None }),
            Step::Umount(vm) => self.ask(vm, Verb::Umount),
            Step::Other(vm, true) => self.ask(vm, Verb::SendDisposable { seq: seq(1) }),
            Step::Other(vm, false) => self.ask(vm, Verb::Killme),
            Step::FiresAgain(vm) => {
                if let Some(number) = self.domids[usize::from(vm) - 1] {
                    self.world.fires_again(number);
                }
            }
            Step::Disposable(which, what, to) => self.disposable_asks(which, what, to),
            Step::Launch(None) => drop(self.world.carry_out_launch(Ok(()))),
            Step::Launch(Some(failure)) => drop(self.world.carry_out_launch(Err(failure))),
            Step::CarryOut(None) => drop(self.world.carry_out(Fate::Done)),
            Step::CarryOut(Some(failure)) => drop(self.world.carry_out(Fate::Fails(failure))),
            Step::Answer(which, yes) => {
                if let Some(id) = self.world.questions.keys().nth(which).copied() {
                    self.world.answers(id, yes);
                }
            }
            Step::AnswerByControl(which, yes) => {
                if let Some(id) = self.world.questions.keys().nth(which).copied() {
                    let _ = self.world.control_answers(id, yes);
                }
            }
            Step::Kill(which) => {
                if let Some(image) = self.world.images.keys().nth(which).copied() {
                    let _ = self.world.control(ControlRequest::Kill { image });
                }
            }
            Step::Look(which) => {
                let requests = [
                    ControlRequest::Status,
                    ControlRequest::Pendrives { after: None },
                    ControlRequest::Questions { after: None },
                    ControlRequest::Disposables { after: None },
                ];
                let before = self.world.journal.len();
                let _ = self.world.control(requests[which]);
                assert_eq!(self.world.journal.len(), before, "looking changes nothing");
            }
            Step::Gone(vm) => {
                if let Some(number) = self.domids[usize::from(vm) - 1].take() {
                    self.world.gone(number);
                }
            }
            Step::Returns(index) => {
                if self.domids[index].is_none() {
                    self.world.appears(self.next_domid, NAMES[index]);
                    self.domids[index] = Some(self.next_domid);
                    self.newest[index] = None;
                    self.next_domid += 1;
                }
            }
            Step::Dies(role) => self.world.worker_dies(role),
            Step::Boot => {
                self.daemon_restarts += 1;
                self.world.boot();
            }
            Step::Later(ms) => {
                self.world.now += ms;
                self.world.event(broker::machine::Event::Tick);
                if self.world.restarts.pop() == Some(Role::Attacher) {
                    self.world.worker_dies(Role::Attacher);
                }
            }
        }
    }

    /// Lets everything come to rest: orders carried out, questions timed out, waiting over.
    fn rest(&mut self) {
        for _ in 0..40 {
            self.world.work();
            if self.world.machine.next_deadline().is_none() {
                break;
            }
            self.step(Step::Later(u64::from(QUESTION_MS) / 2));
        }
        self.world.work();
    }

    fn final_replies(&self, vm: u16, reqid: &str) -> usize {
        self.world.codes(vm, reqid).iter().filter(|code| code.is_final()).count()
    }

    /// Everything comes to rest: what was asked is answered, nothing is left over, and when the VMs go, everything goes.
    pub fn finish(mut self) {
        self.rest();
        assert!(self.world.ready);
        let mut running: BTreeSet<u16> = self.domids.iter().flatten().copied().collect();
        running.extend(self.world.disposables.values().map(|domid| domid.get()));
        for (vm, reqid) in &self.asked {
            let count = self.final_replies(*vm, reqid);
            assert!(count <= 1, "{reqid} of domain {vm} was answered {count} times");
            let is_newest = self.newest.contains(&Some(reqid.clone()));
            // Of more replies than are kept while they cannot be given, the oldest are dropped.
            let all_kept = self.asked.iter().filter(|(asker, _)| asker == vm).count() <= OWED_PER_VM_MAX;
            if running.contains(vm) && (is_newest || (self.daemon_restarts == 0 && all_kept)) {
                assert_eq!(count, 1, "{} of domain {} was not answered: {:?}", reqid, vm, self.world.log);
            }
        }
        // What is left belongs to running VMs; when they go, everything goes.
        for (holder, _) in self.world.holders() {
            assert!(running.contains(&holder.get()));
        }
        for number in self.domids.into_iter().flatten() {
            assert!(self.world.vms.contains_key(&domid(number)));
            self.world.gone(number);
        }
        self.rest();
        assert!(self.world.disposables.is_empty(), "left over: {:?}", self.world.disposables);
        assert!(self.world.images.is_empty(), "left over: {:?}", self.world.images);
        let unknown = self.world.replies.iter().filter(|(_, reply)| reply.code == Code::Invalid).count();
        assert_eq!(unknown, 0);
    }
}
