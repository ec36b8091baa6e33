//! Parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (6152), SMTPUTF8 (6531), RET, ENVID, NOTIFY and ORCPT (3461),
//! AUTH (4954 §5), REQUIRETLS (8689).
//!
//! Limits: ENVID 100 octets (RFC 3461 §4.4), ORCPT 500 (§4.2); a keyword comes once (RFC 5321 §4.1.1.11).

use super::Mistake;
use crate::smtp::envelope::{Body, Notify, Return, Sender};
use crate::smtp::path::ReversePath;
use crate::smtp::reply;

/// Octets of ENVID's value, encoded.
const ENVID_BYTES_MAX: usize = 100;
/// Octets of ORCPT's value, encoded.
const ORCPT_BYTES_MAX: usize = 500;
/// Digits of SIZE's value (RFC 1870 §4).
const SIZE_DIGITS_MAX: usize = 20;

/// MAIL's parameters, with a null path for the caller to fill in.
pub(super) fn of_mail(parameters: &str) -> Result<Sender, Mistake> {
    let mut sender = Sender {
        path: ReversePath::Null,
        body: Body::default(),
        smtputf8: false,
        size: None,
        ret: None,
        envid: None,
        requiretls: false,
    };
    let mut seen = Seen::default();
    for word in parameters.split_ascii_whitespace() {
        let (keyword, value) = split(word);
        match keyword.to_ascii_uppercase().as_str() {
            "SIZE" => sender.size = Some(seen.once(0).and(size(value))?),
            "BODY" => sender.body = seen.once(1).and(body(value))?,
            "SMTPUTF8" => sender.smtputf8 = seen.once(2).and(flag(keyword, value))?,
            "RET" => sender.ret = Some(seen.once(3).and(ret(value))?),
            "ENVID" => sender.envid = Some(seen.once(4).and(envid(value))?),
            "AUTH" => seen.once(5).and(auth(value))?,
            "REQUIRETLS" => sender.requiretls = seen.once(6).and(flag(keyword, value))?,
            _ => return Err(reply::unknown_parameter(keyword).into()),
        }
    }
    if sender.requiretls && sender.ret == Some(Return::Full) {
        // RFC 8689 §5: a notice repeats the header alone, whatever was asked.
        sender.ret = Some(Return::Headers);
    }
    Ok(sender)
}

/// RCPT's parameters.
pub(super) fn of_rcpt(parameters: &str) -> Result<(Notify, Option<Box<str>>), Mistake> {
    let (mut notify, mut orcpt) = (Notify::default(), None);
    let mut seen = Seen::default();
    for word in parameters.split_ascii_whitespace() {
        let (keyword, value) = split(word);
        match keyword.to_ascii_uppercase().as_str() {
            "NOTIFY" => notify = seen.once(0).and(self::notify(value))?,
            "ORCPT" => orcpt = Some(seen.once(1).and(self::orcpt(value))?),
            _ => return Err(reply::unknown_parameter(keyword).into()),
        }
    }
    Ok((notify, orcpt))
}

/// Which keywords have come, a bit for each.
#[derive(Default)]
struct Seen(u8);

impl Seen {
    fn once(&mut self, bit: u8) -> Result<(), Mistake> {
        let twice = self.0 & (1 << bit) != 0;
        self.0 |= 1 << bit;
        if twice { Err(bad("A parameter comes twice")) } else { Ok(()) }
    }
}

fn bad(why: &str) -> Mistake {
    reply::bad_parameter(why).into()
}

fn split(word: &str) -> (&str, &str) {
    word.split_once('=').unwrap_or((word, ""))
}

/// Saturates: a number of 20 digits may exceed 64 bits, and is too large either way.
fn size(value: &str) -> Result<u64, Mistake> {
    let digits = !value.is_empty() && value.len() <= SIZE_DIGITS_MAX && value.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        return Err(bad("SIZE= takes the message's octets as a number"));
    }
    Ok(value.parse().unwrap_or(u64::MAX))
}

fn body(value: &str) -> Result<Body, Mistake> {
    match value {
        _ if value.eq_ignore_ascii_case("7BIT") => Ok(Body::SevenBit),
        _ if value.eq_ignore_ascii_case("8BITMIME") => Ok(Body::EightBitMime),
        _ => Err(bad("BODY= takes 7BIT or 8BITMIME; BINARYMIME is not offered")),
    }
}

fn flag(keyword: &str, value: &str) -> Result<bool, Mistake> {
    if value.is_empty() { Ok(true) } else { Err(bad(&format!("{} takes no value", keyword.to_ascii_uppercase()))) }
}

fn ret(value: &str) -> Result<Return, Mistake> {
    match value {
        _ if value.eq_ignore_ascii_case("FULL") => Ok(Return::Full),
        _ if value.eq_ignore_ascii_case("HDRS") => Ok(Return::Headers),
        _ => Err(bad("RET= takes FULL or HDRS")),
    }
}

fn envid(value: &str) -> Result<Box<str>, Mistake> {
    if value.is_empty() || value.len() > ENVID_BYTES_MAX || !is_xtext(value, false) {
        return Err(bad("ENVID= takes xtext of at most 100 octets"));
    }
    Ok(value.into())
}

/// Who first submitted the message, as an earlier server knew it. Nothing here trusts it, so it is checked and dropped.
fn auth(value: &str) -> Result<(), Mistake> {
    if value != "<>" && (value.is_empty() || !is_xtext(value, false)) {
        return Err(bad("AUTH= takes xtext or <>"));
    }
    Ok(())
}

fn notify(value: &str) -> Result<Notify, Mistake> {
    const WRONG: &str = "NOTIFY= takes NEVER, or some of SUCCESS,FAILURE,DELAY";
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(Notify { never: true, ..Notify::default() });
    }
    let mut notify = Notify::default();
    for word in value.split(',') {
        let wanted = match word {
            _ if word.eq_ignore_ascii_case("SUCCESS") => &mut notify.success,
            _ if word.eq_ignore_ascii_case("FAILURE") => &mut notify.failure,
            _ if word.eq_ignore_ascii_case("DELAY") => &mut notify.delay,
            _ => return Err(bad(WRONG)),
        };
        *wanted = true;
    }
    Ok(notify)
}

/// `address-type;xtext`. The type `utf-8` may hold UTF-8 as it is (RFC 6533 §3).
fn orcpt(value: &str) -> Result<Box<str>, Mistake> {
    const WRONG: &str = "ORCPT= takes type;address, the address as xtext, at most 500 octets in all";
    let (kind, address) = value.split_once(';').ok_or_else(|| bad(WRONG))?;
    let kind_is_atom = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let utf8 = kind.eq_ignore_ascii_case("utf-8");
    if value.len() > ORCPT_BYTES_MAX || !kind_is_atom || address.is_empty() || !is_xtext(address, utf8) {
        return Err(bad(WRONG));
    }
    Ok(value.into())
}

/// RFC 3461 §4: printable ASCII, `+` and two hexadecimal digits (upper case, but lower case is seen) for the rest.
fn is_xtext(text: &str, utf8: bool) -> bool {
    let bytes = text.as_bytes();
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        i += match byte {
            b'+' if bytes.get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => 3,
            b'+' | b'=' => return false,
            0x21..=0x7e => 1,
            0x80.. if utf8 => 1,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taught(mistake: Mistake) -> String {
        match mistake {
            Mistake::Teach(reply) => reply.to_string(),
            Mistake::End(fixed) => panic!("ends the session: {fixed:?}"),
        }
    }

    #[test]
    fn mail_takes_every_parameter_that_ehlo_offers() {
        let sender = of_mail("SIZE=1000 body=8bitmime SMTPUTF8 RET=hdrs ENVID=QQ+20314159 AUTH=<>").expect("valid");
        let expected = Sender {
            path: ReversePath::Null,
            body: Body::EightBitMime,
            smtputf8: true,
            size: Some(1000),
            ret: Some(Return::Headers),
            envid: Some("QQ+20314159".into()),
            requiretls: false,
        };
        assert_eq!(sender, expected);
        let required = of_mail("RET=FULL requiretls").expect("valid");
        assert_eq!((required.requiretls, required.ret), (true, Some(Return::Headers)), "RFC 8689 §5");
        assert_eq!(of_mail("BODY=7BIT RET=FULL").expect("valid").ret, Some(Return::Full));
        assert_eq!(of_mail("SIZE=99999999999999999999").expect("valid").size, Some(u64::MAX));
        assert!(of_mail("AUTH=e+3Dmc2@example.com").is_ok());
        assert!(of_mail(&format!("ENVID={}", "x".repeat(100))).is_ok());
    }

    #[test]
    fn rcpt_takes_notify_and_orcpt() {
        let (notify, orcpt) = of_rcpt("NOTIFY=SUCCESS,delay ORCPT=rfc822;Carol@Ivory.EDU").expect("valid");
        assert_eq!(notify, Notify { success: true, delay: true, ..Notify::default() });
        assert_eq!(orcpt.as_deref(), Some("rfc822;Carol@Ivory.EDU"));
        assert_eq!(of_rcpt("NOTIFY=never").expect("valid").0, Notify { never: true, ..Notify::default() });
        assert_eq!(of_rcpt("").expect("valid"), (Notify::default(), None));
        assert!(of_rcpt("ORCPT=utf-8;ü@example.org").is_ok());
        assert!(of_rcpt(&format!("ORCPT=rfc822;{}", "x".repeat(493))).is_ok());
    }

    #[test]
    fn wrong_values_are_taught() {
        let too_long = format!("ENVID={}", "x".repeat(101));
        for parameters in [
            "SIZE",
            "SIZE=",
            "SIZE=x",
            "SIZE=-1",
            "SIZE=999999999999999999999",
            "SIZE=1 SIZE=2",
            "size=1 SIZE=1",
            "BODY",
            "BODY=BINARYMIME",
            "SMTPUTF8=YES",
            "SMTPUTF8 SMTPUTF8",
            "RET=SOME",
            "RET",
            "ENVID=",
            "ENVID=a+b",
            "ENVID=a=b",
            "ENVID=ü",
            "AUTH=",
            "AUTH=a=b",
            "REQUIRETLS=1",
            "REQUIRETLS REQUIRETLS",
            &too_long,
        ] {
            let text = taught(of_mail(parameters).expect_err(parameters));
            assert!(text.starts_with("501 5.5.4 "), "{parameters:?}: {text}");
        }
        let too_long = format!("ORCPT=rfc822;{}", "x".repeat(494));
        for parameters in [
            "NOTIFY",
            "NOTIFY=",
            "NOTIFY=NEVER,DELAY",
            "NOTIFY=SUCCESS,",
            "NOTIFY=DELAY NOTIFY=DELAY",
            "ORCPT=",
            "ORCPT=a@b",
            "ORCPT=;a@b",
            "ORCPT=rfc822;",
            "ORCPT=rfc 822;x",
            "ORCPT=rfc822;a+b",
            "ORCPT=rfc822;ü@b",
            &too_long,
        ] {
            let text = taught(of_rcpt(parameters).expect_err(parameters));
            assert!(text.starts_with("501 5.5.4 ") || text.starts_with("555 5.5.4 "), "{parameters:?}: {text}");
        }
    }

    #[test]
    fn unknown_parameters_are_named() {
        assert!(
            taught(of_mail("HOLDFOR=100").expect_err("unknown")).starts_with("555 5.5.4 Unknown parameter HOLDFOR")
        );
        assert!(taught(of_rcpt("SIZE=100").expect_err("unknown")).starts_with("555 5.5.4 Unknown parameter SIZE"));
    }
}
