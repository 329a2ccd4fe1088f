//! Why a request did not give what was asked for, and how often it is repeated.

use std::time::Duration;

use super::address::{Address, Hub};
use super::settings::{Settings, Site};
use crate::error::{Error, Problem};

/// Repetitions without anything gained before the run fails.
const MOST_FAILURES: u32 = 5;
/// The longest pause between two requests; a server that asks for a longer one is left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server has said no.
    Status {
        status: u16,
        /// Hugging Face's word for the reason, such as `RevisionNotFound`.
        code: String,
        /// What it says in words, and for how long it asks to be left alone.
        message: String,
        retry_after: Option<Duration>,
    },
    /// It was not reached, or the connection broke.
    Network(String),
    /// Its certificate is not one that is trusted here.
    Certificate(String),
    /// It answers as no hub does: nothing more is asked of it.
    Refused(String),
    /// The fault is on this side.
    Here(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Here(error)
    }
}

impl Failure {
    /// Whether the same request may succeed later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Network(_) => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Certificate(_) | Self::Refused(_) | Self::Here(_) => false,
        }
    }

    /// In words.
    pub(super) fn said(&self) -> String {
        match self {
            Self::Status { status, message, .. } if message.is_empty() => format!("the server answers {status}"),
            Self::Status { status, message, .. } => format!("the server answers {status} ({message})"),
            Self::Network(text) | Self::Refused(text) | Self::Certificate(text) => text.clone(),
            Self::Here(error) => error.to_string(),
        }
    }

    /// As the user meets it. `file` is what was asked for, if it was a file.
    pub(super) fn into_error(self, address: &Address, site: &Site, file: Option<&str>) -> Error {
        let said = self.said();
        let (id, page) = (address.id(), super::page(site, address));
        let of = file.map_or(String::new(), |file| format!(" `{file}`"));
        let wrong = |what: String, help: String| Problem::new(format!("{address}{of}: {what}")).help(help).into();
        let failed = |help: String| Error::run(Problem::new(format!("{address}{of}: {said}")).help(help));
        let signed_in = site.token.is_some();
        let token = match address.hub {
            Hub::HuggingFace => "HF_TOKEN",
            Hub::ModelScope => "MODELSCOPE_API_TOKEN",
        };
        match self {
            Self::Here(error) => error,
            Self::Status { code, .. } if code == "RevisionNotFound" => {
                let revision = address.revision_or_branch();
                wrong(format!("there is no revision `{revision}`"), format!("{page} lists branches, tags and commits"))
            }
            Self::Status { code, .. } if code == "GatedRepo" => {
                let help = format!("accept them at {page} and set {token} to a token of the same account");
                wrong("its terms have to be accepted first".into(), help)
            }
            Self::Status { status: 401 | 403, .. } => {
                let help = match signed_in {
                    true => format!("the account of {token} has to have access to {page}, and may have to accept its terms there"),
                    false => format!("if {page} is private or gated, accept its terms there and set {token}"),
                };
                wrong(format!("there is no {id}, or it is not for everybody ({said})"), help)
            }
            Self::Status { status: 404, code, .. } if code == "EntryNotFound" || file.is_some() => {
                wrong("is not there".into(), format!("see {page}"))
            }
            Self::Status { status: 404, .. } => {
                let help = match signed_in {
                    true => format!("look for it at {}", site.endpoint),
                    false => format!("look for it at {}; a private one is found with {token} set", site.endpoint),
                };
                wrong(format!("there is no {id}"), help)
            }
            Self::Certificate(_) => failed(
                "behind a proxy that opens connections, set SSL_CERT_FILE to the certificates that it signs with; else the \
                 system's (in Debian, the package ca-certificates) are too old, or are not there"
                    .into(),
            ),
            Self::Refused(_) => failed(format!("is {} a hub, or its mirror? Nothing of it was kept", site.endpoint)),
            Self::Status { .. } | Self::Network(_) => failed(format!(
                "what is there already is kept: the same command goes on. Proxies are read from HTTPS_PROXY and \
                 HTTP_PROXY, mirrors from {}; a folder with the files of {page} does as well",
                match address.hub {
                    Hub::HuggingFace => "HF_ENDPOINT",
                    Hub::ModelScope => "MODELSCOPE_ENDPOINT",
                }
            )),
        }
    }
}

/// How often a request has failed without anything gained.
pub(super) struct Patience {
    pause: Duration,
    failures: u32,
}

impl Patience {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { pause: settings.pause, failures: 0 }
    }

    /// Something was gained since the last failure.
    pub(super) fn renew(&mut self) {
        self.failures = 0;
    }

    /// Waits until the request may be repeated.
    ///
    /// # Errors
    /// The failure, where it is for good or there were enough.
    pub(super) fn wait(&mut self, failure: Failure, what: &str) -> Result<(), Failure> {
        self.failures += 1;
        let asked = match &failure {
            Failure::Status { retry_after, .. } => *retry_after,
            _ => None,
        };
        let pause = asked.unwrap_or(self.pause * 2_u32.pow(self.failures.min(8) - 1));
        if !failure.is_transient() || self.failures > MOST_FAILURES || pause > LONGEST_PAUSE {
            return Err(failure);
        }
        let (said, seconds) = (failure.said(), pause.as_secs_f64());
        tracing::warn!("{what}: {said}; again in {seconds:.0} s ({} of {MOST_FAILURES})", self.failures);
        std::thread::sleep(pause);
        Ok(())
    }
}
