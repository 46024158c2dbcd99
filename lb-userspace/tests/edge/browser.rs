//! The page of statistics in a browser: Chromium by Playwright, and axe, which knows what keeps readers out.
//!
//! The two packages live in the user's cache folder, where the first run puts them. Pictures of what was seen are left below
//! the target folder, for whoever wants to look.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    clients::{curl, installed},
    daemon::{Daemon, free},
    server::server,
};

/// What is installed, so that everybody tests the same.
const PACKAGES: [&str; 2] = ["playwright-core@1.65.1", "axe-core@4.14.1"];

/// A folder with the packages; `None`, said why, where there are none to be had.
fn packages() -> Option<PathBuf> {
    if ["chromium", "node", "npm"]
        .iter()
        .any(|program| !installed(program))
    {
        return None;
    }
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    let home = cache.join("lb");
    let folder = home.join(format!("node-{}", PACKAGES.join("-").replace('@', "-")));
    fs::create_dir_all(&folder).unwrap();
    // One makes it, the others wait for that.
    let lock = fs::File::create(home.join("node.lock")).unwrap();
    lock.lock().unwrap();
    let complete = folder.join("complete");
    if complete.exists() {
        return Some(folder);
    }
    let made = Command::new("npm")
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--fetch-retries=0",
            "--prefix",
        ])
        .arg(&folder)
        .args(PACKAGES)
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if !made {
        eprintln!("skipped: no {} to be had", PACKAGES.join(" and "));
        return None;
    }
    fs::write(complete, "").unwrap();
    Some(folder)
}

/// Where pictures go.
fn pictures() -> PathBuf {
    // …/target/tmp, which cargo has for tests.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A daemon with `servers` in the backend `web`, and one in `gone` that is down.
fn daemon(servers: usize) -> (Daemon, String, String) {
    let (app, _) = server();
    let (front, stats) = (free(), free());
    let few = servers < 10;
    let servers: String = (1..=servers)
        .map(|n| format!("      - {{ name: w{n}, address: '{app}', weight: 10 }}\n"))
        .collect();
    // Checks of a thousand would be what is measured.
    let check = if few { "tcp" } else { "none" };
    let daemon = Daemon::start(
        Daemon::folder(),
        &format!(
            "frontends:
  front: {{ bind: '{front}', default_backend: web }}
backends:
  web:
    balance: roundrobin
    health_check: {{ type: {check}, interval: 200ms }}
    servers:
{servers}  gone:
    health_check: {{ type: tcp, interval: 200ms }}
    servers: [{{ name: g, address: '127.0.0.1:1' }}]
stats: {{ bind: '{stats}', refresh: 3s, auth: {{ admin: secret }}, admin: true }}
"
        ),
        front,
    );
    let (front, stats) = (format!("http://{front}/"), format!("http://{stats}/stats"));
    (daemon, front, stats)
}

#[test]
fn the_page_is_good_to_look_at_and_to_work_with() {
    let Some(packages) = packages() else { return };
    let (few, front, stats) = daemon(3);
    let (_many, _, many) = daemon(1000);
    let output = Command::new("node")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/edge/browser/page.js"
        ))
        .arg(&packages)
        .args([&stats, &front, &many])
        .arg(pictures())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{said}");
    assert!(
        output.status.success() && said.ends_with("done\n"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    few.logged("Stats page: admin at 127.0.0.1 set web/w1, web/w2 to drain.");
    few.logged("Stats page: admin at 127.0.0.1 set web/w3 to weight 50%.");
    few.logged(
        "Stats page: admin at 127.0.0.1 was refused a change of servers: it came from another site.",
    );
}

#[test]
fn a_page_of_a_thousand_servers_is_small() {
    if !installed("curl") {
        return;
    }
    let (_daemon, _, many) = daemon(1000);
    let get = |more: &[&str]| {
        let size = ["-u", "admin:secret", "-o", "/dev/null", "-w"];
        let format = "%{size_download} %{time_total}";
        let arguments = [&size[..], &[format], more, &[&many]].concat();
        let said = curl(&arguments).0;
        let (bytes, seconds) = said.split_once(' ').unwrap();
        (
            bytes.parse::<u64>().unwrap(),
            seconds.parse::<f64>().unwrap(),
        )
    };
    let (plain, slow) = get(&[]);
    let (packed, quick) = get(&["-H", "Accept-Encoding: gzip"]);
    println!(
        "a thousand servers: {packed} bytes in gzip ({quick} s), {plain} bytes without ({slow} s)"
    );
    assert!(packed < 300 * 1024, "{packed} bytes");
}
