//! Whom a person hears of before there is a request.

use super::*;
use crate::fleet::Hold;
use crate::plan::sample::at;
use crate::plan::sample::needed;
use crate::plan::sample::pool;
use crate::plan::sample::put;
use crate::plan::sample::workers;
use crate::policy::Amount;
use crate::policy::Mode;
use crate::policy::Pool;
use crate::request::Alert;

const DAY: i64 = 86_400;

/// The alert of `w-000`, which has needed a reboot for so long, in a fleet and a pool changed like this.
fn alert(secs: i64, change: impl FnOnce(&mut Fleet, &mut Pool)) -> Option<Alert> {
    let mut fleet = workers(2);
    let mut pool = pool("web", Amount::Count(1));
    at(&mut fleet, "w-000").agent.need = needed(NOW.plus(-secs));
    at(&mut fleet, "w-001").agent.need = crate::fleet::Need::NotNeeded;
    change(&mut fleet, &mut pool);
    let policy = Policy::of(crate::policy::ClusterPolicy::default(), vec![pool]);
    let plan = plan(&fleet, &policy, NOW);
    alerts(&fleet, &policy, &plan).remove(&uid("w-000"))
}

fn hold(fleet: &mut Fleet, until: Option<Moment>) {
    at(fleet, "w-000").hold = Some(Hold { reason: "why".to_owned(), until });
}

#[test]
fn a_node_that_waits_for_a_day_is_heard_of_by_what_it_waits_for() {
    assert_eq!(alert(DAY, |fleet, _| hold(fleet, None)), Some(Alert::RebootBlocked));
    assert_eq!(alert(DAY - 1, |fleet, _| hold(fleet, None)), None);
    assert_eq!(alert(DAY, |_, pool| pool.mode = Mode::Report), Some(Alert::RebootPending));
    let none_left = |_: &mut Fleet, pool: &mut Pool| pool.max_unavailable = Amount::Count(0);
    assert_eq!(alert(DAY, none_left), Some(Alert::RebootStarved));
    assert_eq!(alert(DAY, |_, _| {}), None, "it starts");
}

#[test]
fn what_ends_by_itself_is_no_alert_until_the_node_is_overdue() {
    let soon = Some(NOW.plus(3600));
    assert_eq!(alert(DAY, |fleet, _| hold(fleet, soon)), None);
    assert_eq!(alert(31 * DAY, |fleet, _| hold(fleet, soon)), Some(Alert::RebootOverdue));
    let late = Some(NOW.plus(60 * DAY));
    assert_eq!(alert(DAY, |fleet, _| hold(fleet, late)), Some(Alert::RebootBlocked));
}

#[test]
fn a_request_speaks_for_itself() {
    let asked = alert(31 * DAY, |fleet, _| {
        hold(fleet, None);
        put(fleet, "w-000", State::Blocked);
    });
    assert_eq!(asked, None);
}
