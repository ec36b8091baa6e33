//! Whose a message is, and from where it goes out: what its account or listener says, and what it may say itself.

use super::Authorized;
use crate::config::{Config, egress};
use crate::message::Origin;
use crate::message::scan::{ROUTING, routing};
use crate::smtp::reply::{self, Reply};

impl Authorized {
    /// The origin of a message with this header.
    ///
    /// # Errors
    /// A field that counts and cannot be understood, or that names no pool.
    pub fn origin(&self, header: &[u8], config: &Config) -> Result<Origin, Reply> {
        let Some(standard) = self.standard() else { return Ok(Origin::default()) };
        let mut origin = Origin { pool: standard.pool.clone(), tenant: standard.tenant.clone(), ..Origin::default() };
        if standard.headers {
            let [pool, tenant, campaign] = routing(header);
            let fields = [(pool, &mut origin.pool), (tenant, &mut origin.tenant), (campaign, &mut origin.campaign)];
            for ((value, place), field) in fields.into_iter().zip(ROUTING) {
                if let Some(value) = value.filter(|value| !value.is_empty()) {
                    *place = Some(name(field, value)?);
                }
            }
            if let (Some(_), Some(asked)) = (pool, &origin.pool)
                && config.pool(asked).is_none()
            {
                return Err(reply::no_such_pool(ROUTING[0], asked));
            }
        }
        Ok(origin)
    }
}

fn name(field: &str, value: &[u8]) -> Result<Box<str>, Reply> {
    let text = String::from_utf8_lossy(value);
    egress::name(&text).map_err(|why| reply::bad_routing_field(field, &why))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::Rights;
    use super::*;
    use crate::config::Standard;

    const HEADER: &[u8] = b"X-Tenant: acme\r\nX-Virtual-MTA: one\r\nX-Campaign: spring\r\n\r\n";

    fn config() -> Config {
        let text = "[server]\nhostname = \"mta.example.org\"\ndata_dir = \"data\"\n[[listener]]\nkind = \"relay\"\n\
                    address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"::1\"]\n[[source]]\nname = \"one\"\n\
                    addresses = [\"192.0.2.1\"]\n";
        Config::parse(text, Path::new("/nowhere")).expect("good")
    }

    fn relay(headers: bool) -> Authorized {
        let standard = Standard { tenant: Some("house".into()), headers, ..Standard::default() };
        Authorized(Rights::Relay(Arc::new(standard)))
    }

    #[test]
    fn fields_count_only_where_they_may() {
        let origin = relay(false).origin(HEADER, &config()).expect("accepted");
        assert_eq!(origin, Origin { tenant: Some("house".into()), ..Origin::default() });
        let origin = relay(true).origin(HEADER, &config()).expect("accepted");
        let part = |text: &str| Some(text.into());
        assert_eq!(
            origin,
            Origin { pool: part("one"), tenant: part("acme"), campaign: part("spring"), ..Origin::default() }
        );
        let origin = relay(true).origin(b"Subject: x\r\n\r\n", &config()).expect("accepted");
        assert_eq!(origin.tenant.as_deref(), Some("house"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_change() {
        let refused = |header: &[u8]| relay(true).origin(header, &config()).expect_err("refused").to_string();
        assert!(refused(b"X-Virtual-MTA: two\r\n\r\n").contains("`two`"));
        assert!(refused(b"X-Tenant: a b\r\n\r\n").contains("X-Tenant"));
    }
}
