//! Each phase with each event, and the limits of restarts.

use super::*;

const KILLED: Ending = Ending::Signal(9);

fn machine(dialog: bool, launcher: bool) -> Machine {
    Machine::new(Wanted { dialog, launcher, notifier: false })
}

fn serving() -> Machine {
    let mut machine = machine(true, true);
    let actions = machine.step(Event::Begin, 0);
    let all = [Unit::Broker, Unit::Attacher, Unit::Launcher, Unit::Monitoring, Unit::Dialog, Unit::Control];
    assert_eq!(actions, all.map(Action::Start));
    machine
}

fn end(machine: &mut Machine, role: Role, now_ms: u64) -> Vec<Action> {
    machine.step(Event::Ended { role, how: KILLED }, now_ms)
}

fn told(role: Role) -> Action {
    Action::Tell(SupervisorNotice::Ended { role, how: KILLED })
}

#[test]
fn without_a_dialog_or_a_launcher_none_is_started() {
    let actions = machine(false, false).step(Event::Begin, 0);
    assert_eq!(actions, [Unit::Broker, Unit::Attacher, Unit::Monitoring, Unit::Control].map(Action::Start));
    let actions = machine(false, true).step(Event::Begin, 0);
    let units = [Unit::Broker, Unit::Attacher, Unit::Launcher, Unit::Monitoring, Unit::Control];
    assert_eq!(actions, units.map(Action::Start));
    let actions = machine(true, false).step(Event::Begin, 0);
    let units = [Unit::Broker, Unit::Attacher, Unit::Monitoring, Unit::Dialog, Unit::Control];
    assert_eq!(actions, units.map(Action::Start));
}

#[test]
fn a_worker_that_ended_is_reported_and_started_anew() {
    let mut machine = serving();
    let alone = [
        (Role::Attacher, Unit::Attacher),
        (Role::Dialog, Unit::Dialog),
        (Role::Launcher, Unit::Launcher),
        (Role::Control, Unit::Control),
    ];
    for (role, unit) in alone {
        assert_eq!(end(&mut machine, role, 5), [told(role), Action::Start(unit)]);
    }
}

#[test]
fn monitor_and_gate_end_and_begin_together() {
    for (first, second) in [(Role::Monitor, Role::Gate), (Role::Gate, Role::Monitor)] {
        let mut machine = serving();
        assert_eq!(end(&mut machine, first, 5), [told(first), Action::Kill(second)]);
        assert_eq!(end(&mut machine, second, 6), [told(second), Action::Start(Unit::Monitoring)]);
    }
}

#[test]
fn without_its_broker_everything_is_ended_and_started_anew() {
    let mut machine = serving();
    let workers = [Role::Monitor, Role::Gate, Role::Attacher, Role::Dialog, Role::Launcher, Role::Control];
    assert_eq!(end(&mut machine, Role::Broker, 5), workers.map(Action::Kill));
    assert_eq!(machine.step(Event::Order(SupervisorOrder::Ready), 5), []);
    assert_eq!(machine.step(Event::BrokerLost, 5), []);
    for role in [Role::Gate, Role::Launcher, Role::Control, Role::Dialog, Role::Monitor] {
        assert_eq!(end(&mut machine, role, 6), []);
    }
    let anew = [Unit::Broker, Unit::Attacher, Unit::Launcher, Unit::Monitoring, Unit::Dialog, Unit::Control]
        .map(Action::Start);
    assert_eq!(end(&mut machine, Role::Attacher, 7), anew);
    assert_eq!(machine.step(Event::Order(SupervisorOrder::Ready), 8), [Action::NotifyReady]);
}

#[test]
fn a_broker_whose_edge_is_lost_is_ended_once() {
    let mut machine = serving();
    assert_eq!(machine.step(Event::BrokerLost, 5), [Action::Kill(Role::Broker)]);
    assert_eq!(machine.step(Event::BrokerLost, 5), []);
    let order = Event::Order(SupervisorOrder::Restart { role: Role::Broker });
    assert_eq!(machine.step(order, 5), []);
}

#[test]
fn a_restart_ends_the_worker_and_its_end_starts_it() {
    for role in Role::ALL {
        let mut machine = Machine::new(Wanted { dialog: true, launcher: true, notifier: true });
        machine.step(Event::Begin, 0);
        let order = Event::Order(SupervisorOrder::Restart { role });
        assert_eq!(machine.step(order, 5), [Action::Kill(role)]);
        assert_eq!(machine.step(order, 5), [], "{role} is ending already");
        let actions = end(&mut machine, role, 6);
        match Unit::of(role) {
            Unit::Broker => assert_eq!(actions.len(), 7),
            Unit::Attacher | Unit::Dialog | Unit::Launcher | Unit::Control | Unit::Notifier => {
                assert!(actions.contains(&Action::Start(Unit::of(role))))
            }
            Unit::Monitoring => assert_eq!(actions.len(), 2),
        }
    }
}

#[test]
fn a_restart_of_what_does_not_run_does_nothing() {
    let mut machine = machine(false, false);
    machine.step(Event::Begin, 0);
    assert_eq!(machine.step(Event::Order(SupervisorOrder::Restart { role: Role::Dialog }), 1), []);
}

#[test]
fn the_broker_is_the_last_to_end() {
    let mut machine = serving();
    let actions = machine.step(Event::Terminate, 5);
    let workers = [Role::Monitor, Role::Gate, Role::Attacher, Role::Dialog, Role::Launcher, Role::Control];
    let mut expected = vec![Action::NotifyStopping];
    expected.extend(workers.map(Action::Kill));
    assert_eq!(actions, expected);
    assert_eq!(machine.step(Event::Terminate, 5), []);
    for order in [SupervisorOrder::Ready, SupervisorOrder::Restart { role: Role::Attacher }] {
        assert_eq!(machine.step(Event::Order(order), 5), []);
    }
    for role in [Role::Monitor, Role::Attacher, Role::Launcher, Role::Control, Role::Gate] {
        assert_eq!(end(&mut machine, role, 6), []);
    }
    assert_eq!(end(&mut machine, Role::Dialog, 7), [Action::Kill(Role::Broker)]);
    assert_eq!(end(&mut machine, Role::Broker, 8), [Action::Exit]);
}

#[test]
fn a_broker_that_dies_first_delays_no_end() {
    let mut machine = serving();
    machine.step(Event::Terminate, 5);
    assert_eq!(end(&mut machine, Role::Broker, 6), []);
    for role in [Role::Monitor, Role::Attacher, Role::Launcher, Role::Control, Role::Gate] {
        assert_eq!(end(&mut machine, role, 6), []);
    }
    assert_eq!(end(&mut machine, Role::Dialog, 7), [Action::Exit]);
}

#[test]
fn an_end_that_comes_while_all_is_renewed_still_comes() {
    let mut machine = serving();
    end(&mut machine, Role::Broker, 5);
    assert_eq!(machine.step(Event::Terminate, 6), [Action::NotifyStopping]);
    for role in [Role::Monitor, Role::Attacher, Role::Launcher, Role::Control, Role::Gate] {
        assert_eq!(end(&mut machine, role, 6), []);
    }
    assert_eq!(end(&mut machine, Role::Dialog, 7), [Action::Exit]);
}

#[test]
fn l19_a_unit_is_started_anew_so_often_and_no_oftener() {
    let mut machine = serving();
    for count in 0..RESTARTS_MAX {
        let actions = end(&mut machine, Role::Attacher, 1);
        assert_eq!(actions, [told(Role::Attacher), Action::Start(Unit::Attacher)], "restart {count}");
    }
    let last = end(&mut machine, Role::Attacher, RESTART_WINDOW_MS);
    assert_eq!(last, [told(Role::Attacher), Action::GiveUp(Unit::Attacher)]);
    // Another unit has its own count.
    assert!(end(&mut machine, Role::Dialog, 2).contains(&Action::Start(Unit::Dialog)));
}

#[test]
fn a_restart_is_forgotten_after_its_window() {
    let mut machine = serving();
    for count in 0..100 {
        let actions = end(&mut machine, Role::Dialog, count * RESTART_WINDOW_MS / 10);
        assert!(actions.contains(&Action::Start(Unit::Dialog)), "restart {count}");
    }
}

#[test]
fn a_broker_that_ends_too_often_ends_the_daemon() {
    let mut machine = machine(false, false);
    machine.step(Event::Begin, 0);
    for count in 0..=RESTARTS_MAX {
        end(&mut machine, Role::Broker, 1);
        end(&mut machine, Role::Attacher, 1);
        end(&mut machine, Role::Monitor, 1);
        end(&mut machine, Role::Control, 1);
        let actions = end(&mut machine, Role::Gate, 1);
        if count < RESTARTS_MAX {
            assert_eq!(actions.len(), 4, "renewal {count}");
        } else {
            assert_eq!(actions, [Action::GiveUp(Unit::Broker)]);
        }
    }
}

fn end_without_sandbox(machine: &mut Machine, role: Role) -> Vec<Action> {
    machine.step(Event::Ended { role, how: Ending::Code(i32::from(EXIT_SANDBOX)) }, 1)
}

#[test]
fn a_broker_that_cannot_be_confined_ends_a_daemon_that_has_not_served() {
    assert_eq!(end_without_sandbox(&mut serving(), Role::Broker), [Action::Refuse]);
    // In an order in which a worker ended first.
    let mut machine = serving();
    let actions = end_without_sandbox(&mut machine, Role::Attacher);
    assert_eq!(actions.last(), Some(&Action::Start(Unit::Attacher)));
    assert_eq!(end_without_sandbox(&mut machine, Role::Broker), [Action::Refuse]);
    // The code is not believed afterwards, and nothing is refused that is told to end.
    for event in [Event::Order(SupervisorOrder::Ready), Event::Terminate] {
        let mut machine = serving();
        machine.step(event, 1);
        assert!(!end_without_sandbox(&mut machine, Role::Broker).contains(&Action::Refuse));
    }
}

fn end_without_display(machine: &mut Machine, now_ms: u64) -> Vec<Action> {
    let how = Ending::Code(i32::from(EXIT_NO_DISPLAY));
    machine.step(Event::Ended { role: Role::Dialog, how }, now_ms)
}

#[test]
fn a_missing_display_never_ends_the_daemon_and_the_dialog_comes_with_the_display() {
    let mut machine = serving();
    assert_eq!(machine.step(Event::Unconnected(Role::Dialog), 0), []);
    for count in 1..1000 {
        let due_ms = count * RETRY_MS;
        assert_eq!(machine.next_tick_ms(), Some(due_ms));
        assert_eq!(machine.step(Event::Tick, due_ms - 1), []);
        assert_eq!(machine.step(Event::Tick, due_ms), [Action::Start(Unit::Dialog)]);
        assert_eq!(machine.next_tick_ms(), None);
        assert_eq!(machine.step(Event::Unconnected(Role::Dialog), due_ms), []);
    }
}

#[test]
fn a_display_that_refuses_is_asked_more_and_more_rarely() {
    let mut machine = serving();
    let (mut now_ms, mut waited_ms) = (0, Vec::new());
    for _ in 0..8 {
        let actions = end_without_display(&mut machine, now_ms);
        assert!(matches!(actions[..], [Action::Tell(SupervisorNotice::Ended { role: Role::Dialog, .. })]));
        let due_ms = machine.next_tick_ms().unwrap();
        waited_ms.push(due_ms - now_ms);
        now_ms = due_ms;
        assert_eq!(machine.step(Event::Tick, now_ms), [Action::Start(Unit::Dialog)]);
    }
    assert_eq!(waited_ms, [2000, 4000, 8000, 16_000, 32_000, 64_000, 64_000, 64_000]);
    // One that was there for a while is looked for soon.
    end_without_display(&mut machine, now_ms + 20_000);
    assert_eq!(machine.next_tick_ms(), Some(now_ms + 22_000));
}

#[test]
fn a_dialog_that_has_no_display_delays_neither_the_end_nor_a_renewal() {
    let mut machine = serving();
    machine.step(Event::Unconnected(Role::Dialog), 1);
    machine.step(Event::Terminate, 5);
    assert_eq!(machine.next_tick_ms(), None);
    for role in [Role::Monitor, Role::Attacher, Role::Launcher, Role::Control] {
        assert_eq!(end(&mut machine, role, 6), []);
    }
    assert_eq!(end(&mut machine, Role::Gate, 7), [Action::Kill(Role::Broker)]);
    let mut machine = serving();
    end(&mut machine, Role::Broker, 5);
    for role in [Role::Monitor, Role::Attacher, Role::Launcher, Role::Control, Role::Gate] {
        assert_eq!(end(&mut machine, role, 6), []);
    }
    let all = [Unit::Broker, Unit::Attacher, Unit::Launcher, Unit::Monitoring, Unit::Dialog, Unit::Control];
    assert_eq!(machine.step(Event::Unconnected(Role::Dialog), 7), all.map(Action::Start));
}

#[test]
fn a_missing_bus_never_ends_the_daemon_and_is_waited_for_apart_from_the_display() {
    let mut machine = Machine::new(Wanted { notifier: true, ..Wanted::default() });
    assert!(machine.step(Event::Begin, 0).ends_with(&[Action::Start(Unit::Notifier)]));
    assert_eq!(machine.step(Event::Unconnected(Role::Notifier), 0), []);
    for count in 1..100 {
        assert_eq!(machine.next_tick_ms(), Some(count * RETRY_MS));
        assert_eq!(machine.step(Event::Tick, count * RETRY_MS), [Action::Start(Unit::Notifier)]);
        assert_eq!(machine.step(Event::Unconnected(Role::Notifier), count * RETRY_MS), []);
    }
    machine.step(Event::Tick, 1_000_000);
    let how = Ending::Code(i32::from(EXIT_NO_BUS));
    let ended = machine.step(Event::Ended { role: Role::Notifier, how }, 1_000_001);
    assert_eq!(ended, [Action::Tell(SupervisorNotice::Ended { role: Role::Notifier, how })]);
    assert_eq!(machine.next_tick_ms(), Some(1_000_001 + RETRY_MS));
}

/// Whatever comes in whatever order: only what lives is killed, only what does not live is started, and the
/// daemon never waits for an end that will not come.
#[test]
fn any_order_of_events_keeps_the_processes_in_order() {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..2000 {
        let mut machine = Machine::new(Wanted { dialog: true, launcher: true, notifier: true });
        let mut lives: BTreeMap<Role, bool> = BTreeMap::new();
        let mut actions = machine.step(Event::Begin, 0);
        let mut over = false;
        for now_ms in 0..60 {
            for action in actions.drain(..) {
                match action {
                    Action::Start(unit) => {
                        for role in unit.roles() {
                            assert_eq!(lives.insert(*role, true), None, "{role} was started twice");
                        }
                    }
                    Action::Kill(role) => assert_eq!(lives.insert(role, false), Some(true), "{role}"),
                    Action::Tell(_) => assert!(lives.contains_key(&Role::Broker)),
                    Action::GiveUp(_) | Action::Refuse | Action::Exit => over = true,
                    Action::NotifyReady | Action::NotifyStopping => {}
                }
            }
            if over {
                assert!(lives.is_empty());
                break;
            }
            assert!(!lives.is_empty());
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let choice = usize::try_from(random >> 33).unwrap();
            let living: Vec<Role> = lives.keys().copied().collect();
            let role = living[choice / 16 % living.len()];
            let event = match choice % 16 {
                0 => Event::Terminate,
                1 => Event::BrokerLost,
                2 | 3 => Event::Order(SupervisorOrder::Restart { role }),
                4 => Event::Order(SupervisorOrder::Ready),
                5 => Event::Tick,
                6 if lives.contains_key(&Role::Notifier) => {
                    lives.remove(&Role::Notifier);
                    Event::Unconnected(Role::Notifier)
                }
                _ => {
                    lives.remove(&role);
                    Event::Ended { role, how: KILLED }
                }
            };
            actions = machine.step(event, now_ms);
        }
    }
}
