//! The model as stateright sees it, and what must hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use broker::journal::Past;
use broker::machine::Machine;
use protocol::reply::Code;
use protocol::supervise::Role;
use protocol::types::Device;
use stateright::{Model, Property};

use crate::actions::{self, Act};
use crate::config::{Config, Want, domid, name_of};
use crate::rest::{self, Known};
use crate::step::{self, Step};
use crate::workers;
use crate::world::{Life, Running, State, World, Wrong};

/// A configuration under the checker.
#[derive(Debug)]
pub struct Explored {
    /// Which one.
    pub config: Config,
    known: Known,
}

impl Explored {
    /// Explores this configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, known: Known::default() }
    }

    /// A host on which the daemon has just become ready.
    fn first(&self) -> State {
        let config = &self.config;
        let mut vms = BTreeMap::new();
        for (number, guest) in (1_u16..).zip(&config.guests) {
            let requests = Vec::new();
            let vm = Running { name: name_of(number), asks_left: guest.asks, requests, is_disposable: false };
            vms.insert(domid(number), vm);
        }
        let mut roles = vec![Role::Attacher, Role::Monitor, Role::Dialog];
        if config.has_disposables() {
            roles.push(Role::Launcher);
        }
        if config.budget.controls > 0 {
            roles.push(Role::Control);
        }
        let machine = Machine::new(config.settings(), config.policy(), Past::default(), 1);
        let world = World {
            now: 0,
            vms,
            images: BTreeMap::new(),
            made: BTreeMap::new(),
            lives: roles.into_iter().map(|role| (role, Life::Up)).collect(),
            orders: Vec::new(),
            launches: Vec::new(),
            disposables: BTreeMap::new(),
            disposables_made: 0,
            owners: BTreeMap::new(),
            monitor: VecDeque::new(),
            watched: BTreeSet::new(),
            is_synced: false,
            questions: BTreeMap::new(),
            settled: BTreeMap::new(),
            yes: Vec::new(),
            tickets: 0,
            journal: Past::default(),
            brokers: 0,
            is_ready: false,
            budget: config.budget,
            wrong: None,
        };
        let mut step = Step::new(config, State { machine: Arc::new(machine), world });
        workers::all_start(&mut step);
        let mut state = step.state;
        rest::settle_down(config, &mut state);
        state
    }
}

impl Model for Explored {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![self.first()]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        actions::all(&self.config, state, acts);
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        step::next(&self.config, state, &act)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("an image never has two holders", |_, state: &State| {
                state.world.wrong != Some(Wrong::TwoHolders)
            }),
            Property::always("an image is destroyed only when nobody holds it", |_, state: &State| {
                state.world.wrong != Some(Wrong::DestroyedWhileHeld)
            }),
            Property::always("no transfer without a yes or the policy", |_, state: &State| {
                state.world.wrong != Some(Wrong::NotPermitted)
            }),
            Property::always("a yes is used once, for what was asked", |_, state: &State| {
                state.world.wrong != Some(Wrong::YesMisused)
            }),
            Property::always("bytes reach only the VM that they were sent to", |_, state: &State| {
                state.world.wrong != Some(Wrong::BytesAstray)
            }),
            Property::always("a request gets one final reply, and nothing after it", |_, state: &State| {
                state.world.wrong != Some(Wrong::TwoReplies)
            }),
            Property::always("no VM can delay another", |_, state: &State| {
                state.world.wrong != Some(Wrong::Delayed)
            }),
            Property::always("the journal says what the broker knows", |_, state: &State| {
                state.world.wrong != Some(Wrong::JournalBehind)
            }),
            Property::always(
                "all comes to rest: every request answered, every image released",
                |model: &Self, state: &State| rest::comes_to_rest(&model.config, state, &model.known),
            ),
        ];
        properties.extend(self.places());
        properties
    }
}

impl Explored {
    /// The places that this configuration must reach, or it shows nothing.
    fn places(&self) -> Vec<Property<Self>> {
        let wants = |want: fn(&Want) -> bool| {
            self.config.guests.iter().any(|guest| guest.asks > 0 && guest.wants.iter().any(want))
        };
        let is_send = |want: &Want| matches!(want, Want::Send(_));
        let mut places = Vec::new();
        if self.config.depth_max > 0 {
            // Cut off before most of them.
            return places;
        }
        if wants(is_send) {
            places.push(Property::sometimes("a copy has arrived", |_, state: &State| {
                answered(state, |want| matches!(want, Want::Send(_)), Code::Ok)
            }));
        }
        if wants(is_send) && self.config.person_refuses {
            places.push(Property::sometimes("a copy was denied", |_, state: &State| {
                answered(state, |want| matches!(want, Want::Send(_)), Code::Denied)
            }));
        }
        if wants(|want| *want == Want::Umount) {
            places.push(Property::sometimes("a pendrive was given back", |_, state: &State| {
                answered(state, |want| *want == Want::Umount, Code::Ok)
            }));
        }
        if self.config.has_disposables() && self.config.disposable.asks > 1 {
            places.push(Property::sometimes("a document has come back", |_, state: &State| came_back(state)));
        }
        if self.config.budget.broker_crashes > 0 {
            places.push(Property::sometimes("a request was granted after a crash", |_, state: &State| {
                let mut all = state.world.vms.values().flat_map(|vm| &vm.requests);
                all.any(|asked| asked.after_crash && asked.answer.is_some_and(|(code, _)| code == Code::Ok))
            }));
        }
        places
    }
}

fn answered(state: &State, want: fn(&Want) -> bool, code: Code) -> bool {
    let mut all = state.world.vms.values().flat_map(|vm| &vm.requests);
    all.any(|asked| want(&asked.want) && asked.answer.is_some_and(|(given, _)| given == code))
}

/// Whether a VM holds what a DisposableVM made for it has sent.
fn came_back(state: &State) -> bool {
    let world = &state.world;
    world.images.values().any(|image| {
        image.maker.is_some_and(|maker| {
            let owner = world.owners.get(&maker);
            owner.is_some_and(|owner| image.holder == Some((*owner, Device::Incoming)))
        })
    })
}
