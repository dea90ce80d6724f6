//! What is not taken, and that nobody is shown a secret.

use super::*;

#[test]
fn what_is_wrong_is_told() {
    for (url, words) in [
        ("", "the address is empty"),
        ("\"\"", "the address is empty"),
        ("hooks.slack.com/services/S3CR3T", "the address does not start with a scheme"),
        ("S3CR3T S3CR3T://x", "more than one address"),
        ("slack://hook:S3CR3T-b-c@webhook slack://hook:a-b-c@webhook", "more than one address"),
        ("pager://S3CR3T", "the scheme pager is not known"),
        (
            "https://hooks.slack.com/services/S3CR3T",
            "https is not supported: an address of a webhook",
        ),
        ("matrix://u:S3CR3T@h/?rooms=!a", "matrix is not supported: it takes a login"),
        ("slack://hook:S3CR3T@webhook", "slack: the token is not hook:A-B-C"),
        ("slack://hook:S3CR3T-b-c!@webhook", "slack: the token is not hook:A-B-C"),
        ("slack://S3CR3T/b", "slack: the token is not hook:A-B-C"),
        ("slack://webhook", "slack: the token is missing"),
        (
            "teams://S3CR3T@tenant/alt/group?host=x.webhook.office.com",
            "teams is not supported: connectors",
        ),
        ("teams://?host=http%3A%2F%2FS3CR3T", "teams: host= is no https address"),
        (
            "teams://?host=https://a.example/?a=1&sig=S3CR3T",
            "teams: the address of the workflow in host=",
        ),
        ("teams://?title=S3CR3T", "teams: host=, the workflow's address, is missing"),
        ("pagerduty:///S3CR3T", "pagerduty: the integration key is not 32 hexadecimal digits"),
        ("pagerduty://S3CR3T", "pagerduty: the integration key is missing"),
        ("discord://S3CR3T@abc", "discord: expected TOKEN@ID"),
        ("discord://S3CR3T@123/raw", "discord is not supported: the body is ours"),
        ("telegram://S3CR3T@telegram?chats=1", "telegram: the token is not NUMBER:LETTERS"),
        ("telegram://1:S3CR3T@telegram", "telegram: chats= is missing"),
        ("mattermost://S3CR3T", "mattermost: the token is missing"),
        ("mattermost://h/S3CR3T?disabletls=perhaps", "mattermost: a parameter that is yes or no"),
        ("rocketchat://h/S3CR3T", "rocketchat: the token, which has two parts, is missing"),
        ("googlechat://h/v1?key=S3CR3T", "googlechat: token= is missing"),
        ("gotify://h/S3CR3T?priority=99", "gotify: priority= is not a number"),
        (
            "pushover://x:S3CR3T@u?encryptionkey=S3CR3T",
            "pushover is not supported: messages encrypted",
        ),
        ("zulip://b:S3CR3T@h", "zulip: stream=, or type=direct and to=, is missing"),
        ("opsgenie://h/S3CR3T%20", "opsgenie: the API key has other characters"),
        ("smtp://u:S3CR3T@h/?from=a@b", "smtp: toaddresses= is missing"),
        ("smtp://u:S3CR3T@h/?from=a@b&to=c%0d%0aS3CR3T@d", "smtp: a part has a control character"),
        (
            "smtp://u:S3CR3T@h/?from=a@b&to=<S3CR3T@d>",
            "smtp: an address of a mail is not NAME@DOMAIN",
        ),
        ("smtp://u:S3CR3T@h/?from=a@b&to=c@d&auth=OAuth2", "smtp is not supported: auth=OAuth2"),
        ("smtp://u:S3CR3T@h:99999/?from=a@b&to=c@d", "smtp: the port is no number from 1 to 65535"),
        ("ntfy://u:S3CR3T%0d%0aX@h/t", "ntfy: a part has a control character"),
        ("gotify://h/S3CR3T%0a", "gotify: a part has a control character"),
        ("slack://S3CR3T%00@a/b/c", "slack: a part has a control character"),
        ("generic://", "generic: the host is missing"),
        ("generic://h S3CR3T/p", "generic: the host is not a name or an address"),
        ("generic://[S3CR3T]/p", "generic: the host is not a name or an address"),
        ("generic://h/p?method=GET&a=S3CR3T", "generic is not supported: a method other than"),
        ("generic://h/p?template=S3CR3T", "generic is not supported: a template other than json"),
        ("generic://h/p?@X=S3CR3T%0d%0aEvil:1", "generic: a parameter has a control character"),
        ("generic://h/p?@X%20Y=S3CR3T", "generic: a header has no valid name"),
        ("generic://h/p?@Content-Length=S3CR3T", "generic: a header is one that the sender sets"),
        ("generic://h/p?@host=S3CR3T", "generic: a header is one that the sender sets"),
        ("generic://h/p?a=%ffS3CR3T", "generic: a part is percent-encoded and no UTF-8"),
    ] {
        let error = parse(url).expect_err(url);
        assert!(error.to_string().starts_with(words), "{url}: {error}");
        assert!(!format!("{error} {error:?} {error:#?}").contains("S3CR3T"), "{url}: {error:?}");
    }
    let long = format!("generic://h/{}", "x".repeat(MAX_ADDRESS));
    assert_eq!(parse(&long), Err(ShoutrrrError::TooLong));
}

#[test]
fn what_is_taken_keeps_its_secrets() {
    for url in [
        "slack://hook:S3CR3T-S3CR3T-S3CR3T@webhook",
        "slack://xoxb:S3CR3T-S3CR3T@C001",
        "slack://S3CR3T/S3CR3T/S3CR3T",
        "teams://?host=https%3A%2F%2Fh%2FS3CR3T%3Fsig%3DS3CR3T",
        "pagerduty:///ab243592faa24ba2a5511afdf565c889",
        "discord://S3CR3T@123?thread_id=S3CR3T",
        "telegram://1:S3CR3T@telegram?chats=1",
        "mattermost://h/S3CR3T",
        "rocketchat://h/S3CR3T/S3CR3T/ops",
        "googlechat://h/v1/S3CR3T?key=S3CR3T&token=S3CR3T",
        "gotify://h/S3CR3T",
        "ntfy://u:S3CR3T@h/S3CR3T",
        "pushover://x:S3CR3T@S3CR3T",
        "zulip://u:S3CR3T@h?stream=a",
        "opsgenie://h/S3CR3T",
        "smtp://u:S3CR3T@h/?from=a@b&to=c@d",
        "generic://h/S3CR3T?a=S3CR3T&@X=S3CR3T&$y=S3CR3T&template=json",
    ] {
        let migrated = migrate(url).unwrap();
        let shown = format!("{migrated:?} {migrated:#?}");
        assert!(!shown.contains("S3CR3T") && !shown.contains("ab243592"), "{url}: {shown}");
    }
}

#[test]
fn each_scheme_is_there_once_and_each_refusal_says_what_to_do() {
    let mut schemes: Vec<_> = SERVICES.iter().map(|it| it.scheme).collect();
    schemes.extend(REFUSED.iter().map(|(scheme, _)| *scheme));
    let all = schemes.len();
    schemes.sort_unstable();
    schemes.dedup();
    assert_eq!(schemes.len(), all);
    for (scheme, instead) in REFUSED {
        assert_eq!(
            parse(&format!("{scheme}://S3CR3T@host/path")),
            Err(ShoutrrrError::Unsupported { scheme, instead })
        );
    }
}
