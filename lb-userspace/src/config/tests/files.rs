//! Files as they lie on the disk, and `lb check` on them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;

/// A folder of its own, gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("lb-config-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Every configuration of `conf/`: the YAML files but for those that Prometheus reads.
pub(super) fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .filter(|path| !path.ends_with("prometheus-alerts.yaml"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_example_passes_without_a_warning() {
    let examples = examples();
    for name in ["demo.yaml", "l4.yaml", "l7.yaml", "lb.yaml"] {
        assert!(examples.iter().any(|path| path.ends_with(name)), "{name}");
    }
    for path in examples {
        match load(&path, &no_environment) {
            Ok(loaded) => assert!(loaded.warnings.is_empty(), "{}", loaded.warnings),
            Err(found) => panic!("{found}"),
        }
    }
}

/// A key that is read but not in conf/lb.yaml would be a secret.
#[test]
fn the_full_example_shows_every_key() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let full = fs::read_to_string(folder.join("../conf/lb.yaml")).unwrap();
    let mut keys = 0;
    for entry in fs::read_dir(folder.join("src/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let code = fs::read_to_string(&path).unwrap();
        for call in ["take(\"", "take(d, \"", "read(\"", "take(\n            \""] {
            for rest in code.split(call).skip(1) {
                let key = rest.split('"').next().unwrap();
                let shown = ["", " ", "{ ", "# "]
                    .iter()
                    .any(|before| full.contains(&format!("{before}{key}:")))
                    || full.contains(&format!("# {key} "));
                assert!(shown, "`{key}` of {}", path.display());
                keys += 1;
            }
        }
    }
    assert!(keys > 60, "{keys} keys were looked for");
}

#[test]
fn what_cannot_be_read_is_named() {
    let scratch = Scratch::new("unread");
    let said = |path: &Path| load(path, &no_environment).unwrap_err().to_string();
    let missing = scratch.0.join("none.yaml");
    let text = said(&missing);
    assert!(
        text.starts_with(&format!(
            "{}: error: cannot be read: No such file",
            missing.display()
        )),
        "{text}"
    );
    assert!(said(&scratch.0).contains("there is no `.cfg` file in it"));
    assert!(said(Path::new("/dev/zero")).contains("is larger than 16 MiB"));
}

#[test]
fn text_of_other_encodings_is_named() {
    let scratch = Scratch::new("encoding");
    let said = |bytes: &[u8]| {
        let path = scratch.write("lb.yaml", bytes);
        load(&path, &no_environment)
            .unwrap_err()
            .iter()
            .map(told)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        said(b"global:\n  user: caf\xe9\n"),
        ["2:12 error: the byte 0xe9 is not UTF-8 => save the file as UTF-8"]
    );
    assert_eq!(
        said(b"\xff\xfeg\0l\0"),
        ["1:1 error: the file is UTF-16 => save it as UTF-8"]
    );
}

#[test]
fn a_byte_order_mark_and_carriage_returns_change_nothing() {
    let text = "frontends:\r\n  web: { bind: '*:80', default_backend: app }\r\nbackends:\r\n  app:\r\n    maxconn: 1\r\n";
    let found = parse("lb.yaml", &format!("\u{feff}{text}"), &no_environment).unwrap_err();
    assert_eq!(found.errors(), 1);
    assert_eq!(
        told(found.iter().last().unwrap()),
        "5:5 error: unknown key `maxconn` in backend `app` => it is a server's or a frontend's"
    );
}

#[test]
fn relative_paths_begin_at_the_file() {
    let scratch = Scratch::new("paths");
    let text = "global:\n  pidfile: lb.pid\n  log: [{ target: ./lb.log }]\nstats: { bind: '127.0.0.1:1080' }\n";
    let loaded = load(&scratch.write("lb.yaml", text), &no_environment).unwrap();
    assert_eq!(loaded.config.global.pidfile, Some(scratch.0.join("lb.pid")));
    assert_eq!(
        loaded.config.global.log[0].target,
        model::LogDestination::File(scratch.0.join("./lb.log"))
    );
    assert_eq!(
        loaded.config.global.admin_socket,
        Path::new("/run/lb/admin.sock")
    );
}

#[test]
fn check_writes_an_answer_and_an_exit_code() {
    let scratch = Scratch::new("check");
    let good = scratch.write("good.yaml", "stats: { bind: '127.0.0.1:1080' }\n");
    let bad = scratch.write("bad.yaml", "stats: { bind: *:1080 }\n");
    let run = |path: &Path, format| {
        let mut out = Vec::new();
        let code = check_command(
            path,
            &no_environment,
            &haproxy::Options::default(),
            format,
            &mut out,
        )
        .unwrap();
        (code, String::from_utf8(out).unwrap())
    };
    let (code, text) = run(&good, Format::Text);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("good.yaml: valid (0 frontends, 0 backends, 0 servers)"),
        "{text}"
    );
    let (code, text) = run(&bad, Format::Text);
    let name = bad.display();
    let expected = format!(
        "{name}:1:16: error: `*:1080` without quotes is a YAML alias\n    stats: {{ bind: *:1080 }}\n{}^^^^^^\n  = \
         quote it: `\"*:1080\"`\n{name}: not valid: 1 error\n",
        " ".repeat(19)
    );
    assert_eq!((code, text), (1, expected));
    assert!(run(&bad, Format::Colour).1.contains("\x1b[1;31merror:"));
    let (code, text) = run(&bad, Format::Json);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, 1);
    assert_eq!(json["valid"], false);
    assert_eq!(json["diagnostics"][0]["column"], 16);
}

#[test]
fn all_that_is_wrong_is_told_in_one_go() {
    let scratch = Scratch::new("one-go");
    let text = r#"frontends:
  web:
    bind: [{ address: "*:443", tls: { certificates: none.pem } }]
    rules: [{ set_header: { X-Whose: "%[src,map_ip(none.map)]" } }]
    errorfiles: { 503: none.http }
    maxcon: 1
    default_backend: app
backends:
  app: { servers: [{ name: s1, address: "192.0.2.1:443", tls: { ca: none.ca } }] }
"#;
    let report = crate::config::check(
        &scratch.write("lb.yaml", text),
        &no_environment,
        &haproxy::Options::default(),
    );
    let found: Vec<String> = report.diagnostics.iter().map(told).collect();
    for what in ["none.pem", "none.map", "none.http", "`maxcon`", "none.ca"] {
        assert!(
            found.iter().any(|line| line.contains(what)),
            "{what}: {found:#?}"
        );
    }
    assert!(!report.is_valid());
}

#[test]
fn a_folder_of_haproxys_files_is_read_as_one() {
    let scratch = Scratch::new("folder");
    scratch.write(
        "20-web.cfg",
        "frontend f\n  bind :80\n  default_backend b\n  bogus\n",
    );
    let first = scratch.write(
        "10-base.cfg",
        "defaults\n  mode http\n  timeout client 5s\n  timeout connect 5s\n  timeout server 5s\nbackend b\n  server s 192.0.2.1:80",
    );
    scratch.write("notes.txt", "nothing of ours");
    let folder = first.parent().unwrap();
    let said = load(folder, &no_environment).unwrap_err().to_string();
    let place = folder.join("20-web.cfg");
    assert!(
        said.starts_with(&format!(
            "{}:4:3: error: there is no keyword `bogus`",
            place.display()
        )),
        "{said}"
    );
    assert!(said.contains("\n      bogus\n"), "{said}");
    scratch.write(
        "20-web.cfg",
        "frontend f\n  bind :80\n  default_backend b\n",
    );
    assert_eq!(
        load(folder, &no_environment).unwrap().config.backends.len(),
        1
    );
}

#[test]
fn files_of_servers_are_read_with_places_of_their_own() {
    let folder = Scratch::new("servers-from");
    let write = |name: &str, text: &str| fs::write(folder.0.join(name), text).unwrap();
    let rest = "frontends: { web: { bind: '127.0.0.1:1', default_backend: a } }\nbackends:\n  \
                a: { servers: [{ name: own, address: '192.0.2.1:80' }], servers_from: { file: a.yaml, limit: 2 } }\n  \
                b: { servers_from: { file: b.json } }";
    write("lb.yaml", rest);
    write(
        "a.yaml",
        "- { name: one, address: '192.0.2.2:80', weight: 7 }\n",
    );
    write(
        "b.json",
        "{ \"servers\": [ { \"name\": \"two\", \"address\": \"192.0.2.3:80\" } ] }",
    );
    let path = folder.0.join("lb.yaml");
    let names = || -> Result<Vec<String>, String> {
        let config = load(&path, &no_environment)
            .map_err(|found| found.render(false))?
            .config;
        assert_eq!(config.server_files.files.len(), 2);
        let servers = config.backends.iter().flat_map(|b| &b.servers);
        Ok(servers
            .map(|s| format!("{}/{}", s.name, s.weight))
            .collect())
    };
    assert_eq!(
        names(),
        Ok(["own/1", "one/7", "two/1"].map(String::from).into())
    );
    write("b.json", "[]");
    assert_eq!(names(), Ok(["own/1", "one/7"].map(String::from).into()));
    for (text, expected) in [
        (
            "\n- { name: one, adress: '192.0.2.2:80' }",
            "a.yaml:2:16: error: unknown key `adress`",
        ),
        (
            "- { name: own, address: '192.0.2.2:80' }",
            "a.yaml:1:11: error:",
        ),
        ("- [", "a.yaml:1:3: error:"),
        ("", "a.yaml:1:1: error: the file of servers is empty"),
        ("hello", "a.yaml:1:1: error: the servers must be a list"),
        ("server: []", "a.yaml:1:1: error: unknown key `server`"),
        (
            "[{}, {}, {}]",
            "a.yaml:1:1: error: 3 servers are more than the limit of 2",
        ),
    ] {
        write("a.yaml", text);
        let found = names().expect_err(text);
        assert!(found.contains(expected), "{text:?}: {found}");
    }
    fs::remove_file(folder.0.join("a.yaml")).unwrap();
    let found = names().expect_err("it is not there");
    assert!(
        found.contains("lb.yaml:3:") && found.contains("a.yaml` cannot be read"),
        "{found}"
    );
    write("lb.yaml", &rest.replace("file: a.yaml", "path: a.yaml"));
    let found = names().expect_err("no file is named");
    assert!(
        found.contains("`file` is missing") && found.contains("it is `file`"),
        "{found}"
    );
}
