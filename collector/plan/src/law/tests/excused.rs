//! What no collector can know is held against none; what is like it and could be known is.

use super::*;

#[test]
fn law_5_excuses_a_grant_that_a_person_took_away_and_no_other() {
    let boots_again = |by| {
        let mut log = Log::new();
        log.granted(0);
        log.say(by, What::Removed(log.uid(0)));
        let other = GrantRecord { id: GrantId::from_bytes([8; 16]), ..log.grant(0) };
        log.write_with(0, State::Granted, |request| request.progress.grant = Some(other.clone()));
        log.laws.broken.clear();
        for (to, id) in [(2, log.grant(0).id), (3, other.id)] {
            let (node, grant) = (log.uid(0), Some(id));
            log.say(Author::Node, What::Booted { node, from: boot(1), to: boot(to), grant });
        }
        log
    };
    boots_again(Author::Person).fine();
    boots_again(Author::Cluster).broke(5);
}

/// A clock that was an hour behind when it saw a failure, and is set now, is that much too early.
#[test]
fn law_21_excuses_a_start_when_the_failure_is_old_by_the_clocks_of_those_who_lead() {
    let starts = |behind_secs: i64| {
        let mut log = Log::with(|pool| pool.max_unavailable = Amount::Count(9));
        let stamp = log.now.plus(-behind_secs);
        log.write_with(0, State::Quarantined, |request| {
            request.progress.since = stamp;
            request.progress.alerts.insert(Alert::NodeQuarantined);
        });
        log.now = log.now.plus(86_400 - 60);
        log.write(1, State::Claimed);
        log.laws.broken.clear();
        log.write(1, State::Cordoning);
        log
    };
    starts(0).broke(21);
    starts(3_600).fine();
}
