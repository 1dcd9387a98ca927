//! What holds across many steps.

use proptest::prelude::*;

use super::*;

/// A world in which everything that is ordered works at once, but guests do what the test says.
fn settle(machine: &mut Machine, event: Event, now: Millis) -> Vec<Action> {
    let mut done = Vec::new();
    let mut queue = machine.step(event, now);
    while !queue.is_empty() {
        let mut next = Vec::new();
        for action in queue {
            let result = match &action {
                Action::Create { id, image, size, .. } => {
                    Some(Event::Created { id: *id, image: *image, size: *size, result: Ok(()), spare: true })
                }
                Action::MakeSpare => Some(Event::SpareMade(true)),
                Action::ReleasePiece(image) => Some(Event::PieceReleased { image: *image, more: Ok(false) }),
                Action::Connect { place, .. } => Some(Event::Connecting { place: *place, result: Ok(()) }),
                Action::Close { place, .. } => Some(Event::Closing { place: *place, told: true }),
                Action::Remove(place) => Some(Event::Removed { place: *place, result: Ok(()) }),
                Action::Release { place, .. } => Some(Event::Released { place: *place, unbound: Ok(true) }),
                Action::MakeQpen(id, _) | Action::Answer(id, _, _) | Action::Forget(id, _) => {
                    Some(Event::Written { id: *id, result: Ok(()) })
                }
                Action::Measure(id, _) => Some(Event::Measured { id: *id, used_mib: Ok(1) }),
                Action::Answered(..) | Action::Log(..) | Action::Unwatch(_) => None,
            };
            done.push(action);
            if let Some(event) = result {
                next.extend(machine.step(event, now));
            }
        }
        queue = next;
    }
    done
}

#[test]
fn l6_attach_is_done_only_when_the_back_end_is_connected() {
    let mut machine = machine();
    assert_eq!(answers(&settle(&mut machine, attach(1, IMAGE, 5, Attachment::Outgoing), 0)), []);
    let back_end = |state| Event::BackEnd { place: place(), state };
    assert_eq!(answers(&settle(&mut machine, back_end(BackState::Opening), 10)), []);
    assert_eq!(answers(&settle(&mut machine, back_end(BackState::Connected), 20)), [(1, Outcome::Done)]);
    // And once only.
    assert_eq!(settle(&mut machine, back_end(BackState::Connected), 30), []);
}

#[test]
fn a_guest_that_boots_gets_the_time_for_it() {
    let mut machine = machine();
    let order_of = |number, image, to, boots| {
        let place = Attachment::Outgoing;
        order(number, Order::Attach { image, domid: domid(to), name: name(), boots, place })
    };
    settle(&mut machine, order_of(1, IMAGE, 5, true), 0);
    settle(&mut machine, order_of(2, OTHER, 6, false), 0);
    let late = answers(&settle(&mut machine, Event::Tick, BOOT_MS - 1));
    assert_eq!(late, [(2, failed(AttachFailure::GuestSilent))]);
    let later = answers(&settle(&mut machine, Event::Tick, BOOT_MS));
    assert_eq!(later, [(1, failed(AttachFailure::GuestSilent))]);
}

#[test]
fn l6_detach_is_done_only_when_the_loop_device_is_free() {
    let mut machine = machine();
    settle(&mut machine, attach(1, IMAGE, 5, Attachment::Outgoing), 0);
    settle(&mut machine, Event::BackEnd { place: place(), state: BackState::Connected }, 0);
    assert_eq!(machine.step(detach(2, IMAGE), 100), [Action::Close { place: place(), image: IMAGE }]);
    let closed = Event::BackEnd { place: place(), state: BackState::Closed };
    assert_eq!(machine.step(closed, 110), [Action::Remove(place())]);
    let release = [Action::Release { place: place(), image: IMAGE }];
    assert_eq!(machine.step(Event::Removed { place: place(), result: Ok(()) }, 110), release);
    assert_eq!(machine.step(Event::Released { place: place(), unbound: Ok(false) }, 110), []);
    assert_eq!(machine.deadline(), Some(110 + RELEASE_RETRY_MS));
    assert_eq!(machine.step(Event::Tick, 112), release);
    // Until then nobody else gets it.
    let actions = machine.step(attach(3, IMAGE, 6, Attachment::Outgoing), 112);
    assert_eq!(answers(&actions), [(3, failed(AttachFailure::InUse))]);
    let actions = machine.step(Event::Released { place: place(), unbound: Ok(true) }, 113);
    assert_eq!(answers(&actions), [(2, Outcome::Done)]);
    let actions = machine.step(attach(4, IMAGE, 6, Attachment::Outgoing), 114);
    assert_eq!(answers(&actions), []);
}

#[test]
fn l6_a_loop_device_that_is_never_free_fails_the_detach_and_keeps_the_image() {
    let mut machine = machine();
    settle(&mut machine, attach(1, IMAGE, 5, Attachment::Outgoing), 0);
    machine.step(Event::Tick, CONNECT_MS);
    machine.step(Event::Removed { place: place(), result: Ok(()) }, CONNECT_MS);
    let busy = || Event::Released { place: place(), unbound: Ok(false) };
    machine.step(busy(), CONNECT_MS);
    assert_eq!(machine.step(busy(), CONNECT_MS + RELEASE_MS_MAX - 1), []);
    let actions = machine.step(busy(), CONNECT_MS + RELEASE_MS_MAX);
    assert_eq!(answers(&actions), [(1, failed(AttachFailure::Io))]);
    let actions = machine.step(order(2, Order::Destroy { image: IMAGE }), 9_000);
    assert_eq!(answers(&actions), [(2, failed(AttachFailure::InUse))]);
    // A further order tries again.
    let actions = settle(&mut machine, detach(3, IMAGE), 10_000);
    assert_eq!(answers(&actions), [(3, Outcome::Done)]);
}

#[test]
fn l2_a_silent_guest_delays_nobody_else() {
    let mut machine = machine();
    settle(&mut machine, attach(1, IMAGE, 5, Attachment::Outgoing), 0);
    assert_eq!(machine.deadline(), Some(CONNECT_MS));
    // While domain 5 says nothing, domain 6 is served whole.
    settle(&mut machine, attach(2, OTHER, 6, Attachment::Outgoing), 10);
    let six = Place { domid: domid(6), device: Device::Outgoing };
    let actions = settle(&mut machine, Event::BackEnd { place: six, state: BackState::Connected }, 20);
    assert_eq!(answers(&actions), [(2, Outcome::Done)]);
    let actions = settle(&mut machine, order(3, Order::Answer { domid: domid(6), reply: reply() }), 30);
    assert_eq!(answers(&actions), [(3, Outcome::Done)]);
    let actions = settle(&mut machine, Event::Tick, CONNECT_MS - 1);
    assert_eq!(actions, []);
    let actions = settle(&mut machine, Event::Tick, CONNECT_MS);
    assert_eq!(answers(&actions), [(1, failed(AttachFailure::GuestSilent))]);
}

#[test]
fn a_guest_that_does_not_let_go_is_disconnected_in_time() {
    let mut machine = machine();
    settle(&mut machine, attach(1, IMAGE, 5, Attachment::Outgoing), 0);
    settle(&mut machine, Event::BackEnd { place: place(), state: BackState::Connected }, 0);
    settle(&mut machine, detach(2, IMAGE), 100);
    assert_eq!(machine.deadline(), Some(100 + CLOSE_MS));
    assert_eq!(settle(&mut machine, Event::Tick, 100 + CLOSE_MS - 1), []);
    let actions = settle(&mut machine, Event::Tick, 100 + CLOSE_MS);
    assert!(actions.contains(&Action::Remove(place())));
    assert_eq!(answers(&actions), [(2, Outcome::Done)]);
}

#[test]
fn a_gone_domain_ends_every_order_for_it() {
    let mut machine = machine();
    settle(&mut machine, attach(1, IMAGE, 5, Attachment::Outgoing), 0);
    settle(&mut machine, attach(2, OTHER, 5, incoming()), 0);
    let actions = settle(&mut machine, order(3, Order::ForgetDomain { domid: domid(5) }), 10);
    let mut told = answers(&actions);
    told.sort_by_key(|(id, _)| *id);
    let gone = failed(AttachFailure::DomainGone);
    assert_eq!(told, [(1, gone.clone()), (2, gone), (3, Outcome::Done)]);
    assert!(machine.places.is_empty());
    // Nothing of ours there: done at once, as often as it is asked.
    let actions = settle(&mut machine, order(4, Order::ForgetDomain { domid: domid(5) }), 10);
    assert_eq!(answers(&actions), [(4, Outcome::Done)]);
}

#[test]
fn orders_whose_work_is_done_are_done() {
    let mut machine = machine();
    settle(&mut machine, attach(1, IMAGE, 5, Attachment::Outgoing), 0);
    settle(&mut machine, Event::BackEnd { place: place(), state: BackState::Connected }, 0);
    let actions = settle(&mut machine, attach(2, IMAGE, 5, Attachment::Outgoing), 0);
    assert_eq!(actions, [Action::Answered(OrderId(2), Outcome::Done)]);
    settle(&mut machine, detach(3, IMAGE), 0);
    settle(&mut machine, Event::BackEnd { place: place(), state: BackState::Closed }, 0);
    let actions = settle(&mut machine, detach(4, IMAGE), 0);
    assert_eq!(actions, [Action::Answered(OrderId(4), Outcome::Done)]);
    assert_eq!(settle(&mut machine, order(5, Order::Destroy { image: IMAGE }), 0), []);
    let twice = settle(&mut machine, order(6, Order::Destroy { image: IMAGE }), 0);
    assert_eq!(answers(&twice), [(6, failed(AttachFailure::Conflict))]);
    assert_eq!(answers(&settle(&mut machine, Event::Idle, 0)), [(5, Outcome::Done)]);
    let actions = settle(&mut machine, order(7, Order::Destroy { image: IMAGE }), 0);
    assert_eq!(actions, [Action::Answered(OrderId(7), Outcome::Done)]);
}

#[test]
fn l4_images_and_mebibytes_are_limited_before_anything_is_made() {
    let create = |number: u8, size| {
        let label = VmName::new(b"work").unwrap();
        order(u64::from(number), Order::Create { image: ImageId([number; 16]), size: mib(size), label })
    };
    // 2048 of 4096 MiB are there already.
    let mut machine = machine();
    let actions = machine.step(create(10, 2049), 0);
    assert_eq!(answers(&actions), [(10, failed(AttachFailure::NoSpace))]);
    assert_eq!(actions.len(), 1);
    assert_eq!(answers(&settle(&mut machine, create(11, 2048), 0)), [(11, Outcome::Done)]);
    assert_eq!(answers(&settle(&mut machine, create(12, 1), 0)), [(12, failed(AttachFailure::NoSpace))]);
    let existing = settle(&mut machine, create(11, 40), 0);
    assert_eq!(answers(&existing), [(11, failed(AttachFailure::InUse))]);
    // Eight images at most.
    let images = (1..=7).map(|number| (ImageId([number; 16]), 1)).collect();
    let (mut machine, _) = Machine::new(limits(), Found { images, places: Vec::new() });
    assert_eq!(answers(&settle(&mut machine, create(8, 40), 0)), [(8, Outcome::Done)]);
    assert_eq!(answers(&settle(&mut machine, create(9, 40), 0)), [(9, failed(AttachFailure::NoSpace))]);
}

#[test]
fn l19_no_configuration_permits_more_images_than_an_inventory_holds() {
    let images = (0..IMAGES_MAX).map(|number| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(number as u64).to_le_bytes());
        (ImageId(id), 0)
    });
    let found = Found { images: images.collect(), places: Vec::new() };
    let all = Limits { images_max: usize::MAX, total_mib_max: u64::MAX, ..limits() };
    let (mut machine, _) = Machine::new(all, found);
    let label = VmName::new(b"work").unwrap();
    let create = Order::Create { image: ImageId([0xFF; 16]), size: mib(40), label };
    assert_eq!(answers(&machine.step(order(1, create), 0)), [(1, failed(AttachFailure::NoSpace))]);
    let actions = machine.step(order(2, Order::Inventory), 0);
    let [Action::Answered(_, outcome)] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(protocol::attach::answers(&Order::Inventory, outcome));
    let reply = protocol::attach::AttachReply::Finished { id: OrderId(2), outcome: outcome.clone() };
    assert!(protocol::codec::encode(&reply).is_ok());
}

#[test]
fn the_inventory_tells_holders_also_of_what_is_half_made_or_half_gone() {
    let mut machine = machine();
    settle(&mut machine, attach(1, IMAGE, 5, Attachment::Outgoing), 0);
    let actions = machine.step(order(2, Order::Inventory), 0);
    let items = vec![
        protocol::attach::InventoryItem { image: IMAGE, holder: Some((domid(5), Device::Outgoing)) },
        protocol::attach::InventoryItem { image: OTHER, holder: None },
    ];
    assert_eq!(actions, [Action::Answered(OrderId(2), Outcome::Inventory(items))]);
}

#[test]
fn at_start_places_without_their_image_are_removed_and_an_image_has_one_holder() {
    let at = |number, device| Place { domid: domid(number), device };
    let found = |place, image| FoundPlace { place, image, connected: true };
    let places = vec![
        found(at(5, Device::Outgoing), IMAGE),
        found(at(6, Device::Outgoing), ImageId([9; 16])),
        found(at(7, Device::Incoming), IMAGE),
    ];
    let (machine, actions) = Machine::new(limits(), Found { images: vec![(IMAGE, 1)], places });
    let removed: Vec<&Action> = actions.iter().filter(|action| matches!(action, Action::Remove(_))).collect();
    assert_eq!(removed, [&Action::Remove(at(6, Device::Outgoing)), &Action::Remove(at(7, Device::Incoming))]);
    assert_eq!(machine.holder(IMAGE), Some(at(5, Device::Outgoing)));
}

#[test]
fn background_work_is_one_piece_at_a_time_and_images_go_before_the_spare() {
    let mut machine = machine();
    assert!(!machine.has_idle_work(0));
    machine.step(order(1, Order::Destroy { image: IMAGE }), 0);
    machine.step(Event::SpareMade(false), 0);
    assert!(machine.has_idle_work(0));
    assert_eq!(machine.step(Event::Idle, 0), [Action::ReleasePiece(IMAGE)]);
    assert_eq!(machine.step(Event::PieceReleased { image: IMAGE, more: Ok(true) }, 0), []);
    assert_eq!(machine.step(Event::Idle, 0), [Action::ReleasePiece(IMAGE)]);
    let actions = machine.step(Event::PieceReleased { image: IMAGE, more: Ok(false) }, 0);
    assert_eq!(answers(&actions), [(1, Outcome::Done)]);
    // The spare could not be made: not again before its time.
    assert_eq!(machine.step(Event::Idle, SPARE_RETRY_MS - 1), []);
    assert_eq!(machine.step(Event::Idle, SPARE_RETRY_MS), [Action::MakeSpare]);
}

#[test]
fn another_spare_is_made_some_time_after_one_was_used() {
    let mut machine = machine();
    let size = SizeMib::new(40).unwrap();
    let created = Event::Created { id: OrderId(1), image: OTHER, size, result: Ok(()), spare: false };
    machine.step(created, 50);
    let due = 50 + SPARE_PAUSE_MS;
    assert!(!machine.has_idle_work(due - 1));
    assert_eq!(machine.deadline(), Some(due));
    assert_eq!(machine.step(Event::Idle, due), [Action::MakeSpare]);
}

#[test]
fn an_image_that_could_not_be_released_can_be_destroyed_again() {
    let mut machine = machine();
    machine.step(order(1, Order::Destroy { image: IMAGE }), 0);
    let actions = machine.step(Event::PieceReleased { image: IMAGE, more: Err(AttachFailure::Io) }, 0);
    assert_eq!(answers(&actions), [(1, failed(AttachFailure::Io))]);
    machine.step(order(2, Order::Destroy { image: IMAGE }), 0);
    assert_eq!(answers(&settle(&mut machine, Event::Idle, 0)), [(2, Outcome::Done)]);
}

fn any_order() -> impl Strategy<Value = Order> {
    let image = prop_oneof![Just(IMAGE), Just(OTHER), Just(ImageId([3; 16]))];
    let domain = (1_u16..4).prop_map(domid);
    let attachment = prop_oneof![Just(Attachment::Outgoing), Just(incoming())];
    let device = prop_oneof![Just(Device::Outgoing), Just(Device::Incoming)];
    let label = VmName::new(b"work").unwrap();
    prop_oneof![
        Just(Order::Inventory),
        domain.clone().prop_map(|domid| Order::MakeQpen { domid }),
        domain.clone().prop_map(|domid| Order::Answer { domid, reply: reply() }),
        image.clone().prop_map(move |image| Order::Create { image, size: mib(40), label: label.clone() }),
        (image.clone(), domain.clone(), attachment).prop_map(|(image, domid, place)| Order::Attach {
            image,
            domid,
            name: name(),
            boots: false,
            place
        }),
        (image.clone(), domain.clone(), device).prop_map(|(image, domid, device)| Order::Detach {
            image,
            domid,
            device
        }),
        image.clone().prop_map(|image| Order::Measure { image }),
        image.prop_map(|image| Order::Destroy { image }),
        domain.prop_map(|domid| Order::ForgetDomain { domid }),
    ]
}

fn any_event() -> impl Strategy<Value = Result<Order, (u16, bool, u8)>> {
    prop_oneof![
        3 => any_order().prop_map(Ok),
        2 => (1_u16..4, any::<bool>(), 0_u8..7).prop_map(Err),
    ]
}

proptest! {
    /// Whatever is ordered and whatever guests do: one answer for each order, and never two holders of an image.
    #[test]
    fn l6_every_order_is_answered_exactly_once(steps in prop::collection::vec(any_event(), 1..60)) {
        let mut machine = machine();
        let mut given = Vec::new();
        let mut told = Vec::new();
        let mut now = 0;
        for (number, step) in steps.into_iter().enumerate() {
            now += 50;
            let event = match step {
                Ok(wanted) => {
                    given.push(number as u64);
                    order(number as u64, wanted)
                }
                Err((domain, outgoing, what)) => {
                    let device = if outgoing { Device::Outgoing } else { Device::Incoming };
                    let place = Place { domid: domid(domain), device };
                    match what {
                        0 => Event::BackEnd { place, state: BackState::Opening },
                        1 => Event::BackEnd { place, state: BackState::Connected },
                        2 => Event::BackEnd { place, state: BackState::Closing },
                        3 => Event::BackEnd { place, state: BackState::Closed },
                        4 => Event::BackEnd { place, state: BackState::Gone },
                        5 => Event::Tick,
                        _ => Event::Idle,
                    }
                }
            };
            told.extend(answers(&settle(&mut machine, event, now)));
            for image in machine.images.keys() {
                let holders = machine.places.values().filter(|holding| holding.image == *image).count();
                prop_assert!(holders <= 1);
            }
            prop_assert!(machine.places.values().all(|holding| machine.images.contains_key(&holding.image)));
        }
        // Time and idleness end whatever is open.
        for _ in 0..8 {
            now += 10_000;
            told.extend(answers(&settle(&mut machine, Event::Tick, now)));
            told.extend(answers(&settle(&mut machine, Event::Idle, now)));
        }
        let mut ids: Vec<u64> = told.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        prop_assert_eq!(ids, given);
    }
}

#[test]
fn l19_open_orders_are_bounded_by_images_and_places() {
    // Nothing but images, places and gone domains can keep an order open, and each keeps one.
    const { assert!(IMAGES_MAX * 3 < ORDERS_OPEN_MAX) }
}
