//! The scenarios and the whole flow on the cluster that KUBECONFIG names, each in a namespace of its own that goes at the end.
//!
//! `tests/cluster` runs what is in `real`. Nothing has to run on the cluster but an API server: the test plays Job controller and
//! kubelet, and its Jobs say by `managedBy` that the built-in controller is to leave them alone.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod adoption;
#[expect(dead_code, reason = "a stand-in and a broken network are for another test")]
mod bench;
mod flow;
mod scenario;
mod stuck;
#[path = "../end_to_end/system.rs"]
#[expect(dead_code, reason = "made for other tests")]
mod system;

mod real {
    use crate::bench::Bench;
    use crate::{adoption, flow, scenario, stuck};

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
    fn a_delete_event_ends_a_running_job_for_good() {
        adoption::deleted_while_it_runs(&Bench::real());
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
        adoption::gone_unseen(&Bench::real());
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
    fn a_dry_run_asks_the_server_and_keeps_nothing() {
        scenario::is_explained(&Bench::real());
    }

    #[test]
    fn a_registration_becomes_a_customer_on_board() {
        flow::runs(&Bench::real());
    }
}
