//! One table of behaviours, run against both buses.

mod behaviour;
mod dead_letters;
mod embedded_only;
mod jetstream_only;
mod server;
mod test_bus;

use std::time::Duration;

use test_bus::TestBus;

/// Makes each behaviour a test of its own for each bus.
macro_rules! on_both {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod jetstream {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::limited(super::$module::$name(super::TestBus::jetstream().await)).await;
            })*
        }
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::limited(super::$module::$name(super::TestBus::embedded())).await;
            })*
        }
    };
}

on_both![
    behaviour::a_message_arrives_whole,
    behaviour::an_acknowledged_message_never_comes_again,
    behaviour::an_unanswered_message_comes_again_when_its_lease_ends,
    behaviour::progress_keeps_the_lease,
    behaviour::a_nak_comes_again_after_its_delay_and_not_before,
    behaviour::a_terminated_message_never_comes_again,
    behaviour::the_same_id_twice_is_stored_once,
    behaviour::messages_without_an_id_are_never_duplicates,
    behaviour::two_consumers_share_and_none_gets_the_same,
    behaviour::subjects_are_kept_apart,
    behaviour::fetch_returns_at_most_max,
    behaviour::an_empty_fetch_ends_after_the_heartbeat,
    behaviour::a_waiting_fetch_wakes_at_once,
    behaviour::a_cancelled_fetch_loses_nothing,
    behaviour::fetches_cancelled_all_the_time_lose_nothing_and_burn_no_attempt,
    behaviour::the_backlog_says_what_waits_and_what_is_in_flight,
    behaviour::subjects_are_added_and_never_removed,
    behaviour::a_subject_that_nobody_added_is_an_error_to_publish_to,
    behaviour::a_malformed_message_is_refused_for_good,
    behaviour::a_message_that_is_too_large_is_refused_for_good,
    behaviour::health_follows_the_fetches,
    behaviour::everything_survives_a_restart,
    behaviour::messages_of_every_size_come_and_what_is_in_hand_stays_below_the_budget,
    behaviour::a_lane_whose_messages_stay_in_hand_holds_up_no_other,
    behaviour::order_is_kept,
    behaviour::tries_are_counted_apart_from_deliveries_and_outlive_the_process,
    behaviour::what_the_bus_does_not_keep_is_known_by_its_ids,
    dead_letters::a_dead_letter_keeps_every_byte,
    dead_letters::the_same_dead_letter_twice_is_one,
    dead_letters::a_replay_arrives_whole_under_a_new_id,
    dead_letters::a_replay_that_fails_again_counts_on,
    dead_letters::a_replay_repeated_after_a_crash_is_not_published_twice,
    dead_letters::a_dropped_letter_is_gone,
    dead_letters::whatever_lies_among_the_dead_letters_can_be_dropped_by_its_number,
    dead_letters::letters_are_listed_in_pages_and_by_filter,
    dead_letters::headers_that_steer_the_server_do_no_harm,
    dead_letters::a_message_as_large_as_may_be_is_kept_whole,
    dead_letters::a_long_message_of_the_job_is_cut,
    dead_letters::letters_with_gaps_between_them_are_all_found_once,
    dead_letters::a_masked_search_looks_at_nothing_that_is_not_shown,
];

/// A test that hangs fails.
async fn limited(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_mins(1), test).await.expect("the test ends within a minute");
}
