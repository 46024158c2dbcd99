use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    time::Duration,
};

use super::{
    super::fixture,
    catalog::catalog,
    encoder::Kind,
    families::{FAMILIES, Of},
    labelled::LABELLED,
    proxies::{BY_PATH, OF_BACKENDS, OF_FRONTENDS, RESPONSES},
    single::SINGLES,
    *,
};

fn all(format: Format) -> String {
    write(&fixture::sources(), &Asked::all(format))
}

fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|l| l == line),
        "{line} is missing in\n{text}"
    );
}

#[test]
fn both_paths_have_samples_of_their_own() {
    let text = all(Format::Text);
    for line in [
        "lb_frontend_connections_total{frontend=\"tcp-in\",path=\"kernel\"} 900",
        "lb_frontend_connections_total{frontend=\"tcp-in\",path=\"userspace\"} 1",
        "lb_kernel_packets_total{verdict=\"dropped\",reason=\"no_neighbour\"} 7",
        "lb_server_up{backend=\"tcp_servers\",server=\"s1\"} 1",
        "lb_server_up{backend=\"web\",server=\"w2\"} 0",
        "lb_server_check_duration_seconds{backend=\"web\",server=\"w1\"} 0.004",
        "lb_backend_active_servers{backend=\"web\"} 2",
        "lb_config_last_reload_successful 1",
    ] {
        has(&text, line);
    }
    assert!(
        !text.contains("lb_server_active_servers"),
        "of backends alone"
    );
}

#[test]
fn times_are_histograms_of_each_path() {
    let sources = fixture::sources();
    let topology = sources.topology();
    let tcp = topology.backend("tcp_servers").expect("it is there");
    let times = &tcp.counters.distributions;
    times.total.record(Duration::from_micros(1_500));
    times.total.record(Duration::from_secs(2));
    times.kernel_total.record(Duration::from_secs(20));
    let text = write(&sources, &Asked::all(Format::OpenMetrics));
    let (user, kernel) = (
        "backend=\"tcp_servers\",path=\"userspace\"",
        "backend=\"tcp_servers\",path=\"kernel\"",
    );
    for line in [
        "# TYPE lb_backend_total_time_seconds histogram".to_owned(),
        format!("lb_backend_total_time_seconds_bucket{{{user},le=\"0.001\"}} 0"),
        format!("lb_backend_total_time_seconds_bucket{{{user},le=\"0.0025\"}} 1"),
        format!("lb_backend_total_time_seconds_bucket{{{user},le=\"+Inf\"}} 2"),
        format!("lb_backend_total_time_seconds_sum{{{user}}} 2.001500"),
        format!("lb_backend_total_time_seconds_count{{{user}}} 2"),
        format!("lb_backend_total_time_seconds_bucket{{{kernel},le=\"30.0\"}} 1"),
        format!("lb_backend_total_time_seconds_count{{{kernel}}} 1"),
    ] {
        has(&text, &line);
    }
    assert!(!text.contains("lb_backend_response_time_seconds_count{backend=\"tcp_servers\""));
    assert!(!text.contains("lb_backend_total_time_seconds_count{backend=\"web\",path=\"kernel\""));
}

#[test]
fn servers_in_maintenance_can_be_left_out() {
    let sources = fixture::sources();
    let topology = sources.topology();
    let web = topology.backend("web").expect("it is there");
    web.set_admin(&web.servers[0], crate::topology::AdminState::Maint);
    let of = |query| {
        let asked = Asked::read(query, None, true).expect("there is such a scope");
        write(&sources, &asked).contains("server=\"w1\"")
    };
    assert_eq!([of(""), of("no-maint")], [true, false]);
}

/// In both forms each family is declared once, before its samples, all of which follow it; and whatever is written is in
/// the catalog with these labels.
#[test]
fn what_is_written_is_in_the_catalog() {
    let catalog = catalog();
    let known: HashMap<String, (&str, BTreeSet<&str>)> = catalog
        .iter()
        .flat_map(|entry| {
            let labels: BTreeSet<_> = entry.labels.iter().copied().collect();
            entry
                .samples()
                .into_iter()
                .map(move |sample| (sample, (entry.name.as_str(), labels.clone())))
        })
        .collect();
    for format in [Format::Text, Format::OpenMetrics] {
        let text = all(format);
        let mut declared = BTreeSet::new();
        let mut current = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                current = rest.split(' ').next().expect("a name");
                assert!(declared.insert(current), "{current} is declared twice");
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            let name = line.split(['{', ' ']).next().expect("a name");
            let (family, labels) = known
                .get(name)
                .unwrap_or_else(|| panic!("{name} is unknown"));
            assert!(
                family.starts_with(current),
                "{name} among those of {current}"
            );
            let found: BTreeSet<&str> = line
                .split_once('{')
                .map_or("", |(_, rest)| rest)
                .split("=\"")
                .filter_map(|part| part.rsplit(['{', ',', '"']).next())
                .filter(|label| label.chars().all(|c| c.is_ascii_lowercase()) && !label.is_empty())
                .collect();
            let missing: Vec<_> = found.difference(labels).collect();
            assert!(missing.is_empty(), "{line}: {missing:?}");
        }
        assert!(declared.len() > 60, "{}", declared.len());
    }
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    let mut names = BTreeSet::new();
    for entry in catalog() {
        let name = &entry.name;
        assert!(names.insert(name.clone()), "{name} twice");
        assert_eq!(
            name.ends_with("_total"),
            entry.kind == Kind::Counter,
            "{name}"
        );
        assert_eq!(name.ends_with("_info"), entry.kind == Kind::Info, "{name}");
        assert!(!entry.help.contains(['\\', '\n']), "{name}");
        let bad = [
            "_ms",
            "_milliseconds",
            "_count",
            "_sum",
            "_bucket",
            "_created",
        ];
        assert!(!bad.iter().any(|end| name.ends_with(end)), "{name}");
    }
}

/// docs/metrics.md has these rows and no others. `LB_WRITE_DOCS` set prints them.
#[test]
fn the_document_has_every_family() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let document = std::fs::read_to_string(path).expect("it is there");
    let rows = rows();
    if std::env::var_os("LB_WRITE_DOCS").is_some() {
        println!("{}", rows.join("\n"));
    }
    for row in &rows {
        assert!(
            document.lines().any(|line| line == row),
            "docs/metrics.md lacks\n{row}"
        );
    }
    let known: BTreeSet<&str> = rows.iter().map(|row| cell(row)).collect();
    for line in document.lines().filter(|line| line.starts_with("| `")) {
        assert!(known.contains(cell(line)), "docs/metrics.md has\n{line}");
    }
}

fn cell(row: &str) -> &str {
    row.split('`').nth(1).unwrap_or_default()
}

fn rows() -> Vec<String> {
    let quoted = |labels: &[&str]| {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        labels.join(", ")
    };
    let mut rows = Vec::new();
    let mut row = |name: &str, kind: Kind, third: String, help: &str| {
        let third = match third.as_str() {
            "" => String::new(),
            third => format!("{third} | "),
        };
        rows.push(format!("| `{name}` | {} | {third}{help} |", kind.name()));
    };
    for single in SINGLES {
        row(single.name, single.kind, String::new(), single.help);
    }
    for family in LABELLED {
        row(family.name, family.kind, quoted(family.labels), family.help);
    }
    let names = |of: &[Of]| of.iter().map(|of| of.name()).collect::<Vec<_>>().join(", ");
    for family in FAMILIES {
        row(family.name, family.kind, names(family.of), family.help);
    }
    for family in BY_PATH {
        row(family.name, Kind::Counter, names(&Of::ALL), family.help);
    }
    row(RESPONSES.0, Kind::Counter, names(&Of::ALL), RESPONSES.1);
    for times in OF_BACKENDS {
        let also = times.name == OF_FRONTENDS.0;
        let of: &[Of] = if also {
            &[Of::Frontend, Of::Backend]
        } else {
            &[Of::Backend]
        };
        row(times.name, Kind::Histogram, names(of), times.help);
    }
    rows
}
