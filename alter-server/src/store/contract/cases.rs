//! Every case of the contract by its name.

/// Makes one test per case of the contract. `$open` is an async function without arguments that answers a [`World`]; an
/// attribute for each of the tests may follow.
macro_rules! store_contract {
    ($open:path) => {
        $crate::store::contract::store_contract!($open, #[cfg(test)]);
    };
    ($open:path, #[$attribute:meta]) => {
        $crate::store::contract::store_contract!(@cases #[$attribute] $open;
            a_key_is_found_by_its_digest
            every_key_state_has_its_code
            a_paused_agent_may_still_report
            a_suspended_app_is_refused
            a_nonce_counts_once
            a_missing_scope_is_named
            a_stale_configuration_writes_nothing
            an_asserted_agent_must_exist
            an_agent_key_cannot_call_itself_another_agent
            a_refusal_before_admission_has_a_row
            a_user_gets_their_own_token_and_nobody_elses
            a_token_comes_with_its_facts
            several_accounts_are_ambiguous_until_one_is_named
            a_grant_id_is_checked_against_the_user
            an_agent_reaches_only_its_own_grants
            an_app_key_without_a_user_reaches_the_system_grant
            app_user_id_names_a_user_and_nothing_wider
            groups_of_the_token_count
            a_foreign_host_is_blocked
            an_expired_token_is_never_released
            an_expired_grant_says_so
            a_revoked_grant_is_refused_at_once_and_its_tokens_are_gone
            a_removed_provider_binding_takes_effect_at_once
            a_managed_secret_is_shared_and_rotates
            apps_are_isolated
            refusals_are_in_the_trail
            importing_again_replaces_the_credential
            a_label_is_unique_among_active_siblings
            bad_imports_are_refused_with_a_reason
            lists_are_filtered_and_paged
            a_user_revokes_only_their_own
            an_operator_revokes_and_again_is_no_error
            names_are_unique_and_missing_things_are_not_found
            large_and_unusual_texts_are_kept
            a_provider_in_use_stays
            resealing_moves_everything_to_the_new_key
            every_operator_action_has_a_row
            reports_keep_sealed_bodies
            concurrent_releases_keep_one_chain
            closing_finishes_what_was_taken
            audit_pages_do_not_overlap
            a_token_is_served_until_its_end_and_then_replaced_first
            what_is_not_fresh_leaves_no_trace
            new_tokens_replace_the_old_ones
            one_at_a_time_refreshes_a_grant
            a_lease_that_ran_out_is_taken_over
            asking_again_under_the_same_name_is_no_crash
            what_takes_the_grant_away_overtakes_a_refresh
            what_cannot_be_refreshed_says_why
            dead_is_latched_until_the_user_connects_again
            a_failure_of_the_client_pauses_all_of_its_grants
            a_failure_of_one_grant_pauses_only_that
            connecting_again_starts_without_failures
            a_note_that_is_unresolved_stays
            a_reported_refusal_counts_for_its_generation_and_not_too_often
            good_calls_are_noted_to_the_minute
            tokens_that_could_not_be_kept_are_served_as_the_grants
            whoever_waits_is_told
            grants_that_idle_are_found_oldest_first
            refreshes_and_releases_beside_each_other_stay_whole
            chains_are_signed_when_they_moved_and_when_they_close
            what_was_signed_cannot_be_forged
            what_was_anchored_cannot_vanish
            a_planted_key_signs_nothing_that_counts
            old_rows_are_exported_signed_and_removed
            an_interrupted_prune_is_finished_by_the_next
            a_row_with_an_odd_time_keeps_those_after_it
            a_broken_chain_is_left_alone
            a_chain_that_was_cut_meanwhile_is_not_cut_again
            a_changed_export_is_found
            the_model_says_what_the_store_does
            a_model_of_another_store_is_told_apart
        );
    };
    (@cases #[$attribute:meta] $open:path; $($case:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[$attribute]
        async fn $case() {
            let world = $open().await;
            $crate::store::contract::$case(&world).await;
            world.assert_chains_verify().await;
        }
    )+};
}
pub(crate) use store_contract;

/// The part of [`store_contract!`] that is about sessions, connections, users, the wallet and the outbox.
macro_rules! connect_contract {
    ($open:path) => {
        $crate::store::contract::connect_contract!($open, #[cfg(test)]);
    };
    ($open:path, #[$attribute:meta]) => {
        $crate::store::contract::store_contract!(@cases #[$attribute] $open;
            a_session_is_kept_as_it_was_asked_for
            a_session_names_only_what_the_app_has
            a_session_is_polled_with_its_token_only
            of_two_advances_from_one_version_one_counts
            a_state_is_used_once
            an_ended_session_never_changes
            a_session_past_its_time_can_only_end
            a_sign_in_ends_with_a_sealed_token
            sessions_are_swept_when_their_time_is_long_over
            a_connection_makes_a_grant_that_works
            the_same_account_updates_and_another_adds
            among_the_apps_own_grants_only_the_accounts_id_decides
            imported_tokens_are_recognised_by_the_accounts_name
            a_session_tells_each_grant_once
            a_refresh_token_that_is_not_renewed_stays
            a_repair_keeps_the_grant_and_its_id
            a_repair_with_another_account_is_refused
            a_label_that_is_taken_is_refused
            a_connection_under_old_settings_is_made_anew
            what_no_request_can_carry_makes_no_grant
            a_principals_grants_are_its_own
            suspending_a_user_ends_everything_at_once
            a_suspended_users_token_is_refused_everywhere
            an_active_user_begins_anew_and_a_deleted_one_never
            a_message_about_users_counts_once
            sources_keep_their_secret_sealed
            a_wallet_session_ends_by_time_disuse_and_sign_out
            one_person_is_found_in_every_app
            a_user_revokes_in_the_wallet_what_is_theirs
            what_happens_in_a_browser_has_a_row
            pages_and_sign_in_are_part_of_the_configuration
            revoking_takes_the_tokens_to_the_provider
            a_provider_that_cannot_be_told_gets_no_job
            children_fall_with_their_parent
            a_job_has_one_taker_at_a_time
            a_pause_is_kept
            takers_beside_each_other_share_the_work
            a_receipt_is_kept_and_told
            what_is_given_up_waits_for_an_operator
            every_change_is_told_to_whoever_wants_it
            an_endpoint_that_is_removed_is_told_nothing_more
            a_purged_grant_is_gone_but_for_its_id
            fresh_tokens_of_an_ended_grant_go_to_the_provider_too
            tokens_in_the_outbox_open_only_where_they_came_from
            the_trail_of_some_grants_is_paged_in_order
            resealing_reaches_what_connecting_keeps
            that_a_person_must_connect_again_is_told
        );
    };
}
pub(crate) use connect_contract;
