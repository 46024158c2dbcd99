//! What is sent along with certificates, and what is found beside their files, as HAProxy does.

use std::net::SocketAddr;

use crate::{
    beside::haproxy,
    certificates::Authority,
    clients::{installed, s_client, write},
    daemon::{Daemon, free},
};

/// Words of `global`, and the certificate of a bind.
const SETUPS: &[(&str, &str)] = &[
    ("", "alone.pem"),
    ("", "whole.pem"),
    ("issuers-chain-path FOLDER/chains", "alone.pem"),
    ("ssl-skip-self-issued-ca", "whole.pem"),
    (
        "issuers-chain-path FOLDER/chains\n ssl-skip-self-issued-ca",
        "alone.pem",
    ),
    (
        "ssl-load-extra-files key\n ssl-load-extra-del-ext",
        "split.crt",
    ),
    ("", "kinds.pem"),
];

fn file(folder: &str, socket: &str, (global, certificate): (&str, &str), at: SocketAddr) -> String {
    let text = format!(
        "global\n stats socket {folder}/{socket} level admin\n {global}\ndefaults\n mode http\n timeout connect 5s\n \
         timeout client 30s\n timeout server 30s\nfrontend f\n bind {at} ssl crt {folder}/{certificate} alpn http/1.1\n \
         http-request return status 200\n"
    );
    text.replace("FOLDER", folder)
}

/// Subjects of what is sent, for clients that know both kinds of certificates, and for those of RSA alone.
fn sent(at: SocketAddr) -> Vec<String> {
    let of = |arguments: &[&str]| {
        let said = s_client(
            at,
            &[&["-showcerts", "-servername", "a.example"], arguments].concat(),
        );
        let lines = said.lines().map(str::trim);
        let names = lines.filter(|line| line.contains(" s:"));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let rsa = ["-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"];
    [of(&[]), of(&rsa)].concat()
}

#[test]
fn chains_keys_and_kinds_of_certificates_are_found_where_haproxy_finds_them() {
    if !installed("haproxy") || !installed("openssl") {
        return;
    }
    let (ca, other) = (Authority::called("One CA"), Authority::called("Two CA"));
    for (number, setup) in SETUPS.iter().enumerate() {
        let folder = Daemon::folder();
        std::fs::create_dir(folder.join("chains")).unwrap();
        write(&folder.join("chains"), "one.pem", &ca.pem());
        write(&folder.join("chains"), "two.pem", &other.pem());
        let key = rcgen::KeyPair::generate().unwrap();
        let made = other.issue_with(&["a.example"], key, |params| {
            params.use_authority_key_identifier_extension = true;
        });
        write(&folder, "alone.pem", &made.both());
        write(
            &folder,
            "whole.pem",
            &format!("{}{}{}", made.cert, other.pem(), made.key),
        );
        write(&folder, "split.crt", &made.cert);
        write(&folder, "split.key", &made.key);
        write(&folder, "kinds.pem.ecdsa", &ca.issue(&["a.example"]).both());
        write(
            &folder,
            "kinds.pem.rsa",
            &other.issue_rsa(&["a.example"]).both(),
        );
        let text = folder.display().to_string();
        let [theirs, ours] = [free(), free()];
        let path = write(
            &folder,
            "haproxy.cfg",
            &file(&text, "haproxy.sock", *setup, theirs),
        );
        let _haproxy = haproxy(&path, &[], &[theirs]);
        let binary = env!("CARGO_BIN_EXE_lb").as_ref();
        let config = file(&text, "admin.sock", *setup, ours);
        let _daemon = Daemon::start_file(binary, folder.clone(), ("lb.cfg", &config), ours);
        assert_eq!(sent(ours), sent(theirs), "{number}: {setup:?}");
    }
}
