//! The state machine under random sequences of everything that can happen to it. The world's invariants are
//! checked at every step: no image has two holders, none is destroyed while held, none reaches a VM without
//! a yes, and the journal always says what the machine knows. At the end nothing may be left over.

use proptest::prelude::*;

use protocol::attach::AttachFailure;
use protocol::launch::LaunchFailure;
use protocol::supervise::Role;

use crate::play::{Play, Step};

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaks_and_every_request_is_answered_once(steps in proptest::collection::vec(step(), 1..120)) {
        let mut play = Play::new();
        for step in steps {
            play.step(step);
        }
        play.finish();
    }
}
