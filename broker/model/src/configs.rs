//! The configurations: small ones that every test run explores, and large ones for `cargo xtask model`.

use crate::config::{Budget, Config, Guest, Rule, Want};

fn guest(asks: u8, wants: &[Want]) -> Guest {
    Guest { wants: wants.to_vec(), asks }
}

/// Two VMs that send each other pendrives.
fn two(name: &'static str, asks: [u8; 2], budget: Budget) -> Config {
    let [first, second] = asks;
    Config {
        name,
        guests: vec![
            guest(first, &[Want::New, Want::Send(2), Want::Umount, Want::Nonsense]),
            guest(second, &[Want::New, Want::Send(1), Want::Umount, Want::Killme]),
        ],
        disposable: guest(0, &[]),
        copy: Rule::Ask,
        dvm: Rule::Ask,
        given_copy: Rule::Ask,
        budget,
        is_patient: true,
        replies_wait: false,
        person_refuses: true,
        depth_max: 0,
    }
}

/// A VM that sends one pendrive after the other, and a dialog that says yes to a question that is settled.
fn late(name: &'static str, asks: [u8; 2]) -> Config {
    let [first, second] = asks;
    let guests = vec![guest(first, &[Want::New, Want::Send(2)]), guest(second, &[Want::Umount])];
    Config { guests, ..two(name, [0, 0], Budget { repeats: 1, ..CALM }) }
}

/// Two VMs that send to a third.
fn three(name: &'static str, asks: [u8; 3], budget: Budget) -> Config {
    let [first, second, third] = asks;
    let guests = vec![
        guest(first, &[Want::New, Want::Send(3)]),
        guest(second, &[Want::New, Want::Send(3)]),
        guest(third, &[Want::Umount, Want::New]),
    ];
    Config { guests, ..two(name, [0, 0], budget) }
}

/// A VM that has a DisposableVM made, and another VM.
fn disposable(name: &'static str, asks: [u8; 3], budget: Budget) -> Config {
    let [first, second, made] = asks;
    let guests = vec![
        guest(first, &[Want::New, Want::SendDisposable, Want::Umount]),
        guest(second, &[Want::New, Want::Send(1), Want::Umount]),
    ];
    let wants =
        [Want::New, Want::Umount, Want::Answer(1), Want::WrongAnswer(1), Want::Answer(2), Want::Killme];
    Config { guests, disposable: guest(made, &wants), ..two(name, [0, 0], budget) }
}

/// Three VMs, all sending to each other, of which one has DisposableVMs made.
fn all_three(name: &'static str, asks: [u8; 4], budget: Budget) -> Config {
    let [first, second, third, made] = asks;
    let guests = vec![
        guest(first, &[Want::New, Want::SendDisposable, Want::Send(3), Want::Umount]),
        guest(second, &[Want::New, Want::Send(1), Want::Umount]),
        guest(third, &[Want::New, Want::Send(2), Want::Umount]),
    ];
    Config { guests, ..disposable(name, [0, 0, made], budget) }
}

const CALM: Budget =
    Budget { deaths: 0, crashes: 0, broker_crashes: 0, failures: 0, repeats: 0, controls: 0, delays: 0 };

/// Those that every test run explores.
#[must_use]
pub fn small() -> Vec<Config> {
    vec![
        two("two-crash", [2, 2], Budget { crashes: 1, ..CALM }),
        two("two-broker", [2, 2], Budget { broker_crashes: 1, ..CALM }),
        two("two-control", [2, 1], Budget { controls: 1, repeats: 1, ..CALM }),
        two("two-deaths", [2, 2], Budget { deaths: 1, failures: 1, ..CALM }),
        late("two-late", [3, 1]),
        Config { person_refuses: false, ..late("two-late-yes", [4, 1]) },
        three("three-calm", [2, 2, 1], Budget { delays: 1, ..CALM }),
        disposable("disposable-calm", [3, 0, 3], CALM),
        disposable("disposable-deaths", [2, 0, 2], Budget { deaths: 1, delays: 1, ..CALM }),
        disposable("disposable-broker", [2, 0, 2], Budget { broker_crashes: 1, ..CALM }),
        disposable("disposable-crash", [2, 0, 2], Budget { crashes: 1, ..CALM }),
    ]
}

/// Those for `cargo xtask model`, which takes its time.
#[must_use]
pub fn large() -> Vec<Config> {
    let mixed =
        Budget { deaths: 1, crashes: 1, broker_crashes: 1, failures: 1, repeats: 1, controls: 1, delays: 1 };
    vec![
        two("two-crash-deep", [3, 2], Budget { crashes: 1, delays: 1, ..CALM }),
        two("two-crashes", [2, 2], Budget { crashes: 2, ..CALM }),
        two("two-broker-deep", [3, 2], Budget { broker_crashes: 1, ..CALM }),
        two("two-brokers", [2, 1], Budget { broker_crashes: 2, ..CALM }),
        two("two-control-deep", [2, 2], Budget { controls: 1, repeats: 1, ..CALM }),
        two("two-deaths-deep", [3, 2], Budget { deaths: 1, failures: 1, ..CALM }),
        Config { is_patient: false, ..two("two-impatient", [3, 1], Budget { crashes: 1, ..CALM }) },
        Config {
            is_patient: false,
            ..two("two-impatient-broker", [2, 1], Budget { broker_crashes: 1, ..CALM })
        },
        Config { replies_wait: true, ..two("two-slow-replies", [2, 1], Budget { crashes: 1, ..CALM }) },
        Config { replies_wait: true, ..two("two-slow-broker", [2, 1], Budget { broker_crashes: 1, ..CALM }) },
        three("three-crash", [2, 2, 1], Budget { crashes: 1, ..CALM }),
        three("three-broker", [2, 2, 1], Budget { broker_crashes: 1, ..CALM }),
        three("three-deaths", [2, 2, 1], Budget { deaths: 1, ..CALM }),
        disposable("disposable-and-another", [2, 2, 2], Budget { delays: 1, ..CALM }),
        disposable("disposable-broker-deep", [2, 0, 3], Budget { broker_crashes: 1, ..CALM }),
        disposable("disposable-crash-deep", [2, 0, 3], Budget { crashes: 1, ..CALM }),
        disposable("disposable-deaths-deep", [2, 0, 3], Budget { deaths: 1, failures: 1, delays: 1, ..CALM }),
        disposable("disposable-control", [2, 0, 2], Budget { controls: 1, repeats: 1, ..CALM }),
        Config { depth_max: 7, ..all_three("all-mixed", [3, 2, 1, 3], mixed) },
        all_three("all-crash", [2, 1, 0, 2], Budget { crashes: 1, ..CALM }),
        all_three("all-broker", [2, 1, 0, 2], Budget { broker_crashes: 1, ..CALM }),
    ]
}
