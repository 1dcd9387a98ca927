//! The state machine under random sequences of everything that can happen to it. The world's invariants are
//! checked at every step: no image has two holders, none is destroyed while held, none reaches a VM without
//! a yes, and the journal always says what the machine knows. At the end nothing may be left over.

use std::collections::BTreeSet;

use proptest::prelude::*;

use broker::machine::OWED_PER_VM_MAX;
use protocol::attach::AttachFailure;
use protocol::control::ControlRequest;
use protocol::launch::LaunchFailure;
use protocol::reply::Code;
use protocol::request::Verb;
use protocol::supervise::Role;
use protocol::types::SizeMib;

use crate::world::{Fate, QUESTION_MS, World, domid, name, seq};

const NAMES: [&str; 3] = ["red", "green", "blue"];

#[derive(Debug, Clone)]
enum Step {
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

fn step() -> impl Strategy<Value = Step> {
    let vm = || 1_u16..=3;
    let failure = proptest::sample::select(vec![
        AttachFailure::Io,
        AttachFailure::GuestSilent,
        AttachFailure::NoSpace,
        AttachFailure::Xenstore,
    ]);
    prop_oneof![
        4 => vm().prop_map(Step::New),
        6 => (vm(), 0_usize..3).prop_map(|(vm, to)| Step::Send(vm, to)),
        4 => vm().prop_map(Step::Umount),
        4 => (vm(), any::<bool>()).prop_map(|(vm, dvm)| Step::Other(vm, dvm)),
        2 => vm().prop_map(Step::FiresAgain),
        6 => (0_usize..2, 0_u8..6, 0_usize..3).prop_map(|(which, what, to)| Step::Disposable(which, what, to)),
        30 => Just(Step::CarryOut(None)),
        10 => Just(Step::Launch(None)),
        1 => proptest::sample::select(LaunchFailure::ALL.to_vec()).prop_map(|why| Step::Launch(Some(why))),
        2 => failure.prop_map(|failure| Step::CarryOut(Some(failure))),
        8 => (0_usize..4, any::<bool>()).prop_map(|(which, yes)| Step::Answer(which, yes)),
        4 => (0_usize..4, any::<bool>()).prop_map(|(which, yes)| Step::AnswerByControl(which, yes)),
        3 => (0_usize..6).prop_map(Step::Kill),
        1 => (0_usize..4).prop_map(Step::Look),
        1 => vm().prop_map(Step::Gone),
        2 => (0_usize..3).prop_map(Step::Returns),
        2 => proptest::sample::select(vec![Role::Attacher, Role::Monitor, Role::Dialog, Role::Launcher, Role::Control]).prop_map(Step::Dies),
        1 => Just(Step::Boot),
        2 => (1_u64..90_000).prop_map(Step::Later),
    ]
}

/// The domid that the numbered VM has now.
struct Play {
    world: World,
    domids: [Option<u16>; 3],
    next_domid: u16,
    asked: Vec<(u16, String)>,
    newest: [Option<String>; 3],
    daemon_restarts: usize,
}

impl Play {
    fn new() -> Self {
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

    fn step(&mut self, step: Step) {
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
            self.step(Step::Later(u64::from(QUESTION_MS) / 2));
        }
        self.world.work();
    }

    fn final_replies(&self, vm: u16, reqid: &str) -> usize {
        self.world.codes(vm, reqid).iter().filter(|code| code.is_final()).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaks_and_every_request_is_answered_once(steps in proptest::collection::vec(step(), 1..120)) {
        let mut play = Play::new();
        for step in steps {
            play.step(step);
        }
        play.rest();
        prop_assert!(play.world.ready);
        let mut running: BTreeSet<u16> = play.domids.iter().flatten().copied().collect();
        running.extend(play.world.disposables.values().map(|domid| domid.get()));
        for (vm, reqid) in &play.asked {
            let count = play.final_replies(*vm, reqid);
            prop_assert!(count <= 1, "{reqid} of domain {vm} was answered {count} times");
            let is_newest = play.newest.contains(&Some(reqid.clone()));
            // Of more replies than are kept while they cannot be given, the oldest are dropped.
            let all_kept = play.asked.iter().filter(|(asker, _)| asker == vm).count() <= OWED_PER_VM_MAX;
            if running.contains(vm) && (is_newest || (play.daemon_restarts == 0 && all_kept)) {
                prop_assert_eq!(count, 1, "{} of domain {} was not answered: {:?}", reqid, vm, play.world.log);
            }
        }
        // What is left belongs to running VMs; when they go, everything goes.
        for (holder, _) in play.world.holders() {
            prop_assert!(running.contains(&holder.get()));
        }
        for number in play.domids.iter().flatten() {
            prop_assert!(play.world.vms.contains_key(&domid(*number)));
            play.world.gone(*number);
        }
        play.rest();
        prop_assert!(play.world.disposables.is_empty(), "left over: {:?}", play.world.disposables);
        prop_assert!(play.world.images.is_empty(), "left over: {:?}", play.world.images);
        let unknown = play.world.replies.iter().filter(|(_, reply)| reply.code == Code::Invalid).count();
        prop_assert_eq!(unknown, 0);
    }
}
