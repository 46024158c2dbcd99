//! Certificates that are looked at, and exchanged while the daemon runs.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    certificates::{Authority, Made},
    clients::{installed, s_client, write},
    daemon::{Daemon, free},
    server::server,
};

#[test]
fn certificates_are_exchanged_while_it_runs_and_a_bad_one_is_not_taken() {
    if !installed("openssl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let put = |folder: &Path, made: &Made| write(folder, "site.pem", &made.both());
    put(&folder, &ca.issue(&["one.example"]));
    let web = free();
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:\n  web: {{ bind: {{ address: '{web}', tls: {{ certificates: site.pem }} }}, default_backend: app }}\n\
             backends:\n  app: {{ servers: [{{ name: s1, address: '{}' }}] }}\n",
            server().0
        ),
        web,
    );
    let serves = || s_client(web, &[]);
    assert!(serves().contains("CN = one.example"), "{}", serves());
    put(&daemon.folder, &ca.issue(&["two.example"]));
    daemon.logged(&format!(
        "frontend web: {web}: the changed certificates are in use"
    ));
    assert!(serves().contains("CN = two.example"));
    write(
        &daemon.folder,
        "site.pem",
        &ca.issue(&["three.example"]).cert,
    );
    let line = daemon.logged("the changed certificates are not used, the old ones stay");
    assert!(
        line.contains("site.pem` has no private key in it"),
        "{line}"
    );
    assert!(serves().contains("CN = two.example"));
}

#[test]
fn an_operator_exchanges_a_certificate_through_the_socket() {
    if !installed("openssl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let first = ca.issue(&["one.example"]);
    write(&folder, "site.crt", &first.cert);
    write(&folder, "site.key", &first.key);
    let (web, again) = (free(), free());
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  web:
    bind:
      - {{ address: '{web}', tls: {{ certificates: [{{ cert: site.crt, key: site.key }}] }} }}
      - {{ address: '{again}', tls: {{ certificates: site.crt }} }}
    default_backend: app
backends:
  app: {{ servers: [{{ name: s1, address: '{}' }}] }}
",
            server().0
        ),
        web,
    );
    let ask = |line: &str| daemon.ask(&format!("{line}\n"));
    let set = |made: &str| ask(&format!("set ssl cert site.crt <<\n{made}\n"));
    let serves = |at| {
        let said = s_client(at, &[]);
        let name = said.split("CN = ").nth(1).unwrap_or_default();
        name.lines().next().unwrap_or_default().to_owned()
    };
    let listed = ask("show ssl cert");
    assert!(listed.starts_with("# filename\n/"), "{listed}");
    assert!(listed.ends_with("/site.crt\n\n"), "{listed}");
    assert_eq!(
        ask("commit ssl cert site.crt"),
        "No ongoing transaction! !\nCan't commit site.crt!\n\n"
    );
    let second = ca.issue(&["two.example"]);
    let said = set("nothing");
    assert!(
        said.ends_with("Can't load the payload\nCan't update site.crt!\n\n"),
        "{said}"
    );
    // Its key may be handed over next.
    assert_eq!(
        set(&second.cert),
        "Transaction created for certificate site.crt!\n\n"
    );
    let said = ask("commit ssl cert site.crt");
    assert!(said.contains("is not that of the certificate"), "{said}");
    assert!(said.ends_with("Can't commit site.crt!\n\n"), "{said}");
    assert_eq!(serves(web), "one.example");
    assert_eq!(
        set(&second.both()),
        "Transaction updated for certificate site.crt!\n\n"
    );
    assert_eq!(serves(web), "one.example");
    assert!(ask("show ssl cert").starts_with("# transaction\n*site.crt\n# filename\n"));
    assert_eq!(
        ask("commit ssl cert site.crt"),
        "Committing site.crt..\nSuccess!\n\n"
    );
    assert_eq!(
        (serves(web), serves(again)),
        ("two.example".into(), "two.example".into())
    );
    assert_eq!(
        set(&first.both()),
        "Transaction created for certificate site.crt!\n\n"
    );
    assert_eq!(
        ask("abort ssl cert site.crt"),
        "Transaction aborted for certificate 'site.crt'!\n\n"
    );
    assert_eq!(
        ask("abort ssl cert site.crt"),
        "No ongoing transaction!\n\n"
    );
    let said = ask("set ssl cert other.crt <<\nx\n");
    assert!(said.ends_with("Can't update other.crt!\n\n"), "{said}");
    assert_eq!(
        ask("set ssl cert site.crt"),
        "'set ssl cert expects a filename and a certificate as a payload\n\n"
    );
    assert_eq!(serves(web), "two.example");
}

#[test]
fn a_certificate_its_key_and_its_staple_are_set_one_after_the_other() {
    if !installed("openssl") {
        return;
    }
    let folder = Daemon::folder();
    let ca = Authority::new();
    let issue = |name: &str, serial: u64| {
        let key = rcgen::KeyPair::generate().unwrap();
        ca.issue_with(&[name], key, |params| {
            params.serial_number = Some(serial.into());
        })
    };
    let staple = |serial| STANDARD.encode(ca.answer(serial, Some("20401231000000Z")));
    let first = issue("one.example", 1);
    write(&folder, "apart.crt", &first.cert);
    write(&folder, "apart.key", &first.key);
    write(&folder, "whole.pem", &first.both());
    let (apart, beside, whole) = (free(), free(), free());
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  web:
    bind:
      - {{ address: '{apart}', tls: {{ certificates: [{{ cert: apart.crt, key: apart.key }}] }} }}
      - {{ address: '{beside}', tls: {{ certificates: apart.crt }} }}
      - {{ address: '{whole}', tls: {{ certificates: whole.pem }} }}
    default_backend: app
backends:
  app: {{ servers: [{{ name: s1, address: '{}' }}] }}
",
            server().0
        ),
        apart,
    );
    let ask = |line: &str| daemon.ask(&format!("{line}\n"));
    let set = |what: &str, text: &str| ask(&format!("set ssl cert {what} <<\n{text}\n"));
    let serves = |at, name: &str, stapled: bool| {
        let said = s_client(at, &["-status"]);
        assert!(said.contains(&format!("CN = {name}")), "{said}");
        let has = said.contains("OCSP Response Status: successful");
        assert_eq!(has, stapled, "{said}");
    };
    // The key first, or the certificate: they need fit together at the commit alone.
    let second = issue("two.example", 2);
    let of = |name: &str, verb: &str| format!("Transaction {verb} for certificate {name}!\n\n");
    assert_eq!(
        set("apart.crt.key", second.key.trim_end()),
        of("apart.crt", "created")
    );
    let said = ask("commit ssl cert apart.crt");
    assert!(said.contains("is not that of the certificate"), "{said}");
    assert_eq!(
        set("apart.crt", second.cert.trim_end()),
        of("apart.crt", "updated")
    );
    assert_eq!(
        set("apart.crt.ocsp", &staple(2)),
        of("apart.crt", "updated")
    );
    let shown = ask("show ssl cert *apart.crt");
    assert!(shown.contains("two.example"), "{shown}");
    serves(apart, "one.example", false);
    let said = ask("commit ssl cert apart.crt");
    assert_eq!(said, "Committing apart.crt..\nSuccess!\n\n");
    serves(apart, "two.example", true);
    serves(beside, "two.example", true);
    serves(whole, "one.example", false);

    // A staple alone, of a file that has the key as well; and by the name without `.crt`.
    assert_eq!(
        set("whole.pem.ocsp", &staple(1)),
        of("whole.pem", "created")
    );
    ask("commit ssl cert whole.pem");
    serves(whole, "one.example", true);
    let third = issue("three.example", 3);
    set("whole.pem", third.cert.trim_end());
    set("whole.pem.key", third.key.trim_end());
    ask("commit ssl cert whole.pem");
    serves(whole, "three.example", false);
    assert_eq!(
        set("apart.key", second.key.trim_end()),
        of("apart.crt", "created")
    );
    ask("abort ssl cert apart.crt");

    // What is none, and what is another's.
    for (what, text, why) in [
        ("whole.pem.key", third.cert.trim_end(), "no private key"),
        ("whole.pem.ocsp", "bm90IG9uZQ==", "no OCSP response"),
        ("none.pem.key", third.key.trim_end(), "not referenced"),
    ] {
        let said = set(what, text);
        assert!(
            said.contains(why) && said.ends_with(&format!("Can't update {what}!\n\n")),
            "{said}"
        );
    }
    set("whole.pem.ocsp", &staple(1));
    let said = ask("commit ssl cert whole.pem");
    assert!(said.contains("about another certificate"), "{said}");
    serves(whole, "three.example", false);
}

#[test]
fn check_reads_certificates_and_says_what_is_wrong_with_each() {
    let folder = Daemon::folder();
    let ca = Authority::new();
    let (one, two) = (ca.issue(&["one.example"]), ca.issue(&["two.example"]));
    write(&folder, "good.pem", &one.both());
    write(&folder, "one.crt", &one.cert);
    write(&folder, "two.key", &two.key);
    write(&folder, "bare.crt", &one.cert);
    write(&folder, "old.pem", &ca.expired(&["old.example"]).both());
    let check = |tls: &str, server: &str| {
        let config = write(
            &folder,
            "lb.yaml",
            &format!(
                "global: {{ fast_path: {{ attach: off }} }}\nfrontends:\n  web:\n    bind: {{ address: '*:443', tls: {{ {tls} }} }}\n    \
                 default_backend: app\nbackends:\n  app:\n    servers: [{{ name: s1, address: '192.0.2.1:443'{server} }}]\n"
            ),
        );
        let mut lb = std::process::Command::new(env!("CARGO_BIN_EXE_lb"));
        let output = lb.args(["check", "--config", &config]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said)
    };
    let good = "certificates: good.pem";
    assert_eq!(check(good, "").0, Some(0));
    let (code, said) = check("certificates: old.pem", "");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("lb.yaml:4:36: warning: the certificate in `"),
        "{said}"
    );
    assert!(said.contains("old.pem` expired "), "{said}");
    for (tls, server, message, mend) in [
        (
            "certificates: absent.pem",
            "",
            "4:36: error: `",
            "name a file that is there",
        ),
        (
            "certificates: [{ cert: one.crt, key: two.key }]",
            "",
            "is not that of the certificate in",
            "openssl pkey -pubout",
        ),
        (
            "certificates: bare.crt",
            "",
            "has no private key in it",
            "append the key to it",
        ),
        (
            good,
            ", tls: { ca: absent.pem }",
            "8:58: error: `",
            "name a file that is there",
        ),
    ] {
        let (code, said) = check(tls, server);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(message) && said.contains(mend), "{said}");
    }
    let _ = fs::remove_dir_all(&folder);
}
