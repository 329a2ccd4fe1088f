//! Requests: blocking, each redirect looked at, the token only to the hub itself, every answer bounded.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{HeaderMap, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use super::address::Hub;
use super::failure::{Failure, Patience};
use super::settings::{Settings, Site};
use super::url;
use crate::error::Problem;

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 5;
/// The longest list of files that is read: of a repository of hundreds of thousands.
const LONGEST_LIST: u64 = 64 << 20;
/// What is read of an error page.
const LONGEST_MESSAGE: u64 = 4096;
/// What rustls's verifier says where there is no certificate at all.
const NO_CERTIFICATES: &str = "No CA certificates";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// What is known of a file; redirects that tell it are not followed.
    Facts,
    /// Its bytes, from this one on.
    Bytes(u64),
}

/// An answer with a status below 400.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: HeaderMap,
    /// Of the redirects before it, too.
    passed: Vec<HeaderMap>,
    pub(super) body: Body,
}

impl Answer {
    /// The last value of a header, of the answer or of a redirect that led to it.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let all = std::iter::once(&self.headers).chain(self.passed.iter().rev());
        all.filter_map(|headers| headers.get(name)).find_map(|value| value.to_str().ok())
    }

    /// A header of the answer itself.
    pub(super) fn own(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.own("content-length")?.trim().parse().ok()
    }
}

/// A client of hubs.
pub(super) struct Client<'a> {
    settings: &'a Settings,
    /// By their proxies.
    agents: RefCell<HashMap<Option<String>, Agent>>,
    /// Whether the system has no certificates, so that Mozilla's, which are in the program, are taken.
    has_no_certificates: Cell<bool>,
}

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { settings, agents: RefCell::default(), has_no_certificates: Cell::new(false) }
    }

    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.settings)
    }

    /// A JSON document; `tries` says whether failures that may pass are waited for.
    pub(super) fn json(&self, site: &Site, address: &str, waits: bool) -> Result<Value, Failure> {
        let mut patience = self.patience();
        loop {
            match self.json_once(site, address) {
                Err(failure) if waits => patience.wait(failure, address)?,
                done => return done,
            }
        }
    }

    fn json_once(&self, site: &Site, address: &str) -> Result<Value, Failure> {
        let answer = self.once(site, address, Ask::Bytes(0))?;
        let mut text = Vec::new();
        let broken = |cause: std::io::Error| Failure::Network(format!("the connection broke: {cause}"));
        answer.body.into_reader().take(LONGEST_LIST + 1).read_to_end(&mut text).map_err(broken)?;
        if text.len() as u64 > LONGEST_LIST {
            return Err(Failure::Refused(format!("the list of files has more than {} MiB", LONGEST_LIST >> 20)));
        }
        serde_json::from_slice(&text)
            .map_err(|cause| Failure::Refused(format!("the list of files is no JSON: {cause}")))
    }

    /// What is known of a file; failures that may pass are waited for.
    pub(super) fn facts(&self, site: &Site, address: &str) -> Result<Answer, Failure> {
        let mut patience = self.patience();
        loop {
            match self.once(site, address, Ask::Facts) {
                Err(failure) => patience.wait(failure, address)?,
                done => return done,
            }
        }
    }

    /// One request and its redirects.
    pub(super) fn once(&self, site: &Site, address: &str, ask: Ask) -> Result<Answer, Failure> {
        let read = |text: &str| text.parse::<Uri>().ok();
        let no_address = || Failure::Refused(format!("`{address}` is no address"));
        let mut uri = read(address).ok_or_else(no_address)?;
        let own = read(&site.endpoint).as_ref().and_then(url::origin);
        let mut passed = Vec::new();
        loop {
            let token = site.token.as_ref().filter(|_| own.is_some() && url::origin(&uri) == own);
            let token = token.map(|token| (site.hub, token.as_str()));
            let response = self.send(&uri, ask, token)?;
            let status = response.status().as_u16();
            let (parts, body) = response.into_parts();
            let tells_all = parts.headers.contains_key("x-linked-etag");
            if (300..400).contains(&status) && !(ask == Ask::Facts && tells_all) {
                let location = parts.headers.get("location").and_then(|value| value.to_str().ok());
                let next = location.and_then(|location| url::follow(&uri, location));
                let next = next.ok_or_else(|| Failure::Refused("the server redirects to no address".into()))?;
                if uri.scheme_str() == Some("https") && next.scheme_str() == Some("http") && !url::is_loopback(&next) {
                    let host = next.host().unwrap_or_default();
                    return Err(Failure::Refused(format!("the server redirects to {host} without encryption")));
                }
                passed.push(parts.headers);
                if passed.len() > MOST_REDIRECTS {
                    return Err(Failure::Refused(format!("the server redirects more than {MOST_REDIRECTS} times")));
                }
                uri = next;
                continue;
            }
            return match status {
                200..400 => Ok(Answer { status, headers: parts.headers, passed, body }),
                _ => Err(refusal(status, &parts.headers, body)),
            };
        }
    }

    fn send(&self, uri: &Uri, ask: Ask, token: Option<(Hub, &str)>) -> Result<ureq::http::Response<Body>, Failure> {
        let agent = self.agent(uri)?;
        let request = match ask {
            Ask::Facts => agent.head(uri.clone()),
            Ask::Bytes(_) => agent.get(uri.clone()),
        };
        // A packed body would hide the length.
        let mut request = request.header("accept-encoding", "identity");
        if let Ask::Bytes(from @ 1..) = ask {
            request = request.header("range", format!("bytes={from}-"));
        }
        if let Some((hub, token)) = token {
            request = request.header("authorization", format!("Bearer {token}"));
            if hub == Hub::ModelScope {
                // Its older interface, which lists and gives files, knows the token as the session's.
                request = request.header("cookie", format!("m_session_id={token}"));
            }
        }
        let failed = |cause: ureq::Error| {
            let (host, said) = (uri.host().unwrap_or_default(), cause.to_string());
            let proxy = self.settings.proxies.of(uri.scheme_str().unwrap_or_default(), host);
            let way = if proxy.is_some() { " through the proxy that the environment names" } else { "" };
            match cause {
                ureq::Error::HostNotFound => Failure::Network(format!("the host {host} is not found{way}")),
                ureq::Error::Http(_) | ureq::Error::BadUri(_) => Failure::Refused(said),
                _ if said.contains("certificate") => Failure::Certificate(format!("{host}: {said}")),
                _ => Failure::Network(format!("{host} cannot be reached{way}: {said}")),
            }
        };
        match request.call() {
            Err(cause) if cause.to_string().contains(NO_CERTIFICATES) && !self.has_no_certificates.get() => {
                if let Some(named) = &self.settings.certificates {
                    let what = format!("SSL_CERT_FILE or SSL_CERT_DIR is `{named}`, where there are no certificates");
                    return Err(Failure::Here(Problem::new(what).help("name a file in PEM, or unset it").into()));
                }
                tracing::warn!(
                    "this system has no certificates (ca-certificates); Mozilla's, which Kiln carries, are used"
                );
                self.has_no_certificates.set(true);
                self.agents.borrow_mut().clear();
                self.send(uri, ask, token)
            }
            done => done.map_err(failed),
        }
    }

    fn agent(&self, uri: &Uri) -> Result<Agent, Failure> {
        let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
        let proxy = self.settings.proxies.of(scheme, host).map(str::to_string);
        if let Some(agent) = self.agents.borrow().get(&proxy) {
            return Ok(agent.clone());
        }
        let read = proxy.as_deref().map(Proxy::new).transpose().map_err(|cause| {
            // Its address may hold a password.
            let what = format!("the proxy that the environment names for {scheme}://{host} cannot be used: {cause}");
            Failure::Here(Problem::new(what).help("such as HTTPS_PROXY=http://HOST:PORT or socks5h://HOST:PORT").into())
        })?;
        let roots = if self.has_no_certificates.get() { RootCerts::WebPki } else { RootCerts::PlatformVerifier };
        let timeout = Some(self.settings.timeout);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(read)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = config.new_agent();
        self.agents.borrow_mut().insert(proxy, agent.clone());
        Ok(agent)
    }
}

/// What a server says with a status of 400 or more.
fn refusal(status: u16, headers: &HeaderMap, body: Body) -> Failure {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut text = Vec::new();
    // What cannot be read of it is not said.
    let _ = body.into_reader().take(LONGEST_MESSAGE).read_to_end(&mut text);
    let said = match header("x-error-message") {
        "" => serde_json::from_slice::<Value>(&text)
            .ok()
            .and_then(|value| ["error", "Message"].iter().find_map(|key| Some(value.get(key)?.as_str()?.to_string()))),
        said => Some(said.to_string()),
    };
    let message = said.unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
    let seconds = header("retry-after").trim().parse().ok();
    Failure::Status {
        status,
        code: header("x-error-code").to_string(),
        message,
        retry_after: seconds.map(Duration::from_secs),
    }
}
