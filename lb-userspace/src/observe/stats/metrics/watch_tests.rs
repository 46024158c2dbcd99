//! The dashboard and the alerts in conf/ ask for metrics that there are, by labels that they have.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::catalog::catalog;

/// Labels that Prometheus gives to what it scrapes.
const OF_PROMETHEUS: &[&str] = &["job", "instance"];

fn conf(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../conf")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Holds an expression of PromQL against the catalog. The name that stands for a metric is what is no word of the language
/// and begins with `lb_`, or is `up`; between braces and after `by` stand labels.
fn judge(expression: &str, whence: &str) -> BTreeSet<String> {
    let mut known: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for entry in catalog() {
        for sample in entry.samples() {
            known.insert(sample, entry.labels.iter().copied().collect());
        }
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut asked = BTreeSet::new();
    let mut labels = BTreeSet::new();
    let mut rest = expression;
    while let Some(at) = rest.find("lb_") {
        let from = &rest[at..];
        let end = from.find(|c| !is_name(c)).unwrap_or(from.len());
        let name = &from[..end];
        let of = known
            .get(name)
            .unwrap_or_else(|| panic!("{whence}: there is no {name}"));
        labels.extend(of.iter().copied());
        asked.insert(name.to_owned());
        rest = &from[end..];
        if let Some((matchers, after)) = rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
            for matcher in matchers.split(',').filter(|m| !m.trim().is_empty()) {
                let label = matcher
                    .trim()
                    .split(|c| !is_name(c))
                    .next()
                    .unwrap_or_default();
                let has = of.contains(label) || OF_PROMETHEUS.contains(&label);
                assert!(has, "{whence}: {name} has no label {label}");
            }
            rest = after;
        }
    }
    for grouping in ["by (", "by(", "on (", "on(", "ignoring (", "ignoring("] {
        for part in expression.split(grouping).skip(1) {
            for label in part.split(')').next().unwrap_or_default().split(',') {
                let label = label.trim();
                let has = labels.contains(label) || OF_PROMETHEUS.contains(&label);
                assert!(
                    has || label.is_empty(),
                    "{whence}: nothing here has a label {label}"
                );
            }
        }
    }
    let names_up = expression.split(|c| !is_name(c)).any(|word| word == "up");
    assert!(
        !asked.is_empty() || names_up,
        "{whence} asks for nothing: {expression}"
    );
    asked
}

#[test]
fn alerts_use_what_there_is() {
    let rules: serde_yaml::Value =
        serde_yaml::from_str(&conf("prometheus-alerts.yaml")).expect("it is YAML");
    let groups = rules["groups"].as_sequence().expect("groups");
    let mut names = BTreeSet::new();
    for rule in groups
        .iter()
        .flat_map(|group| group["rules"].as_sequence().expect("rules"))
    {
        let name = rule["alert"].as_str().or_else(|| rule["record"].as_str());
        let name = name.expect("a name");
        judge(rule["expr"].as_str().expect("an expression"), name);
        if rule["alert"].as_str().is_some() {
            assert!(names.insert(name.to_owned()), "{name} twice");
            for annotation in ["summary", "description"] {
                let text = rule["annotations"][annotation].as_str();
                assert!(
                    text.is_some_and(|text| !text.is_empty()),
                    "{name} lacks its {annotation}"
                );
            }
            assert!(rule["labels"]["severity"].as_str().is_some(), "{name}");
        }
    }
    assert!(names.len() >= 12, "{names:?}");
}

#[test]
fn the_dashboard_uses_what_there_is() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&conf("grafana-dashboard.json")).expect("it is JSON");
    let mut asked = BTreeSet::new();
    let mut places = BTreeSet::new();
    let panels = dashboard["panels"].as_array().expect("panels");
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(
            places.insert(panel["id"].as_u64().expect("an id")),
            "{title}: its id is another's"
        );
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression");
            asked.extend(judge(expression, title));
        }
    }
    for variable in dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
    {
        if let Some(query) = variable["query"]["query"].as_str() {
            let name = variable["name"].as_str().expect("a name");
            judge(query, name);
        }
    }
    assert!(asked.len() > 20, "{asked:?}");
}
