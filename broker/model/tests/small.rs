//! The small configurations, each explored to its end. `cargo xtask model` explores the large ones.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use broker_model::config::{Config, Rule};
use broker_model::{configs, run};

fn small(name: &str) -> Config {
    configs::small().into_iter().find(|config| config.name == name).unwrap()
}

fn holds(name: &str) {
    let report = run::explore(small(name));
    println!("{report}");
    assert!(report.is_well(), "{report}");
}

#[test]
fn two_vms_keep_every_property_when_any_worker_ends_at_any_moment() {
    holds("two-crash");
}

#[test]
fn two_vms_keep_every_property_when_the_broker_ends_at_any_moment() {
    holds("two-broker");
}

#[test]
fn two_vms_keep_every_property_when_messages_repeat_and_somebody_uses_qfilexchgctl() {
    holds("two-control");
}

#[test]
fn two_vms_keep_every_property_when_one_dies_and_an_order_fails() {
    holds("two-deaths");
}

#[test]
fn two_vms_keep_every_property_when_a_dialog_answers_what_is_settled() {
    holds("two-late");
}

#[test]
fn a_yes_counts_once_when_a_dialog_says_it_again() {
    holds("two-late-yes");
}

#[test]
fn two_vms_that_send_to_a_third_keep_every_property() {
    holds("three-calm");
}

#[test]
fn a_document_that_is_opened_in_a_disposable_keeps_every_property() {
    holds("disposable-calm");
}

#[test]
fn a_disposable_keeps_every_property_when_a_vm_dies_and_workers_are_slow() {
    holds("disposable-deaths");
}

#[test]
fn a_disposable_keeps_every_property_when_the_broker_ends_at_any_moment() {
    holds("disposable-broker");
}

#[test]
fn a_disposable_keeps_every_property_when_any_worker_ends_at_any_moment() {
    holds("disposable-crash");
}

#[test]
fn every_small_configuration_is_explored_here() {
    let source = include_str!("small.rs");
    for config in configs::small() {
        assert!(source.contains(&format!("holds(\"{}\")", config.name)), "{}", config.name);
    }
}

#[test]
fn a_broker_that_permits_what_nobody_permitted_is_found_out() {
    let report = run::explore(Config { given_copy: Rule::Allow, ..small("three-calm") });
    let violated = report.findings.iter().filter(|finding| !finding.is_well() && finding.path.is_some());
    let names: Vec<&str> = violated.map(|finding| finding.name).collect();
    assert_eq!(names, ["no transfer without a yes or the policy"], "{report}");
}
