use super::*;
use proptest::prelude::*;
use protocol::dialog::{QUESTIONS_OPEN_MAX, QuestionId, QuestionKind, Recipient};
use protocol::log::LogText;
use protocol::types::VmName;

const EXPIRES_MS: u32 = 60_000;

fn question(id: u64) -> Question {
    Question {
        id: QuestionId(id),
        kind: QuestionKind::Transfer,
        source: VmName::new(b"work").unwrap(),
        target: Recipient::NewDisposable,
        size_mib: 64,
        used_mib: 13,
        age_ms: 1500,
        rule: LogText::new("30-user.policy:4"),
        expires_ms: EXPIRES_MS,
    }
}

fn asked(id: u64) -> Event {
    Event::Command(DialogCommand::Ask(question(id)))
}

fn withdrawn(id: u64) -> Event {
    Event::Command(DialogCommand::Withdraw { id: QuestionId(id) })
}

fn told() -> Event {
    Event::Command(DialogCommand::Tell(Notice::TemplateBeingRebuilt))
}

fn answer(id: u64, yes: bool) -> Action {
    Action::Send(DialogEvent::Answer { id: QuestionId(id), yes })
}

/// Carries out events at their times, with hands that are always free, and gives every answer.
fn play(state: State, events: &[(u64, Event)]) -> (State, Vec<Action>) {
    let mut sent = Vec::new();
    let mut state = state;
    for (now_ms, event) in events {
        let mut next = Some(event.clone());
        while let Some(event) = next.take() {
            let (after, actions) = step(state, event, *now_ms);
            state = after;
            for action in actions {
                match action {
                    Action::LookAtHands => next = Some(Event::HandsFree(true)),
                    Action::Send(_) | Action::End(_) => sent.push(action),
                }
            }
        }
    }
    (state, sent)
}

/// Questions 1 to `count` at 0 ms, the focus at 0 ms, and keys that work from 1000 ms on.
fn armed(count: u64) -> State {
    let mut events = vec![(0, Event::Focus(true))];
    events.extend((1..=count).map(|id| (0, asked(id))));
    events.push((1000, Event::Tick));
    play(State::default(), &events).0
}

fn open(state: &State) -> Vec<u64> {
    state.queue.all().map(|open| open.question.id.0).collect()
}

#[test]
fn every_input_in_every_state_means_what_the_table_says() {
    let (yes, no) = (vec![answer(1, true)], vec![answer(1, false)]);
    let tab = |key| vec![Event::Key(Key::Tab), Event::Key(key)];
    let click = |over| vec![Event::Pressed(over), Event::Released(over)];
    let rows: Vec<(Vec<Event>, Vec<Action>)> = vec![
        (vec![Event::Key(Key::Enter)], no.clone()),
        (vec![Event::Key(Key::Escape)], no.clone()),
        (vec![Event::Close], no.clone()),
        (tab(Key::Enter), yes.clone()),
        (tab(Key::Escape), no.clone()),
        (vec![Event::Key(Key::Left), Event::Key(Key::Enter)], yes.clone()),
        (vec![Event::Key(Key::Left), Event::Key(Key::Right), Event::Key(Key::Enter)], no.clone()),
        (vec![Event::Key(Key::Tab), Event::Key(Key::Tab), Event::Key(Key::Enter)], no.clone()),
        (vec![Event::Key(Key::Other)], vec![]),
        (click(Some(Choice::Yes)), yes),
        (click(Some(Choice::No)), no),
        (click(None), vec![]),
        (vec![Event::Pressed(Some(Choice::Yes)), Event::Released(Some(Choice::No))], vec![]),
        (vec![Event::Pressed(Some(Choice::No)), Event::Released(Some(Choice::Yes))], vec![]),
        (vec![Event::Pressed(None), Event::Released(Some(Choice::Yes))], vec![]),
        (vec![Event::Released(Some(Choice::Yes))], vec![]),
        (vec![Event::Tick], vec![]),
    ];
    for (events, expected) in rows {
        let events: Vec<_> = events.into_iter().map(|event| (2000, event)).collect();
        for count in [0, 1, 3] {
            let (state, sent) = play(armed(count), &events);
            let expected = if count == 0 { Vec::new() } else { expected.clone() };
            assert_eq!(sent, expected, "{events:?} with {count} open");
            assert_eq!(open(&state).len() + sent.len(), usize::try_from(count).unwrap(), "{events:?}");
        }
        // Not focused, not long enough focused, or focused without a look at the hands: only closing means no.
        let closes = events.iter().any(|(_, event)| *event == Event::Close);
        let expected = if closes { vec![answer(1, false)] } else { Vec::new() };
        let unfocused = play(State::default(), &[(0, asked(1))]).0;
        let fresh = play(State::default(), &[(0, asked(1)), (1001, Event::Focus(true))]).0;
        for state in [unfocused, fresh] {
            assert_eq!(play(state, &events).1, expected, "{events:?}");
        }
    }
}

#[test]
fn l14_nothing_works_before_the_window_has_had_the_focus_for_a_second() {
    for (pressed_ms, works) in [(1, false), (999, false), (1000, true), (1001, true)] {
        let begin = [(0, asked(1)), (5000, Event::Focus(true)), (5000 + pressed_ms, Event::Tick)];
        let (state, _) = play(State::default(), &begin);
        let (_, sent) = play(state.clone(), &[(5000 + pressed_ms, Event::Key(Key::Escape))]);
        assert_eq!(!sent.is_empty(), works, "Escape after {pressed_ms} ms");
        let click = [Event::Pressed(Some(Choice::Yes)), Event::Released(Some(Choice::Yes))];
        let (_, sent) = play(state, &click.map(|event| (5000 + pressed_ms, event)));
        assert_eq!(!sent.is_empty(), works, "a click after {pressed_ms} ms");
    }
}

#[test]
fn l14_a_held_key_answers_nothing_however_long_it_is_held() {
    let (mut state, _) = play(State::default(), &[(0, Event::Focus(true)), (0, asked(1))]);
    // The keyboard repeats it, or does not: the look at the hands sees it in any case.
    for (repeated, until_ms) in [(true, 20_000), (false, 40_000)] {
        let mut now_ms = until_ms - 20_000;
        while now_ms < until_ms {
            now_ms += 30;
            let event = if repeated { Event::Key(Key::Enter) } else { Event::Tick };
            let (next, actions) = step(state, event, now_ms);
            state = next;
            if actions == [Action::LookAtHands] {
                let (next, actions) = step(state, Event::HandsFree(false), now_ms);
                assert_eq!(actions, []);
                state = next;
            } else {
                assert_eq!(actions, []);
            }
        }
    }
    // Released: a second later keys work.
    let (state, sent) = play(state, &[(41_000, Event::Key(Key::Other)), (42_000, Event::Tick)]);
    assert_eq!(sent, []);
    assert_eq!(play(state, &[(42_000, Event::Key(Key::Enter))]).1, [answer(1, false)]);
}

#[test]
fn l14_what_was_pressed_before_the_look_at_the_hands_disarms() {
    let (state, _) = play(State::default(), &[(0, Event::Focus(true)), (0, asked(1))]);
    let (state, actions) = step(state, Event::Tick, 1000);
    assert_eq!(actions, [Action::LookAtHands]);
    // It was on its way when the hands were looked at, and is told before the answer.
    let (state, actions) = step(state, Event::Key(Key::Enter), 1000);
    assert_eq!(actions, []);
    let (state, actions) = step(state, Event::HandsFree(true), 1000);
    assert_eq!((state.buttons.armed, actions), (false, vec![]));
}

#[test]
fn l13_an_answer_to_one_question_does_nothing_to_the_next() {
    let held =
        [(1500, Event::Key(Key::Enter)), (1501, Event::Key(Key::Enter)), (1600, Event::Key(Key::Enter))];
    let (state, sent) = play(armed(3), &held);
    assert_eq!(sent, [answer(1, false)]);
    assert_eq!(open(&state), [2, 3]);
    // A double click, and a press on one question whose release comes on the next.
    let click = [Event::Pressed(Some(Choice::Yes)), Event::Released(Some(Choice::Yes))];
    let twice: Vec<_> = click.iter().chain(&click).map(|event| (2000, event.clone())).collect();
    assert_eq!(play(armed(3), &twice).1, [answer(1, true)]);
    let across =
        [(2000, click[0].clone()), (2001, withdrawn(1)), (2002, click[1].clone()), (9000, click[1].clone())];
    let (state, sent) = play(armed(2), &across);
    assert_eq!((sent, open(&state)), (vec![], vec![2]));
    // Nor does the focus of "yes" stay, nor does closing twice close two.
    let (state, _) =
        play(armed(2), &[(2000, Event::Key(Key::Tab)), (2000, withdrawn(1)), (3000, Event::Tick)]);
    assert_eq!(play(state, &[(3000, Event::Key(Key::Enter))]).1, [answer(2, false)]);
    assert_eq!(play(armed(2), &[(2000, Event::Close), (2100, Event::Close)]).1, [answer(1, false)]);
}

#[test]
fn l13_an_input_that_comes_with_the_end_of_the_time_answers_nothing() {
    for input in [Event::Key(Key::Escape), Event::Close, Event::Released(Some(Choice::Yes))] {
        let (state, sent) = play(armed(1), &[(u64::from(EXPIRES_MS), input)]);
        assert_eq!((sent, open(&state)), (vec![], vec![]));
        assert_eq!(state.view(u64::from(EXPIRES_MS)), View::Nothing);
    }
}

#[test]
fn lost_focus_disarms_and_needs_another_second() {
    let away = [(2000, Event::Focus(false)), (2001, Event::Focus(true))];
    let (state, _) = play(armed(1), &away);
    assert_eq!(play(state.clone(), &[(3000, Event::Key(Key::Escape))]).1, []);
    let (state, _) = play(state, &[(3001, Event::Tick)]);
    assert_eq!(play(state, &[(3001, Event::Key(Key::Escape))]).1, [answer(1, false)]);
}

#[test]
fn the_view_counts_up_the_age_and_down_the_time() {
    let (state, _) = play(State::default(), &[(10_000, asked(1)), (10_000, asked(2))]);
    let View::Question { waiting, age_s, left_s, left_permille, buttons, .. } = state.view(25_100) else {
        panic!("a question is shown");
    };
    assert_eq!((waiting, age_s, left_s, left_permille), (1, 16, 45, 748));
    assert_eq!(buttons, Buttons::default());
    assert_eq!(state.next_tick_ms(25_100), Some(26_100));
    assert_eq!(state.next_tick_ms(69_900), Some(70_000));
    assert_eq!(State::default().next_tick_ms(0), None);
}

#[test]
fn a_notice_has_one_button_waits_for_questions_and_goes_by_itself() {
    let (state, sent) = play(State::default(), &[(0, Event::Focus(true)), (0, told()), (0, told())]);
    assert!(matches!(state.view(0), View::Notice { left_s: 10, left_permille: 1000, .. }));
    // A question takes its place, and it comes again for the whole time.
    let (state, more) = play(state, &[(9000, asked(1)), (9500, withdrawn(1))]);
    assert_eq!((sent, more), (vec![], vec![]));
    assert!(matches!(state.view(9500), View::Notice { left_s: 10, .. }));
    // One goes by a key, of which none can mean yes, the other by time.
    let (state, sent) = play(
        state,
        &[(10_500, Event::Tick), (10_500, Event::Key(Key::Tab)), (10_500, Event::Key(Key::Enter))],
    );
    assert_eq!((sent, state.notices.len()), (vec![], 1));
    let (state, _) = play(state, &[(20_499, Event::Tick)]);
    assert!(state.is_showing());
    assert_eq!(play(state, &[(20_500, Event::Tick)]).0.view(20_500), View::Nothing);
}

#[test]
fn l19_so_many_notices_wait_and_the_oldest_goes_for_one_more() {
    let failed = |source: &[u8]| {
        let source = VmName::new(source).unwrap();
        let reason = protocol::launch::LaunchFailure::NoMemory;
        Event::Command(DialogCommand::Tell(Notice::CreationFailed { source, reason }))
    };
    let mut events = vec![(0, failed(b"shown")), (0, failed(b"oldest"))];
    events.extend((2..NOTICES_MAX).map(|_| (0, told())));
    let (state, _) = play(State::default(), &events);
    assert_eq!(state.notices.len(), NOTICES_MAX);
    let (state, _) = play(state, &[(1, told())]);
    assert_eq!(state.notices.len(), NOTICES_MAX);
    let named = |name: &str| format!("{:?}", state.notices).contains(name);
    assert!(named("shown") && !named("oldest"));
}

#[test]
fn a_broker_that_asks_too_much_or_twice_is_left() {
    let most = u64::try_from(QUESTIONS_OPEN_MAX).unwrap();
    assert_eq!(play(armed(most), &[(0, asked(most + 1))]).1, [Action::End(Breach::TooMany)]);
    assert_eq!(play(armed(2), &[(0, asked(2))]).1, [Action::End(Breach::Twice)]);
}

fn any_event() -> impl Strategy<Value = Event> {
    let choice = || prop_oneof![Just(None), Just(Some(Choice::Yes)), Just(Some(Choice::No))];
    let key = prop_oneof![
        Just(Key::Enter),
        Just(Key::Escape),
        Just(Key::Tab),
        Just(Key::Left),
        Just(Key::Right),
        Just(Key::Other)
    ];
    prop_oneof![
        3 => (1_u64..6).prop_map(asked),
        2 => (1_u64..6).prop_map(withdrawn),
        1 => Just(told()),
        2 => any::<bool>().prop_map(Event::Focus),
        4 => key.prop_map(Event::Key),
        3 => choice().prop_map(Event::Pressed),
        3 => choice().prop_map(Event::Released),
        3 => any::<bool>().prop_map(Event::HandsFree),
        1 => Just(Event::Close),
        4 => Just(Event::Tick),
    ]
}

proptest! {
    /// Whatever happens in whatever order: an answer is to the question on the screen, which has been there for a
    /// second, and no key or click means anything unless the window had the focus, undisturbed, for as long.
    #[test]
    fn l13_l14_an_answer_is_only_ever_to_what_was_attended_to(
        events in proptest::collection::vec((any_event(), 0_u64..1500), 0..80),
    ) {
        let mut state = State::default();
        let (mut now_ms, mut focused_ms, mut shown_ms) = (0, None, 0);
        for (event, pause_ms) in events {
            now_ms += pause_ms;
            let before = open(&state).first().copied();
            let (next, actions) = step(state, event.clone(), now_ms);
            let given: Vec<_> = actions.iter().filter(|action| matches!(action, Action::Send(_))).collect();
            prop_assert!(given.len() <= 1);
            if let Some(Action::Send(DialogEvent::Answer { id, yes })) = given.first() {
                prop_assert_eq!(Some(id.0), before);
                prop_assert!(now_ms - shown_ms >= ATTENTION_MS_MIN);
                prop_assert!(!open(&next).contains(&id.0));
                if event == Event::Close {
                    prop_assert!(!yes);
                } else {
                    prop_assert!(focused_ms.is_some_and(|since| now_ms - since >= ATTENTION_MS_MIN));
                }
            }
            if let Event::Focus(has_focus) = event {
                focused_ms = has_focus.then_some(now_ms);
            }
            if open(&next).first() != before.as_ref() {
                shown_ms = now_ms;
            }
            prop_assert_eq!(next.is_showing(), next.view(now_ms) != View::Nothing);
            state = next;
        }
    }
}
