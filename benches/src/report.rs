//! What a benchmark found: rows, and Proxima's ratios to its peers; as a table and as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::statistics::median;

/// The subject whose ratios to the others are reported.
pub(crate) const PROXIMA: &str = "proxima";

/// What is measured of each round: its name, with its unit last, and its value.
pub(crate) type Metric<R> = (&'static str, fn(&R) -> f64);

/// All that one benchmark measured.
pub(crate) struct Report {
    name: &'static str,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    case: String,
    subject: &'static str,
    metric: String,
    value: f64,
}

#[derive(Serialize)]
struct Json<'a> {
    name: &'a str,
    rows: &'a [Row],
    ratios: BTreeMap<String, f64>,
}

impl Report {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, rows: Vec::new() }
    }

    /// `metric` carries its unit last: `cpu_us_per_request`.
    pub(crate) fn add(&mut self, case: &str, subject: &'static str, metric: &str, value: f64) {
        self.rows.push(Row { case: case.to_owned(), subject, metric: metric.to_owned(), value });
    }

    /// The medians of what the rounds of a case measured.
    pub(crate) fn add_medians<R>(
        &mut self,
        case: &str,
        subject: &'static str,
        rounds: &[R],
        metrics: &[Metric<R>],
    ) {
        for (metric, value) in metrics {
            let mut values: Vec<f64> = rounds.iter().map(value).collect();
            self.add(case, subject, metric, median(&mut values));
        }
    }

    /// `case/metric/peer` → Proxima's value ÷ the peer's.
    fn ratios(&self) -> BTreeMap<String, f64> {
        let mut ratios = BTreeMap::new();
        for own in self.rows.iter().filter(|row| row.subject == PROXIMA) {
            let same =
                |row: &&Row| row.case == own.case && row.metric == own.metric && row.subject != PROXIMA;
            for peer in self.rows.iter().filter(same).filter(|peer| peer.value > 0.0) {
                ratios
                    .insert(format!("{}/{}/{}", own.case, own.metric, peer.subject), own.value / peer.value);
            }
        }
        ratios
    }

    /// One line for each case and metric, one column for each subject, and the ratios.
    pub(crate) fn table(&self) -> String {
        let mut subjects: Vec<&str> = Vec::new();
        let mut lines: Vec<(&str, &str)> = Vec::new();
        for row in &self.rows {
            if !subjects.contains(&row.subject) {
                subjects.push(row.subject);
            }
            if !lines.contains(&(row.case.as_str(), row.metric.as_str())) {
                lines.push((&row.case, &row.metric));
            }
        }
        let ratios = self.ratios();
        let mut table = format!("\n{:<18} {:<26}", "case", "metric");
        subjects.iter().for_each(|subject| table += &format!(" {subject:>12}"));
        table += "   proxima ÷ peer\n";
        for (case, metric) in lines {
            table += &format!("{case:<18} {metric:<26}");
            for subject in &subjects {
                table += &format!(" {:>12}", self.value(case, subject, metric).map_or("-".to_owned(), shown));
            }
            for subject in &subjects {
                if let Some(ratio) = ratios.get(&format!("{case}/{metric}/{subject}")) {
                    table += &format!("   {subject} {ratio:.2}");
                }
            }
            table.push('\n');
        }
        table
    }

    fn value(&self, case: &str, subject: &str, metric: &str) -> Option<f64> {
        let same = |row: &&Row| row.case == case && row.subject == subject && row.metric == metric;
        self.rows.iter().find(same).map(|row| row.value)
    }

    /// Writes `NAME.json` into the folder `results`.
    pub(crate) fn write(&self, results: &Path) -> Result<PathBuf> {
        fs::create_dir_all(results).with_context(|| format!("making the folder {}", results.display()))?;
        let path = results.join(format!("{}.json", self.name));
        let json = Json { name: self.name, rows: &self.rows, ratios: self.ratios() };
        fs::write(&path, serde_json::to_string_pretty(&json)? + "\n")
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

/// Four significant digits or so.
fn shown(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("x");
        report.add("miss", PROXIMA, "cpu_us", 30.0);
        report.add("miss", "nginx", "cpu_us", 20.0);
        report.add("miss", "varnish", "cpu_us", 60.0);
        report.add("idle", PROXIMA, "rss_mib", 40.0);
        report
    }

    #[test]
    fn ratios_are_to_each_peer_that_was_measured_alike() {
        let expected = [("miss/cpu_us/nginx".to_owned(), 1.5), ("miss/cpu_us/varnish".to_owned(), 0.5)];
        assert_eq!(report().ratios(), BTreeMap::from(expected));
    }

    #[test]
    fn a_table_has_a_dash_where_nothing_was_measured() {
        let table = report().table();
        let idle = table.lines().last().unwrap();
        assert_eq!(idle.split_whitespace().collect::<Vec<_>>(), ["idle", "rss_mib", "40.00", "-", "-"]);
    }

    #[test]
    fn the_file_has_the_shape_that_readers_expect() {
        let folder = tempfile::tempdir().unwrap();
        let path = report().write(folder.path()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(json["name"], "x");
        assert_eq!(json["rows"][0]["subject"], PROXIMA);
        assert_eq!(json["ratios"]["miss/cpu_us/nginx"], 1.5);
    }
}
