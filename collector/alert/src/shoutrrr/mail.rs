//! Mail.

use super::ShoutrrrError;
use super::chat::list;
use super::url::Address;
use crate::receiver::MailServer;
use crate::receiver::MailTls;
use crate::receiver::Target;
use crate::secret::Secret;

/// `smtp://user:password@host:port/?from=A&to=B,C`.
pub(super) fn smtp(address: &Address<'_>) -> Result<Target, ShoutrrrError> {
    const ADDRESSES: &str = "an address of a mail is not NAME@DOMAIN";
    let host = address.host().ok_or_else(|| address.missing("the host"))?;
    // Where shoutrrr starts; most servers want 587 or 465 by now.
    let port = address.port().unwrap_or(25);
    let from = address.first(&["fromaddress", "from"])?;
    let from = from.ok_or_else(|| address.missing("fromaddress="))?.trim().to_owned();
    let to = address.first(&["toaddresses", "to"])?;
    let to = list(to.unwrap_or_default());
    if to.is_empty() {
        return Err(address.missing("toaddresses="));
    }
    if !to.iter().chain([&from]).all(|it| is_mail(it)) {
        return Err(address.malformed(ADDRESSES));
    }
    let auth = address.parameter("auth")?.unwrap_or_default().to_ascii_lowercase();
    let has_login = match &*auth {
        "" | "unknown" | "plain" | "login" => true,
        "none" => false,
        "oauth2" => {
            return Err(address.unsupported("auth=OAuth2; use a password of an application"));
        }
        _ => return Err(address.unsupported("this auth=; use plain, over TLS")),
    };
    let user = address.user()?.filter(|_| has_login);
    let password = address.password()?.filter(|_| user.is_some()).map(Secret::new);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let server = MailServer { host, port, tls: tls(address, port)?, user, password };
    Ok(Target::Email { server, from, to })
}

fn tls(address: &Address<'_>, port: u16) -> Result<MailTls, ShoutrrrError> {
    let of = |name| address.parameter(name).map(|it| it.is_some());
    let is_off = match (of("usestarttls")?, of("starttls")?) {
        (true, _) => !address.says_yes("usestarttls")?,
        (false, true) => !address.says_yes("starttls")?,
        (false, false) => false,
    };
    let encryption = address.parameter("encryption")?.unwrap_or_default().to_ascii_lowercase();
    match &*encryption {
        "" | "auto" if port == 465 => Ok(MailTls::Implicit),
        "" | "auto" if is_off => Ok(MailTls::None),
        "" | "auto" | "explicittls" => Ok(MailTls::StartTls),
        "implicittls" => Ok(MailTls::Implicit),
        "none" => Ok(MailTls::None),
        _ => Err(address.malformed("encryption= is none of Auto, None, ExplicitTLS, ImplicitTLS")),
    }
}

/// Fit for an envelope and a header: nothing that ends or quotes them.
fn is_mail(text: &str) -> bool {
    let is_plain = |it: char| it.is_ascii_graphic() && !"<>()[]\\,;:\"".contains(it);
    let parts = text.split_once('@');
    parts.is_some_and(|(name, domain)| {
        !name.is_empty() && !domain.is_empty() && !domain.contains('@')
    }) && text.len() <= 254
        && text.chars().all(is_plain)
}
