//! Servers that break off, lie, are busy, refuse, or mean harm.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let setting = Setting::with(
        |_, _, reply| reply,
        |_, before, reply| match before {
            0 => reply.cut(1_500_000),
            1 => reply.cut(0),
            2 => reply.cut(1_000_000),
            _ => reply,
        },
    );
    setting.fetch().unwrap();
    setting.is_whole();
    let ranges: Vec<_> = setting.store.log().iter().map(|r| r.header("range").map(String::from)).collect();
    let from = |byte: usize| Some(format!("bytes={byte}-"));
    assert_eq!(ranges, [None, from(1_500_000), from(1_500_000), from(2_500_000)]);
}

#[test]
fn a_server_that_knows_no_parts_begins_again() {
    let setting = Setting::with(
        |_, _, reply| reply,
        |_, before, reply| match before {
            0 => reply.cut(1_000_000),
            _ => Reply::new(200, weights()),
        },
    );
    setting.fetch().unwrap();
    setting.is_whole();
}

#[test]
fn a_server_that_breaks_every_time_is_asked_a_few_times() {
    let setting = Setting::with(|_, _, reply| reply, |_, _, reply| reply.cut(0));
    let error = setting.fetch().unwrap_err();
    says(
        &error,
        1,
        &["google/tiny `model.safetensors`: the connection broke after 0 bytes", "the same command goes on"],
    );
    assert_eq!(setting.store.log().len(), 6);
    setting.has_no_weights();
    // What came is kept.
    let setting = Setting::with(|_, _, reply| reply, |_, before, reply| reply.cut(if before == 0 { 1_000 } else { 0 }));
    setting.fetch().unwrap_err();
    assert_eq!(setting.incomplete().metadata().unwrap().len(), 1_000);
    // A little each time is not gone on with for ever.
    let setting = Setting::with(|_, _, reply| reply, |_, _, reply| reply.cut(10));
    setting.fetch().unwrap_err();
    assert_eq!(setting.store.log().len(), 6);
}

#[test]
fn busy_servers_are_waited_for() {
    let busy = |before: usize, reply: Reply| match before {
        0 => Reply::new(503, ""),
        1 => Reply::new(429, "").with("Retry-After", 1),
        _ => reply,
    };
    let setting = Setting::with(
        move |request, before, reply| match request.path.contains("/api/") || request.path.ends_with("config.json") {
            true => busy(before, reply),
            false => reply,
        },
        move |_, before, reply| busy(before, reply),
    );
    let begun = Instant::now();
    setting.fetch().unwrap();
    setting.is_whole();
    // The list, the facts and the bytes of the configuration, and the bytes of the weights.
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn a_server_that_stays_busy_is_a_failed_run() {
    for status in [429, 500, 503] {
        let setting = Setting::with(move |_, _, _| Reply::new(status, ""), |_, _, reply| reply);
        says(&setting.fetch().unwrap_err(), 1, &[&format!("the server answers {status}"), "HF_ENDPOINT"]);
        assert_eq!(setting.hub.log().len(), 6);
    }
    // One that asks for an hour is not waited for.
    let setting = Setting::with(|_, _, _| Reply::new(429, "").with("Retry-After", 3600), |_, _, reply| reply);
    says(&setting.fetch().unwrap_err(), 1, &["the server answers 429"]);
    assert_eq!(setting.hub.log().len(), 1);
}

#[test]
fn more_bytes_than_announced_are_refused() {
    let longer = || [weights(), vec![0; 100]].concat();
    let replies: [fn(Vec<u8>) -> Reply; 2] =
        [|body| Reply::new(200, body), |body| Reply { length: Some(None), ..Reply::new(200, body) }];
    for reply in replies {
        let setting = Setting::with(|_, _, reply| reply, move |_, _, _| reply(longer()));
        says(&setting.fetch().unwrap_err(), 1, &["sends more than the 3000000 bytes that it has announced"]);
        assert_eq!(setting.store.log().len(), 1);
        setting.has_no_weights();
        assert!(!setting.incomplete().exists());
    }
}

#[test]
fn fewer_bytes_than_announced_are_never_the_whole() {
    let setting = Setting::with(|_, _, reply| reply, |_, _, _| Reply::new(200, &weights()[..2_000_000]));
    says(&setting.fetch().unwrap_err(), 1, &["ended after 2000000 of 3000000 bytes"]);
    setting.has_no_weights();
    // A list that is cut short is none.
    let setting = Setting::with(
        |request, _, reply| if request.path.contains("/api/") { reply.cut(20) } else { reply },
        |_, _, reply| reply,
    );
    says(&setting.fetch().unwrap_err(), 1, &["the connection broke"]);
}

#[test]
fn other_bytes_than_announced_are_thrown_away() {
    let setting = Setting::with(|_, _, reply| reply, |_, _, _| Reply::new(200, vec![1; 3_000_000]));
    says(&setting.fetch().unwrap_err(), 1, &["what came is not the file that the hub announced: its SHA-256 is"]);
    assert_eq!(setting.store.log().len(), 2);
    setting.has_no_weights();
    assert!(!setting.incomplete().exists());
    // Small files are known by what Git calls them.
    let setting = Setting::with(
        |request, _, reply| match request.is("GET", "config.json") {
            true => Reply::new(200, "{\"model_type\": \"hostile\"}"),
            false => reply,
        },
        |_, _, reply| reply,
    );
    says(&setting.fetch().unwrap_err(), 1, &["its name in Git is"]);
    assert!(!setting.snapshot().join("config.json").exists());
}

#[test]
fn a_part_of_something_else_is_refused() {
    let setting = Setting::with(
        |_, _, reply| reply,
        |_, before, reply| match before {
            0 => reply.cut(1_000_000),
            _ => Reply::new(206, vec![0; 2_000_000]).with("Content-Range", "bytes 5-2000004/3000000"),
        },
    );
    says(&setting.fetch().unwrap_err(), 1, &["sends `bytes 5-2000004/3000000` where it was asked"]);
    setting.has_no_weights();
}

#[test]
fn redirects_are_bounded_and_stay_on_the_web() {
    for (location, why, requests) in [
        (Some("/again"), "redirects more than 5 times", 6),
        (Some("file:///etc/passwd"), "redirects to no address", 1),
        (None, "redirects to no address", 1),
    ] {
        let reply = |location: Option<&str>| match location {
            Some(location) => Reply::new(302, "").with("Location", location),
            None => Reply::new(302, ""),
        };
        let setting = Setting::with(move |_, _, _| reply(location), |_, _, reply| reply);
        says(&setting.fetch().unwrap_err(), 1, &[why]);
        assert_eq!(setting.hub.log().len(), requests);
    }
}

#[test]
fn names_of_a_list_and_of_bytes_do_not_lead_out_of_the_cache() {
    let evil = |name: &'static str| {
        let mut own = repository();
        own.files.insert(name.into(), b"evil".to_vec());
        let hub = Server::start(move |request, _| own.answer(request));
        let cache = TempDir::new().unwrap();
        let fetched = fetch(ADDRESS, &settings(&cache.path().join("a/b"), &hub.url())).unwrap();
        assert_eq!(names(&fetched.folder), ["config.json", "model.safetensors", "sentencepiece.model"]);
        assert_eq!(names(cache.path()), ["a"]);
        assert!(hub.log().iter().all(|request| !request.path.contains("evil")));
    };
    ["../../../../evil.model", "/tmp/evil.model", "..\\evil.model", "evil\0.model"].into_iter().for_each(evil);
    for etag in ["\"../../evil\"", "\"\"", "\".evil\"", "\"a/b\""] {
        let setting = Setting::with(
            move |request, _, reply| match request.is("HEAD", "config.json") {
                true => Reply::new(200, "").with("ETag", etag),
                false => reply,
            },
            |_, _, reply| reply,
        );
        says(&setting.fetch().unwrap_err(), 1, &["which is no ETag"]);
    }
    for (sha, why) in [("../../x", "names no commit"), ("main", "names no commit")] {
        let list = serde_json::json!({"sha": sha, "siblings": []}).to_string();
        let setting = Setting::with(move |_, _, _| Reply::new(200, list.clone()), |_, _, reply| reply);
        says(&setting.fetch().unwrap_err(), 1, &[why, "is http://127.0.0.1:"]);
    }
    let files: [(&str, &[u8]); 2] =
        [("config.json", b"{}"), ("model.safetensors.index.json", br#"{"weight_map": {"a": "../../../evil"}}"#)];
    let own = Repository::new(ID, &files);
    let hub = Server::start(move |request, _| own.answer(request));
    let cache = TempDir::new().unwrap();
    let error = fetch(ADDRESS, &settings(cache.path(), &hub.url())).unwrap_err();
    says(&error, 2, &["names the file `../../../evil`, which the repository has not"]);
}

#[test]
fn what_is_no_hub_is_said_to_be_none() {
    let setting = Setting::with(|_, _, _| Reply::new(200, "<html>Please sign in</html>"), |_, _, reply| reply);
    says(&setting.fetch().unwrap_err(), 1, &["the list of files is no JSON", "a hub, or its mirror?"]);
    let endless = Server::start(|_, _| Reply::new(200, vec![b' '; (64 << 20) + 10]));
    let cache = TempDir::new().unwrap();
    let error = fetch(ADDRESS, &settings(cache.path(), &endless.url())).unwrap_err();
    says(&error, 1, &["the list of files has more than 64 MiB"]);
}

#[test]
fn what_the_hub_refuses_says_what_to_do() {
    let fetch_at = |text: &str, status: u16, code: &'static str, token: Option<&str>| {
        let hub = Server::start(move |_, _| Reply::new(status, "{}").with("X-Error-Code", code));
        let cache = TempDir::new().unwrap();
        let mut settings = settings(cache.path(), &hub.url());
        settings.hugging_face.token = token.map(String::from);
        let error = fetch(text, &settings).unwrap_err();
        assert_eq!(hub.log().len(), 1);
        error
    };
    let error = fetch_at("hf://google/tiny@v9", 404, "RevisionNotFound", None);
    says(&error, 2, &["hf://google/tiny@v9: there is no revision `v9`", "/google/tiny lists branches"]);
    let error = fetch_at(ADDRESS, 403, "GatedRepo", None);
    says(&error, 2, &["its terms have to be accepted first", "HF_TOKEN"]);
    let error = fetch_at(ADDRESS, 401, "", None);
    says(
        &error,
        2,
        &["there is no google/tiny, or it is not for everybody", "accept its terms there and set HF_TOKEN"],
    );
    let error = fetch_at(ADDRESS, 401, "", Some("hf_secret"));
    says(&error, 2, &["the account of HF_TOKEN has to have access"]);
    says(&fetch_at(ADDRESS, 404, "RepoNotFound", None), 2, &["there is no google/tiny", "with HF_TOKEN set"]);
}

#[test]
fn a_repository_without_weights_says_what_it_has() {
    let own = Repository::new(ID, &[("config.json", b"{}"), ("flax_model.msgpack", b"x"), ("tf_model.h5", b"x")]);
    let hub = Server::start(move |request, _| own.answer(request));
    let cache = TempDir::new().unwrap();
    let error = fetch(ADDRESS, &settings(cache.path(), &hub.url())).unwrap_err();
    says(&error, 2, &["holds no weights that Kiln reads; its files are config.json, flax_model.msgpack, tf_model.h5"]);
}

/// A silent server is given up on, not waited for without end.
#[test]
fn a_silent_server_is_asked_again() {
    let setting = Setting::with(
        |_, _, reply| reply,
        |_, before, reply| Reply { pause: Duration::from_millis(if before == 0 { 1500 } else { 0 }), ..reply },
    );
    let settings = Settings { timeout: Duration::from_millis(400), ..setting.settings.clone() };
    fetch(ADDRESS, &settings).unwrap();
    setting.is_whole();
    assert_eq!(setting.store.log().len(), 2);
}

/// A disk of 1 MiB, where the tests may make one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_one_error_and_the_next_run_goes_on() {
    use std::process::Command;

    struct Disk(TempDir);
    impl Drop for Disk {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0.path()).status();
        }
    }

    let disk = Disk(TempDir::new().unwrap());
    let mount = |size: &str, more: &str| {
        let options = format!("size={size}{more}");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "kiln-test"]).arg(disk.0.path());
        command.output().is_ok_and(|done| done.status.success())
    };
    if !mount("1m", "") {
        eprintln!("skipped: no small disk can be mounted here");
        return;
    }
    let setting = Setting::new();
    let mut settings = settings(disk.0.path(), &setting.hub.url());
    let error = fetch(ADDRESS, &settings).unwrap_err();
    says(&error, 1, &["no room for google/tiny/model.safetensors: 2.9 MiB are to come", "HF_HUB_CACHE=FOLDER"]);
    assert!(setting.store.log().is_empty());

    // A length that nobody tells is met on the way.
    let kept = repository();
    let hub = Server::start(move |request, _| {
        let reply = kept.answer(request);
        let untold = request.path.ends_with(".safetensors");
        Reply { length: untold.then_some(None), ..reply }
    });
    settings.hugging_face.endpoint = hub.url();
    let error = fetch(ADDRESS, &settings).unwrap_err();
    says(&error, 1, &["the disk is full while google/tiny/model.safetensors is fetched", "goes on from what is there"]);
    let folder = disk.0.path().join("hub/models--google--tiny");
    let left = names(&folder.join("blobs"));
    let incomplete = left.iter().find(|name| name.ends_with(".incomplete")).unwrap();
    assert!(std::fs::metadata(folder.join("blobs").join(incomplete)).unwrap().len() > 500_000);

    assert!(mount("16m", ",remount"));
    let fetched = fetch(ADDRESS, &settings).unwrap();
    assert!(std::fs::read(fetched.folder.join("model.safetensors")).unwrap() == weights());
    let last = hub.of("GET", ".safetensors").pop().unwrap();
    assert!(last.header("range").is_some(), "{last:?}");
}
