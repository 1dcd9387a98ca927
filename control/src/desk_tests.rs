use super::*;
use proptest::prelude::*;
use protocol::control::{AnswerOutcome, ControlReply, KillOutcome, Page};
use protocol::types::ImageId;

const KILL: ControlRequest = ControlRequest::Kill { image: ImageId([1; 16]) };

fn killed(ticket: u64) -> Event {
    let reply = ControlReply::Kill(KillOutcome::Begun);
    Event::Answered(ControlCommand { ticket: Ticket(ticket), reply })
}

fn asked(ticket: u64, uid: u32) -> Action {
    Action::Ask(ControlEvent::Asked { ticket: Ticket(ticket), uid, request: KILL })
}

#[test]
fn a_request_is_passed_on_with_the_uid_and_its_answer_comes_back_to_who_asked() {
    let mut desk = Desk::default();
    assert_eq!(desk.step(Event::Connected(ClientId(1), Some(1000)), 0), []);
    assert_eq!(desk.step(Event::Connected(ClientId(2), Some(0)), 0), []);
    assert_eq!(desk.step(Event::Said(ClientId(2), Some(KILL)), 1), [asked(1, 0)]);
    assert_eq!(desk.step(Event::Said(ClientId(1), Some(KILL)), 1), [asked(2, 1000)]);
    assert!(!desk.is_heard(ClientId(1), 100));
    let told = ClientReply::Answered(ControlReply::Kill(KillOutcome::Begun));
    assert_eq!(desk.step(killed(2), 2), [Action::Tell(ClientId(1), told.clone())]);
    assert!(!desk.is_heard(ClientId(1), 100), "it has not read its answer");
    desk.step(Event::Served(ClientId(1)), 3);
    assert!(desk.is_heard(ClientId(1), 100));
    assert_eq!(desk.step(killed(1), 3), [Action::Tell(ClientId(2), told)]);
}

#[test]
fn l18_a_client_is_heard_again_after_a_pause() {
    let mut desk = Desk::default();
    desk.step(Event::Connected(ClientId(1), Some(0)), 0);
    desk.step(Event::Said(ClientId(1), Some(KILL)), 5);
    desk.step(killed(1), 5);
    desk.step(Event::Served(ClientId(1)), 5);
    assert!(!desk.is_heard(ClientId(1), 5 + REQUEST_MS_MIN - 1));
    assert_eq!(desk.next_tick_ms(5), Some(5 + REQUEST_MS_MIN));
    assert!(desk.is_heard(ClientId(1), 5 + REQUEST_MS_MIN));
}

#[test]
fn who_may_not_ask_and_what_is_not_understood_is_refused_and_closed() {
    let mut desk = Desk::default();
    let refusal = |id, why| vec![Action::Tell(id, ClientReply::Refused(why)), Action::Close(id)];
    assert_eq!(
        desk.step(Event::Connected(ClientId(1), None), 0),
        refusal(ClientId(1), Refusal::NotPermitted)
    );
    assert_eq!(desk.step(Event::Said(ClientId(1), Some(KILL)), 0), [], "it is not heard");
    desk.step(Event::Connected(ClientId(2), Some(0)), 0);
    assert_eq!(desk.step(Event::Said(ClientId(2), None), 0), refusal(ClientId(2), Refusal::NotUnderstood));
    assert_eq!(desk.step(Event::Said(ClientId(2), Some(KILL)), 0), []);
}

#[test]
fn l19_clients_are_limited_for_each_user_and_in_all() {
    let mut desk = Desk::default();
    let per_uid = u64::try_from(CLIENTS_PER_UID_MAX).unwrap();
    for number in 0..per_uid {
        assert_eq!(desk.step(Event::Connected(ClientId(number), Some(7)), 0), []);
    }
    assert_eq!(desk.step(Event::Connected(ClientId(100), Some(7)), 0).len(), 2);
    assert_eq!(desk.step(Event::Connected(ClientId(101), Some(8)), 0), []);
    desk.step(Event::Gone(ClientId(0)), 0);
    assert_eq!(desk.step(Event::Connected(ClientId(102), Some(7)), 0), []);
    let mut desk = Desk::default();
    for number in 0..u32::try_from(CLIENTS_MAX).unwrap() {
        assert_eq!(desk.step(Event::Connected(ClientId(number.into()), Some(number)), 0), []);
    }
    assert_eq!(desk.step(Event::Connected(ClientId(1000), Some(1000)), 0).len(), 2);
}

#[test]
fn a_client_that_is_silent_or_does_not_read_is_sent_away() {
    for (request, answer) in [(false, false), (true, false), (true, true)] {
        let mut desk = Desk::default();
        desk.step(Event::Connected(ClientId(1), Some(0)), 0);
        if request {
            desk.step(Event::Said(ClientId(1), Some(KILL)), 0);
        }
        if answer {
            desk.step(killed(1), 0);
        }
        assert_eq!(desk.step(Event::Tick, CLIENT_MS_MAX - 1), []);
        assert_eq!(desk.step(Event::Tick, CLIENT_MS_MAX), [Action::Close(ClientId(1))]);
        assert_eq!(desk.next_tick_ms(CLIENT_MS_MAX), None);
    }
}

#[test]
fn a_broker_that_answers_what_nobody_asked_ends_control() {
    let mut desk = Desk::default();
    assert_eq!(desk.step(killed(1), 0), [Action::End]);
    desk.step(Event::Connected(ClientId(1), Some(0)), 0);
    desk.step(Event::Said(ClientId(1), Some(KILL)), 0);
    let other = ControlReply::Answer(AnswerOutcome::Taken);
    assert_eq!(
        desk.step(Event::Answered(ControlCommand { ticket: Ticket(1), reply: other }), 0),
        [Action::End]
    );
    desk.step(Event::Connected(ClientId(2), Some(0)), 0);
    desk.step(Event::Said(ClientId(2), Some(KILL)), 0);
    // Who asked is gone: the answer is dropped, and no second one is accepted.
    desk.step(Event::Gone(ClientId(2)), 0);
    assert_eq!(desk.step(killed(2), 0), []);
    assert_eq!(desk.step(killed(2), 0), [Action::End]);
}

proptest! {
    /// Whatever comes: no client is told twice for one request, and nobody is told anything that was not asked.
    #[test]
    fn each_request_is_answered_once_to_who_asked(steps in proptest::collection::vec((0_u8..7, 0_u64..5, 0_u64..3000), 0..200)) {
        let mut desk = Desk::default();
        let mut now = 0;
        let mut open: BTreeMap<u64, u64> = BTreeMap::new();
        let mut connected = 10_u64;
        for (what, which, ms) in steps {
            now += ms;
            let id = ClientId(connected - which);
            let event = match what {
                0 => { connected += 1; Event::Connected(ClientId(connected), (which > 0).then_some(7)) }
                1 => Event::Said(id, Some(KILL)),
                2 => Event::Said(id, None),
                3 => Event::Served(id),
                4 => Event::Gone(id),
                5 => match open.keys().next().copied() {
                    Some(ticket) => killed(ticket),
                    None => Event::Tick,
                },
                _ => Event::Tick,
            };
            for action in desk.step(event.clone(), now) {
                match action {
                    Action::Ask(ControlEvent::Asked { ticket, .. }) => {
                        prop_assert!(open.insert(ticket.0, id.0).is_none());
                    }
                    Action::Tell(to, ClientReply::Answered(reply)) => {
                        prop_assert_eq!(&reply, &ControlReply::Kill(KillOutcome::Begun));
                        let Event::Answered(command) = &event else { panic!("told without an answer") };
                        prop_assert_eq!(open.get(&command.ticket.0), Some(&to.0));
                    }
                    Action::Tell(_, ClientReply::Refused(_)) | Action::Close(_) => {}
                    Action::Ask(ControlEvent::Log(_)) | Action::End => panic!("{action:?}"),
                }
            }
            if let Event::Answered(command) = &event {
                open.remove(&command.ticket.0);
            }
            prop_assert!(desk.clients.len() <= CLIENTS_MAX);
        }
        let empty = ControlReply::Disposables(Page::first_of([]));
        let never = ControlCommand { ticket: Ticket(u64::MAX), reply: empty };
        prop_assert_eq!(desk.step(Event::Answered(never), now), [Action::End]);
    }
}
