//! Which proxy a request goes through, as curl and Python's requests choose it.

/// The proxies that the environment names, for addresses with `http`, with `https`, and for both.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    pub http: Option<String>,
    pub https: Option<String>,
    pub all: Option<String>,
    /// Hosts that are asked without one, with commas between them.
    pub none: String,
}

impl Proxies {
    /// The proxy for a host, if it has one. Proxies without a scheme are of HTTP.
    pub(super) fn of(&self, scheme: &str, host: &str) -> Option<&str> {
        let own = if scheme == "https" { &self.https } else { &self.http };
        own.as_deref().or(self.all.as_deref()).filter(|_| !self.is_excluded(host))
    }

    fn is_excluded(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        self.none.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
            let entry = entry.trim_start_matches('*').trim_start_matches('.');
            // `*` by itself is every host.
            match entry {
                "" => self.none.split(',').any(|entry| entry.trim() == "*"),
                _ => host == entry || host.strip_suffix(entry).is_some_and(|before| before.ends_with('.')),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_has_its_proxy_and_some_hosts_have_none() {
        let named = |text: &str| Some(text.to_string());
        let none = "localhost, .corp.example,*.lan,10.0.0.1".to_string();
        let proxies = Proxies { http: named("h:1"), https: None, all: named("socks5://a:2"), none };
        assert_eq!(proxies.of("http", "x.org"), Some("h:1"));
        assert_eq!(proxies.of("https", "x.org"), Some("socks5://a:2"));
        for host in ["localhost", "hub.corp.example", "corp.example", "a.lan", "10.0.0.1", "LOCALHOST"] {
            assert_eq!(proxies.of("https", host), None, "{host}");
        }
        assert_eq!(proxies.of("https", "notcorp.example"), Some("socks5://a:2"));
        assert_eq!(Proxies { none: "*".into(), ..proxies }.of("http", "x.org"), None);
    }
}
