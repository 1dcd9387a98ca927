use super::*;
use proptest::prelude::*;
use protocol::dialog::{QUESTIONS_OPEN_MAX, QuestionKind, Recipient};
use protocol::launch::LaunchFailure;
use protocol::log::LogText;
use protocol::types::VmName;

const EXPIRES_MS: u32 = 60_000;

fn question(id: u64) -> Question {
    Question {
        id: QuestionId(id),
        kind: QuestionKind::Transfer,
        source: VmName::new(b"work").unwrap(),
        target: Recipient::Vm(VmName::new(format!("vault{id}").as_bytes()).unwrap()),
        size_mib: 64,
        used_mib: 5,
        age_ms: 0,
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

fn typed(text: &str) -> Event {
    Event::Input(text.as_bytes().to_vec())
}

fn answer(id: u64, yes: bool) -> Action {
    Action::Send(DialogEvent::Answer { id: QuestionId(id), yes })
}

fn answers(actions: &[Action]) -> Vec<Action> {
    actions
        .iter()
        .filter(|action| matches!(action, Action::Send(DialogEvent::Answer { .. })))
        .cloned()
        .collect()
}

fn screen(actions: &[Action]) -> String {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Print(text) => Some(text.as_str()),
            Action::Drain | Action::Send(_) | Action::End(_) => None,
        })
        .collect()
}

/// Questions 1 to `count`, asked at 0 ms: the first is shown.
fn with_questions(count: u64) -> State {
    (1..=count).fold(State::default(), |state, id| step(state, asked(id), 0).0)
}

/// The numbers of the open questions, the shown one first.
fn open(state: &State) -> Vec<u64> {
    state.queue.all().map(|open| open.question.id.0).collect()
}

#[test]
fn every_event_in_every_state_leaves_what_the_table_says() {
    let yes = [answer(1, true)];
    let no = [answer(1, false)];
    // Event at 5 s, then the open questions and the answers for none, one and three open questions before.
    type Row<'a> = (Event, [&'a [u64]; 3], &'a [Action]);
    let all: [&[u64]; 3] = [&[], &[1], &[1, 2, 3]];
    let settled: [&[u64]; 3] = [&[], &[], &[2, 3]];
    let rows: Vec<Row<'_>> = vec![
        (asked(9), [&[9], &[1, 9], &[1, 2, 3, 9]], &[]),
        (withdrawn(1), settled, &[]),
        (withdrawn(2), [&[], &[1], &[1, 3]], &[]),
        (withdrawn(8), all, &[]),
        (typed("yes 1\n"), settled, &yes),
        (typed("no\n"), settled, &no),
        (typed("no 1\n"), settled, &no),
        (typed("\n"), settled, &no),
        (typed("yes 2\n"), all, &[]),
        (typed("yes\n"), all, &[]),
        (typed("no 2\n"), all, &[]),
        (typed("what?\n"), all, &[]),
        (typed("yes 1"), all, &[]),
        (typed(""), all, &[]),
        (Event::Input(vec![b'y'; 5000]), all, &[]),
        (Event::Input(vec![0xFF, 0, 0x1B, b'\n']), all, &[]),
        (Event::DrainedMidLine, all, &[]),
        (Event::InputEnded, settled, &no),
        (Event::Tick, all, &[]),
    ];
    for (event, expected, expected_answers) in rows {
        for (count, expected) in [0, 1, 3].into_iter().zip(expected) {
            let (state, actions) = step(with_questions(count), event.clone(), 5000);
            assert_eq!(open(&state), expected, "{event:?} with {count} open");
            let wanted = if count == 0 { &[] } else { expected_answers };
            assert_eq!(answers(&actions), wanted, "{event:?} with {count} open");
            assert!(!actions.iter().any(|action| matches!(action, Action::End(_))), "{event:?}");
            // Whatever is shown anew is shown after what was typed ahead is gone.
            let newly_shown = state.is_asking() && expected.first() != Some(&1);
            assert_eq!(actions.contains(&Action::Drain), newly_shown, "{event:?} with {count} open");
        }
    }
}

#[test]
fn time_that_is_over_means_no_without_an_answer_from_here() {
    let (state, _) = step(State::default(), asked(1), 0);
    let (state, _) = step(state, asked(2), 10);
    let (state, _) = step(state, asked(3), 500);
    assert_eq!(state.next_tick_ms(), Some(60_000));
    let (state, actions) = step(state, Event::Tick, 59_999);
    assert!(actions.is_empty());
    let (state, actions) = step(state, typed("yes 1\n"), 60_000);
    assert_eq!(answers(&actions), []);
    assert!(screen(&actions).starts_with("\nNobody answered question 1 (work -> vault1) in time: no.\n"));
    assert_eq!(open(&state), [2, 3]);
    let (state, actions) = step(state, Event::Tick, 60_010);
    assert_eq!(open(&state), [3]);
    assert!(screen(&actions).contains("No answer within 1 s means no."));
    let (state, _) = step(state, Event::Tick, u64::MAX);
    assert_eq!((state.is_asking(), state.next_tick_ms()), (false, None));
}

#[test]
fn l19_the_last_permitted_question_is_queued_and_one_more_ends_the_edge() {
    let most = u64::try_from(QUESTIONS_OPEN_MAX).unwrap();
    let (state, actions) = step(with_questions(most - 1), asked(most), 0);
    assert!(actions.is_empty());
    let (_, actions) = step(state, asked(most + 1), 0);
    assert_eq!(actions, [Action::End(Breach::TooMany)]);
}

#[test]
fn one_number_twice_ends_the_edge() {
    for id in [1, 2] {
        let (_, actions) = step(with_questions(2), asked(id), 0);
        assert_eq!(actions, [Action::End(Breach::Twice)]);
    }
}

#[test]
fn a_withdrawn_question_says_so_and_the_next_one_appears() {
    let (state, actions) = step(with_questions(3), withdrawn(1), 9000);
    let text = screen(&actions);
    assert!(text.starts_with("\nThe question about work -> vault1 was withdrawn"), "{text}");
    assert!(text.contains("qfilexchgd: question 2 (1 more waiting)\n"), "{text}");
    // One that nobody has seen goes in silence.
    let (_, actions) = step(state, withdrawn(3), 9000);
    assert_eq!(actions, []);
}

#[test]
fn l13_typed_ahead_answers_are_dropped_with_the_question_before() {
    // All in one read, as from a paste: only the first line was begun after its question was shown.
    let (state, actions) = step(with_questions(3), typed("yes 1\nyes 2\nyes 3\nyes"), 5000);
    assert_eq!(answers(&actions), [answer(1, true)]);
    assert_eq!(open(&state), [2, 3]);
    // The end of the line whose beginning was dropped is not a line.
    let (state, actions) = step(state, typed(" 2\n"), 9000);
    assert_eq!(answers(&actions), []);
    assert!(screen(&actions).contains("begun before this question"));
    let (_, actions) = step(state, typed("yes 2\n"), 9000);
    assert_eq!(answers(&actions), [answer(2, true)]);
}

#[test]
fn l13_a_line_begun_for_one_question_does_not_answer_the_next() {
    let (state, _) = step(with_questions(2), typed("yes "), 5000);
    let (state, _) = step(state, withdrawn(1), 5100);
    let (state, actions) = step(state, typed("2\n"), 5200);
    assert_eq!(answers(&actions), []);
    // Nor a line that the terminal itself dropped half of.
    let (state, _) = step(state, Event::DrainedMidLine, 5300);
    let (_, actions) = step(state, typed("yes 2\n"), 5400);
    assert_eq!(answers(&actions), []);
}

#[test]
fn l13_the_number_of_a_settled_question_answers_nothing() {
    let (state, _) = step(with_questions(2), withdrawn(1), 5000);
    let (state, actions) = step(state, typed("yes 1\nno 1\n"), 5100);
    assert_eq!(answers(&actions), []);
    assert!(screen(&actions).contains("not the number of this question"));
    assert_eq!(open(&state), [2]);
}

#[test]
fn l14_held_enter_answers_nothing() {
    let mut state = with_questions(2);
    let mut now_ms = 0;
    // Thirty times a second, for most of the time that the question lives, and three lines in one read.
    while now_ms < 50_000 {
        now_ms += 33;
        let (next, actions) = step(state, typed("\n\n\n"), now_ms);
        assert_eq!(actions, [], "at {now_ms} ms");
        state = next;
    }
    // Released for a second, pressed once: no.
    let (state, actions) = step(state, typed("\n"), now_ms + QUIET_MS_MIN);
    assert_eq!(answers(&actions), [answer(1, false)]);
    // And the next question has its own second.
    let (_, actions) = step(state, typed("\n"), now_ms + QUIET_MS_MIN + QUIET_MS_MIN - 1);
    assert_eq!(answers(&actions), []);
}

#[test]
fn l21_the_screen_holds_printable_ascii_that_dom0_knows() {
    let mut hostile = question(7);
    hostile.rule = LogText::new("a\u{1b}[2J\u{202e}\n.policy:1");
    for kind in [QuestionKind::Transfer, QuestionKind::WaitForReceiver] {
        hostile.kind = kind;
        let ask = Event::Command(DialogCommand::Ask(hostile.clone()));
        let (state, mut actions) = step(State::default(), ask, 0);
        // What was typed is not shown again either.
        let (state, more) = step(state, typed("\u{1b}[2J\u{7}\n"), 3000);
        actions.extend(more);
        actions.extend(step(state.clone(), withdrawn(7), 3000).1);
        actions.extend(step(state.clone(), Event::InputEnded, 3000).1);
        actions.extend(step(state, Event::Tick, u64::MAX).1);
        let text = screen(&actions);
        assert!(
            text.bytes().all(|byte| byte == b'\n' || byte == b' ' || byte.is_ascii_graphic()),
            "{text:?}"
        );
        assert!(text.contains("work") && text.contains("vault7") && text.contains("64 MiB"));
    }
}

#[test]
fn a_notice_is_shown_and_neither_asks_nor_answers() {
    let notice = Notice::Decided {
        allowed: true,
        source: question(1).source,
        target: question(1).target,
        rule: LogText::new("a.policy:1"),
    };
    let (state, actions) = step(State::default(), Event::Command(DialogCommand::Tell(notice.clone())), 0);
    assert_eq!((answers(&actions), state.is_asking()), (vec![], false));
    assert!(screen(&actions).contains("was allowed without a question, by a.policy:1"));
    let (state, actions) = step(with_questions(1), Event::Command(DialogCommand::Tell(notice)), 0);
    assert_eq!((answers(&actions), state.is_asking()), (vec![], true));
    assert!(screen(&actions).ends_with("refuses: "), "the prompt is there again");
}

#[test]
fn a_notice_about_disposables_says_what_is_wrong_and_for_whom() {
    let failed = Notice::CreationFailed { source: question(1).source, reason: LaunchFailure::NoMemory };
    let (_, actions) = step(State::default(), Event::Command(DialogCommand::Tell(failed)), 0);
    assert!(screen(&actions).contains("no DisposableVM for work: not enough free memory on the host"));
    let rebuilt = Event::Command(DialogCommand::Tell(Notice::TemplateBeingRebuilt));
    let (_, actions) = step(State::default(), rebuilt, 0);
    assert!(screen(&actions).contains("the template of DisposableVMs is being rebuilt"));
}

#[test]
fn a_question_about_a_disposable_names_it_as_one() {
    let new = Question { target: Recipient::NewDisposable, ..question(1) };
    let (_, actions) = step(State::default(), Event::Command(DialogCommand::Ask(new)), 0);
    assert!(
        screen(&actions)
            .contains("work wants to send its pendrive (5 of 64 MiB used) to a new DisposableVM.")
    );
}

#[test]
fn input_that_has_ended_answers_every_question_with_no() {
    let mut state = with_questions(3);
    for id in 1..=3 {
        let (next, actions) = step(state, Event::InputEnded, 10);
        assert_eq!(answers(&actions), [answer(id, false)]);
        state = next;
    }
    assert_eq!(step(state.clone(), Event::InputEnded, 10), (state, Vec::new()));
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1_u64..6).prop_map(asked),
        2 => (1_u64..6).prop_map(withdrawn),
        4 => "(yes |no |\n|[1-6]|\n|x){0,6}".prop_map(|text| typed(&text)),
        1 => Just(Event::DrainedMidLine),
        1 => Just(Event::InputEnded),
        1 => Just(Event::Tick),
    ]
}

proptest! {
    #[test]
    fn an_answer_is_only_ever_to_the_question_that_is_shown(
        events in proptest::collection::vec((any_event(), 0_u64..20_000), 0..60),
    ) {
        let mut state = State::default();
        let mut now_ms = 0;
        for (event, pause_ms) in events {
            now_ms += pause_ms;
            let shown = open(&state).first().copied();
            let (next, actions) = step(state, event.clone(), now_ms);
            let given = answers(&actions);
            prop_assert!(given.len() <= 1);
            if let Some(Action::Send(DialogEvent::Answer { id, yes })) = given.first() {
                prop_assert_eq!(Some(id.0), shown);
                prop_assert!(!open(&next).contains(&id.0));
                if *yes {
                    let Event::Input(bytes) = &event else { panic!("yes without input") };
                    prop_assert!(bytes.contains(&b'\n'));
                }
            }
            prop_assert!(open(&next).len() <= QUESTIONS_OPEN_MAX);
            prop_assert_eq!(next.is_asking(), !open(&next).is_empty());
            state = next;
        }
    }
}
