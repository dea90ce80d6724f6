use serde_json::json;

use super::*;

fn compare(words: Value) -> Compare {
    let map = words.as_object().unwrap().clone();
    let body = Body::new(&map);
    let compare = Compare::required(&body).unwrap();
    body.finish().unwrap();
    compare
}

#[test]
fn comparators_mean_at_least_as_strict_whatever_form_the_fact_has() {
    use Answer::Fails;
    use Answer::Holds;
    let number = Answer::Mistyped("a number or duration");
    for (words, value, answer) in [
        (json!({"equals": 1}), json!("1"), Holds),
        (json!({"equals": 1}), json!(1), Holds),
        (json!({"equals": 1}), json!("10"), Fails),
        (json!({"equals": false}), json!(false), Holds),
        (json!({"equals": false}), json!("false"), Holds),
        (json!({"equals": "off"}), json!("on"), Fails),
        (json!({"not_equals": "AlwaysAllow"}), json!("Webhook"), Holds),
        (json!({"at_least": 2}), json!("4"), Holds),
        (json!({"at_least": 2}), json!("1"), Fails),
        (json!({"at_least": 2}), json!("lots"), number),
        (json!({"at_least": 1, "at_most": 3}), json!(4), Fails),
        (json!({"at_least": "1s"}), json!("4h0m0s"), Holds),
        (json!({"at_least": "1s"}), json!("0s"), Fails),
        (json!({"at_least": "1s"}), json!(0), Fails),
        (json!({"at_least": "1s"}), json!(14400), number),
        (json!({"one_of": [1, 2]}), json!("2"), Holds),
        (json!({"none_of": ["a"]}), json!(["a"]), Answer::Mistyped("one value")),
        (json!({"contains": ["Node", "RBAC"]}), json!("Node,RBAC"), Holds),
        (json!({"contains": "Node"}), json!("NodeX,RBAC"), Fails),
        (json!({"excludes": [4, 7]}), json!([1, 7]), Fails),
        (json!({"excludes": [4, 7]}), json!([12, 13]), Holds),
        (json!({"excludes": ["x"]}), json!({"x": 1}), Fails),
        (json!({"subset_of": ["a", "b"]}), json!(["b"]), Holds),
        (json!({"subset_of": ["a", "b"]}), json!(["b", "c"]), Fails),
        (
            json!({"subset_of": ["a"]}),
            json!([["a"]]),
            Answer::Mistyped("a list of texts or numbers"),
        ),
        (json!({"has_bits": 4}), json!("6"), Holds),
        (json!({"lacks_bits": "0x10"}), json!(16), Fails),
        (json!({"lacks_bits": "0x10"}), json!("176 "), Fails),
        (json!({"matches": ["/usr/*", "/opt/*"]}), json!("/opt/x"), Holds),
        (json!({"version_at_least": "1.30"}), json!("v1.36.3"), Holds),
        (json!({"version_at_least": "6.1.0"}), json!("6.1.0-50-amd64"), Holds),
        (json!({"version_at_least": "6.10"}), json!("6.9.12"), Fails),
        (json!({"is": "present"}), json!([]), Holds),
        (json!({"is": "present"}), json!(""), Fails),
        (json!({"is": "empty"}), json!([]), Holds),
        (json!({"is": "not-empty"}), json!({}), Fails),
        (json!({"is": "absent"}), json!("x"), Fails),
    ] {
        assert_eq!(compare(words.clone()).answer(&value), answer, "{words} {value}");
    }
}

#[test]
fn absence_means_what_the_author_says_or_the_comparator_implies() {
    for (words, absent, met) in [
        (json!({"equals": 1}), AbsentIs::NotApplicable, false),
        (json!({"not_equals": 1}), AbsentIs::NotApplicable, true),
        (json!({"equals": 1, "absent_is": "pass"}), AbsentIs::Pass, true),
        (json!({"not_equals": 1, "absent_is": "fail"}), AbsentIs::Fail, false),
        (json!({"is": "present"}), AbsentIs::Fail, false),
        (json!({"is": "absent"}), AbsentIs::Pass, true),
    ] {
        let compare = compare(words.clone());
        assert_eq!((compare.absent(), compare.met_by_absence()), (absent, met), "{words}");
    }
}

#[test]
fn what_is_expected_is_said_in_words() {
    for (words, said) in [
        (json!({"equals": 1}), "1"),
        (json!({"at_least": 1, "at_most": 60}), "at least 1 and at most 60"),
        (json!({"at_least": "4h"}), "at least 4h"),
        (json!({"one_of": [1, 2], "absent_is": "pass"}), "one of 1, 2, or not set"),
        (json!({"lacks_bits": 176}), "lacks bits 0xb0"),
    ] {
        assert_eq!(compare(words).expected(), said);
    }
}

#[test]
fn comparators_with_impossible_values_are_refused() {
    for words in [
        json!({}),
        json!({"at_least": "soon"}),
        json!({"at_least": 1.5}),
        json!({"equals": [1, 2]}),
        json!({"one_of": []}),
        json!({"is": "there"}),
        json!({"has_bits": -1}),
        json!({"absent_is": "pass"}),
    ] {
        let map = words.as_object().unwrap().clone();
        assert!(Compare::required(&Body::new(&map)).is_err(), "{words}");
    }
}

#[test]
fn values_are_shown_bounded_and_clean() {
    assert_eq!(show(&json!(["a", 1])), "a, 1");
    assert_eq!(show(&json!([])), "empty");
    assert_eq!(show(&json!("a\u{1b}")), "a\\u{1b}");
    assert!(show(&json!(vec!["x".repeat(200); 50])).len() <= MAX_TEXT);
}
