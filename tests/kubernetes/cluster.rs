//! The scenarios and the whole flow on the cluster that KUBECONFIG names, each in a namespace of its own that is
//! removed at the end.
//!
//! `tests/cluster` runs the tests in `real`. The cluster only needs an API server: the test plays Job controller and
//! kubelet, and `managedBy` in its Jobs keeps the built-in controller away.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod account;
mod adoption;
#[expect(dead_code, reason = "a stand-in and a broken network are for another test")]
mod bench;
mod definitions;
mod flow;
mod from_cluster;
mod scenario;
mod stuck;
#[path = "../end_to_end/system.rs"]
#[expect(dead_code, reason = "made for other tests")]
mod system;

mod real {
    use tests::kubernetes::Ended;

    use crate::bench::{Bench, WELL};
    use crate::definitions::{self, Definitions};
    use crate::{account, adoption, flow, from_cluster, scenario, stuck};

    #[test]
    fn a_job_is_created_once_and_followed_to_its_end() {
        scenario::completes(&Bench::real());
    }

    #[test]
    fn a_job_is_stamped_with_hashes_and_true_values() {
        scenario::is_stamped(&Bench::real());
    }

    #[test]
    fn a_job_that_fails_for_good_is_a_dead_letter_with_the_workers_words() {
        scenario::fails_for_good(&Bench::real());
    }

    #[test]
    fn a_job_past_its_deadline_says_what_its_pods_waited_for() {
        scenario::fails_by_its_deadline(&Bench::real());
    }

    #[test]
    fn a_delete_event_ends_a_running_job_for_good_whichever_dispatcher_follows_it() {
        adoption::deleted_while_it_runs(&Bench::real());
    }

    #[test]
    fn a_job_that_is_not_rendered_any_more_goes_when_its_end_has_been_read() {
        adoption::not_rendered_any_more(&Bench::real());
    }

    #[test]
    fn a_job_that_was_taken_back_and_left_is_not_awaited() {
        adoption::taken_back_and_left(&Bench::real());
    }

    #[test]
    fn a_job_that_asks_for_another_run_is_replaced_and_run_again() {
        scenario::fails_and_is_run_again(&Bench::real());
    }

    #[test]
    fn a_job_of_a_killed_dispatcher_is_adopted() {
        scenario::is_adopted_after_a_crash(&Bench::real());
    }

    #[test]
    fn an_ended_job_of_another_event_is_replaced() {
        adoption::ended_of_another_event(&Bench::real());
    }

    #[test]
    fn a_running_job_of_another_event_is_waited_for() {
        adoption::running_of_another_event(&Bench::real());
    }

    #[test]
    fn a_job_that_no_dispatcher_made_is_left_alone() {
        adoption::of_somebody_else(&Bench::real());
    }

    #[test]
    fn with_one_time_a_later_event_finds_the_work_done() {
        adoption::once_is_enough(&Bench::real());
    }

    #[test]
    fn a_job_that_ended_and_was_removed_unseen_is_run_again() {
        adoption::gone_unseen(&Bench::real(), &Ended::well(WELL));
    }

    #[test]
    fn a_job_that_failed_and_was_removed_unseen_is_run_again() {
        adoption::gone_unseen(&Bench::real(), &Ended::badly(65, "bad tier", "PodFailurePolicy"));
    }

    #[test]
    fn a_job_that_goes_after_its_event_was_acknowledged_is_never_brought_back() {
        adoption::gone_after_its_end(&Bench::real());
    }

    #[test]
    fn a_job_that_failed_unseen_is_a_dead_letter() {
        adoption::failed_unseen(&Bench::real());
    }

    #[test]
    fn a_job_removed_while_it_runs_is_run_again() {
        adoption::removed_while_it_runs(&Bench::real());
    }

    #[test]
    fn a_delete_event_removes_the_job() {
        adoption::deleted_by_an_event(&Bench::real());
    }

    #[test]
    fn an_image_that_cannot_be_pulled_ends_the_event_in_kubernetes_words() {
        stuck::image_that_cannot_be_pulled(&Bench::real());
    }

    #[test]
    fn a_missing_secret_ends_the_event_in_kubernetes_words() {
        stuck::missing_secret(&Bench::real());
    }

    #[test]
    fn a_pod_that_fits_no_node_ends_the_event_in_kubernetes_words() {
        stuck::fits_no_node(&Bench::real());
    }

    #[test]
    fn a_missing_service_account_ends_the_event_in_the_words_of_the_jobs_events() {
        stuck::missing_service_account(&Bench::real());
    }

    #[test]
    fn a_spent_quota_ends_the_event_in_the_words_of_the_jobs_events() {
        stuck::spent_quota(&Bench::real());
    }

    #[test]
    fn a_job_that_runs_longer_than_the_limit_is_left_alone() {
        stuck::job_that_runs_on(&Bench::real());
    }

    #[test]
    fn a_slow_pull_after_a_wait_for_a_node_is_left_alone() {
        stuck::slow_pull_after_a_wait_for_a_node(&Bench::real());
    }

    #[test]
    fn a_stuck_job_of_an_event_that_is_gone_makes_room_for_the_next_one() {
        stuck::stuck_job_of_an_event_that_is_gone(&Bench::real());
    }

    #[test]
    fn a_dry_run_asks_the_server_and_keeps_nothing() {
        scenario::is_explained(&Bench::real());
    }

    #[test]
    fn the_shipped_role_and_the_token_of_its_account_are_all_that_is_needed() {
        account::serves(&Bench::real());
    }

    #[test]
    fn the_events_are_applied_and_listed_and_objects_of_the_cluster_are_followed() {
        let Some(_there) = Definitions::apply() else {
            eprintln!("NOT TESTED: EventSources as objects, because others have brought their definitions");
            return;
        };
        definitions::take_the_shipped_events();
        from_cluster::is_followed(&Bench::real());
        definitions::clear();
        from_cluster::triggers_that_are_not_for_us(&Bench::real());
        definitions::clear();
        from_cluster::only_trigger_left_out(&Bench::real());
    }

    #[test]
    fn a_registration_becomes_a_customer_on_board() {
        flow::runs(&Bench::real());
    }
}
