//! What must hold on a real Xen host. Each file is one idea; each function gets a lab with the guests g1 and g2 and no
//! daemon, and panics when something does not hold.

mod attach;
mod copy;
mod crash;
pub mod disposable;
mod hostile;
mod kernel;
mod many;
mod mounts;
mod vanish;

use crate::host::Lab;

/// One scenario.
pub struct Scenario {
    /// A sentence.
    pub name: &'static str,
    /// In whose lab it runs: that with `xenstored`, or with `oxenstored`.
    pub xenstored: &'static str,
    /// The words on the command line of dom0's Linux that it needs.
    pub linux: &'static str,
    /// What happens.
    pub run: fn(&mut Lab),
}

/// A scenario that runs with C xenstored, as most.
const fn plain(name: &'static str, run: fn(&mut Lab)) -> Scenario {
    Scenario { name, xenstored: "xenstored", linux: "", run }
}

/// One that runs with the other xenstored.
const fn ocaml(name: &'static str, run: fn(&mut Lab)) -> Scenario {
    Scenario { name, xenstored: "oxenstored", linux: "", run }
}

/// One whose dom0 has a kernel without Landlock.
const fn without_landlock(name: &'static str, run: fn(&mut Lab)) -> Scenario {
    Scenario { name, xenstored: "xenstored", linux: kernel::WITHOUT_LANDLOCK, run }
}

/// The labs in which they run: the xenstored and the words for Linux of each.
pub const LABS: [(&str, &str); 3] =
    [("xenstored", ""), ("oxenstored", ""), ("xenstored", kernel::WITHOUT_LANDLOCK)];

/// All of them, in the order in which they run. Those that destroy guests come last: the next one has to wait for new
/// guests.
pub const ALL: &[Scenario] = &[
    plain("a_tree_arrives_whole_and_nothing_is_left", copy::a_tree_arrives_whole),
    plain("both_kernels_mount_as_they_did_in_2010", mounts::both_kernels_mount),
    plain("guests_without_our_tools_can_send_and_receive", mounts::guests_without_our_tools),
    plain(
        "l17_l20_the_receiver_reads_only_and_nobody_scans",
        attach::l17_l20_the_receiver_reads_only_and_nobody_scans,
    ),
    plain("two_transfers_in_opposite_directions", many::two_in_opposite_directions),
    plain("a_queue_of_ten", many::a_queue_of_ten),
    plain("a_daemon_killed_while_it_waits_comes_back", crash::killed_while_it_waits),
    plain("a_daemon_killed_while_it_works_leaks_nothing", crash::killed_while_it_works),
    plain("a_mounted_device_is_taken_all_the_same", vanish::a_mounted_device_is_taken_all_the_same),
    plain("a_paused_receiver_gets_nothing", vanish::a_paused_receiver_gets_nothing),
    plain("no_process_reaches_the_hypervisor", attach::no_process_reaches_the_hypervisor),
    plain("an_unplugged_front_end_is_no_harm", vanish::an_unplugged_front_end_is_no_harm),
    plain("the_key_comes_back_and_cannot_be_given_away", hostile::the_key_comes_back),
    plain("l18_noise_delays_nobody_else", hostile::l18_noise_delays_nobody_else),
    plain("a_paused_sender_loses_its_device", vanish::a_paused_sender_loses_its_device),
    plain("a_document_is_edited_in_a_vm_that_xl_creates", disposable::edited_in_one_that_is_created),
    plain("a_document_is_edited_in_a_vm_that_xl_restores", disposable::edited_in_one_that_is_restored),
    plain(
        "a_disposable_vm_that_outlives_the_daemon_is_destroyed",
        disposable::one_that_outlives_the_daemon_is_destroyed,
    ),
    plain("a_disposable_vm_goes_with_its_owner", disposable::its_owner_is_destroyed),
    plain("l4_destroyed_guests_leave_nothing", vanish::guests_are_destroyed),
    plain("what_an_earlier_run_left_is_cleared_away", attach::what_an_earlier_run_left_is_cleared_away),
    ocaml("oxenstored_a_tree_arrives_whole", copy::a_tree_arrives_whole),
    ocaml("oxenstored_the_key_comes_back", hostile::the_key_comes_back),
    without_landlock("without_landlock_the_start_is_refused_with_the_reason", kernel::landlock_is_required),
];
