//! Services that page people.

use super::ShoutrrrError;
use super::url::Address;
use crate::receiver::Target;
use crate::secret::Secret;

/// `pagerduty://[host[:port]]/KEY`.
pub(super) fn pagerduty(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    let host = match address.host() {
        Some(_) => address.host_port()?,
        None => "events.pagerduty.com".into(),
    };
    let segments = address.segments()?;
    let [key] = &segments[..] else { return Err(address.missing("the integration key")) };
    if key.len() != 32 || !key.bytes().all(|it| it.is_ascii_hexdigit()) {
        return Err(address.malformed("the integration key is not 32 hexadecimal digits"));
    }
    Ok(Target::PagerDuty {
        url: Secret::new(format!("https://{host}/v2/enqueue")),
        routing_key: Secret::new(key.as_str()),
    })
}

/// `opsgenie://host/KEY`.
pub(super) fn opsgenie(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    let host = match address.host() {
        Some(_) => address.host_port()?,
        None => "api.opsgenie.com".into(),
    };
    let segments = address.segments()?;
    let [key] = &segments[..] else { return Err(address.missing("the API key")) };
    if !key.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-') {
        return Err(
            address.malformed("the API key has other characters than letters, digits and -")
        );
    }
    Ok(Target::Opsgenie {
        url: Secret::new(format!("https://{host}")),
        key: Secret::new(key.as_str()),
    })
}
