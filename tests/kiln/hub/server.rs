//! A hub on this machine, that can be told to behave badly.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn is(&self, method: &str, end: &str) -> bool {
        self.method == method && self.path.ends_with(end)
    }
}

/// What is answered.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How many bytes of the body are sent before the connection is dropped.
    pub cut: Option<usize>,
    /// What stands in Content-Length, if it is not the body's; none is sent where it is `Some(None)`.
    pub length: Option<Option<usize>>,
    pub pause: Duration,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    pub fn cut(self, bytes: usize) -> Self {
        Self { cut: Some(bytes), ..self }
    }

    fn send(&self, request: &Request, stream: &mut TcpStream) -> std::io::Result<()> {
        std::thread::sleep(self.pause);
        let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", self.status);
        if let Some(length) = self.length.unwrap_or(Some(self.body.len())) {
            head += &format!("Content-Length: {length}\r\n");
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if request.method != "HEAD" {
            stream.write_all(&self.body[..self.cut.unwrap_or(self.body.len())])?;
        }
        stream.flush()
    }
}

/// A server that answers as a function of the request and of how often the same was asked before.
pub struct Server {
    port: u16,
    pub asked: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::<Request>::new()));
        let (log, answer) = (asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), log, answer) = (stream, log.clone(), answer.clone()) else { continue };
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    let before = {
                        let mut log = log.lock().unwrap();
                        let same = |other: &&Request| (&other.method, &other.path) == (&request.method, &request.path);
                        let before = log.iter().filter(same).count();
                        log.push(request.clone());
                        before
                    };
                    // Who hangs up early is no fault of the server.
                    let _ = answer(&request, before).send(&request, &mut stream);
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    // Unread bytes would reset the connection before the answer has been read.
                    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
                    let _ = stream.read(&mut [0; 64]);
                });
            }
        });
        Self { port, asked }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same server, by another name: another host to whoever looks at names.
    pub fn other_url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    pub fn log(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// The requests with this method whose path ends so.
    pub fn of(&self, method: &str, end: &str) -> Vec<Request> {
        self.log().into_iter().filter(|request| request.is(method, end)).collect()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    Some(Request { method, path, headers })
}

pub fn sha256(bytes: &[u8]) -> String {
    kiln::hash::hex(&Sha256::digest(bytes))
}

/// What Git calls a file.
pub fn git_blob(bytes: &[u8]) -> String {
    let mut hash = sha1_smol::Sha1::from(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hash.digest().to_string()
}

/// A repository as Hugging Face's hub gives it.
#[derive(Clone)]
pub struct Repository {
    /// `google/tiny`, or `datasets/facebook/xnli`.
    pub id: &'static str,
    pub commit: String,
    pub files: BTreeMap<String, Vec<u8>>,
    /// Where large files are: another server.
    pub store: String,
}

impl Repository {
    pub fn new(id: &'static str, files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
        Self { id, commit: "0123456789abcdef0123456789abcdef01234567".into(), files, store: String::new() }
    }

    pub fn stored_at(self, url: &str) -> Self {
        Self { store: url.to_string(), ..self }
    }

    /// Weights are large, whatever their size.
    fn is_large(&self, name: &str) -> bool {
        !self.store.is_empty() && [".safetensors", ".bin"].iter().any(|end| name.ends_with(end))
    }

    pub fn answer(&self, request: &Request) -> Reply {
        let kind = if self.id.starts_with("datasets/") { "" } else { "models/" };
        let api = format!("/api/{kind}{}/revision/", self.id);
        if let Some(revision) = request.path.strip_prefix(&api) {
            if revision != "main" && revision != self.commit {
                return Reply::new(404, "{}").with("X-Error-Code", "RevisionNotFound");
            }
            let files: Vec<_> = self.files.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
            return Reply::new(200, serde_json::json!({"sha": self.commit, "siblings": files}).to_string());
        }
        let resolve = format!("/{}/resolve/{}/", self.id, self.commit);
        let Some((name, bytes)) = request.path.strip_prefix(&resolve).and_then(|name| self.files.get_key_value(name))
        else {
            return Reply::new(404, "").with("X-Error-Code", "RepoNotFound");
        };
        if self.is_large(name) {
            let hash = sha256(bytes);
            return Reply::new(302, "")
                .with("X-Repo-Commit", &self.commit)
                .with("X-Linked-Etag", format!("\"{hash}\""))
                .with("X-Linked-Size", bytes.len())
                .with("Location", format!("{}/store/{hash}", self.store));
        }
        part(bytes, request).with("X-Repo-Commit", &self.commit).with("ETag", format!("\"{}\"", git_blob(bytes)))
    }

    /// What the store of large files answers.
    pub fn stored(&self, request: &Request) -> Reply {
        let found = self.files.values().find(|bytes| request.path == format!("/store/{}", sha256(bytes)));
        found.map_or(Reply::new(404, ""), |bytes| part(bytes, request))
    }
}

/// All bytes, or those from the one on that is asked for.
pub fn part(bytes: &[u8], request: &Request) -> Reply {
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    match range {
        Some(from) if from < bytes.len() => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            Reply::new(206, &bytes[from..]).with("Content-Range", range)
        }
        Some(_) => Reply::new(416, ""),
        None => Reply::new(200, bytes),
    }
}
